//! What runs a graph on the device: the one call that TensorRT makes on a card, and the CPU in tests.
//!
//! Decides the contract only.

use thiserror::Error;
use visage_engines::Onnx;

use super::device::Device;
use super::error::CudaError;
use super::stream::Stream;

/// Which way a tensor goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// Into the graph.
    Input,
    /// Out of it.
    Output,
}

/// One tensor of a graph's, of `f32`, row major.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// Which way it goes.
    pub side: Side,
    /// Length of each axis. The first is none if the graph takes any number of rows.
    pub shape: Vec<Option<usize>>,
}

/// Why an engine could not be had or did not run.
#[derive(Clone, Debug, Error)]
pub enum EngineError {
    /// There is none of this graph for this card, or it is not one that can be run here.
    #[error("wanted an engine of the graph \"{graph}\", found: {found}")]
    Unfit {
        /// The graph.
        graph: String,
        /// What was found instead.
        found: String,
    },
    /// It refused to run.
    #[error("the engine did not run: {found}")]
    Run {
        /// What it said.
        found: String,
    },
    /// The device failed.
    #[error(transparent)]
    Cuda(#[from] CudaError),
}

/// A graph ready to run. All sessions share it; the thread that owns the device feeds it in turn.
pub trait Engine: Send {
    /// Its tensors, in the order of addresses.
    fn ports(&self) -> &[Port];

    /// The most rows that a run may have, where its first axes are free.
    fn most_rows(&self) -> usize {
        usize::MAX
    }

    /// Queues one run over `rows` rows on `stream`, from and to the addresses of the device that stand in the order of
    /// [`Engine::ports`]. May be captured, after it has run for as many rows; whoever keeps the capture keeps the engine and
    /// what is at the addresses. Runs of other numbers of rows leave the capture valid. An engine that cannot be captured
    /// fails where it is, and runs on.
    ///
    /// # Errors
    /// If it cannot be queued.
    fn enqueue(&mut self, stream: &Stream, rows: usize, addresses: &[u64]) -> Result<(), EngineError>;

    /// Told once every number of rows has run: what was compiled for that may be kept for the next start.
    fn keep(&mut self) {}
}

/// Where engines come from.
pub trait EngineSource: Send {
    /// The engine of the graph called `name`, on the device that is current. It is asked again for the same graph after the
    /// device was opened anew.
    ///
    /// # Errors
    /// If there is none.
    fn engine(&mut self, device: &Device, name: &str, onnx: Onnx<'_>) -> Result<Box<dyn Engine>, EngineError>;
}
