//! What runs a graph on the device: TensorRT on a GPU, the CPU backend in tests.
//!
//! Decides the contract only.

use std::collections::BTreeMap;

use thiserror::Error;
use visage_engines::Onnx;
use visage_engines::onnx::{Lengths, Signature, TensorInfo};

use super::device::Device;
use super::error::CudaError;
use super::stream::Stream;

/// Lengths that a free axis may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AxisRange {
    /// The shortest.
    pub min: usize,
    /// The one that the engine is optimised for.
    pub opt: usize,
    /// The longest.
    pub max: usize,
}

/// Why there is no engine, or why it did not run.
#[derive(Clone, Debug, Error)]
pub enum EngineError {
    /// There is no engine of this graph for this GPU, or it is not one that visage can run.
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
        /// Its message.
        found: String,
    },
    /// The device failed.
    #[error(transparent)]
    Cuda(#[from] CudaError),
}

/// A graph ready to run. All sessions share it; the thread that owns the device runs one step after another.
pub trait Engine: Send {
    /// Its inputs and outputs.
    fn signature(&self) -> &Signature;

    /// The range of each free axis, by its name.
    fn ranges(&self) -> &BTreeMap<String, AxisRange>;

    /// Its tensors in the order of addresses: inputs, then outputs.
    fn tensors(&self) -> Vec<&TensorInfo> {
        let signature = self.signature();
        signature.inputs.iter().chain(&signature.outputs).collect()
    }

    /// Queues one run for these lengths of the free axes on `stream`, from and to device addresses in the order of
    /// [`Engine::tensors`].
    ///
    /// May be captured once it has run for the same lengths; the owner of the capture keeps the engine and the memory at the
    /// addresses. Runs of other lengths leave the capture valid. An engine that cannot be captured returns an error and can
    /// still run without capture.
    ///
    /// # Errors
    /// If it cannot be queued.
    fn enqueue(&mut self, stream: &Stream, lengths: &Lengths, addresses: &[u64]) -> Result<(), EngineError>;

    /// Called once all lengths that will be captured have run: what was compiled for them may be stored for the next start.
    fn warmed_up(&mut self) {}
}

/// Where engines come from.
pub trait EngineSource: Send {
    /// The engine of the graph called `name`, on the device that is current. Called again for the same graph after the
    /// context was re-created.
    ///
    /// # Errors
    /// If there is none.
    fn engine(&mut self, device: &Device, name: &str, onnx: Onnx<'_>) -> Result<Box<dyn Engine>, EngineError>;
}
