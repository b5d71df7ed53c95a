//! What sessions hand over to the thread that owns the device.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use visage_kernels::cuda::Pinned;

use super::super::{BackendError, Onnx};
use super::loaded_graph::LoadedGraph;
use crate::telemetry::StepTimes;

/// What comes back.
pub type Reply<T> = Result<T, BackendError>;

/// One order. They are begun in the order they came in, which is what keeps a set of buffers from being used too early.
pub enum DeviceCommand {
    Load(LoadCommand),
    Step(StepCommand),
    Fetch(FetchCommand),
}

/// A graph to be loaded.
pub struct LoadCommand {
    pub name: String,
    pub onnx: StoredOnnx,
    pub reply: SyncSender<Reply<Arc<LoadedGraph>>>,
}

/// An ONNX graph that is kept for when the device is opened anew.
#[derive(Clone)]
pub enum StoredOnnx {
    Bytes(Arc<[u8]>),
    File(PathBuf),
}

impl StoredOnnx {
    pub fn lent(&self) -> Onnx<'_> {
        match self {
            Self::Bytes(bytes) => Onnx::Bytes(bytes),
            Self::File(path) => Onnx::File(path),
        }
    }
}

/// One of a slot's two sets of buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetName {
    pub graph: usize,
    pub slot: usize,
    pub set: usize,
}

/// Where an input comes from.
#[derive(Clone, Copy, Debug)]
pub enum InputSource {
    /// The block that goes up, from this byte on.
    Block { at: usize },
    /// An output of an earlier step: that set's port of this number.
    Device { set: SetName, port: usize },
}

/// A step to be begun.
pub struct StepCommand {
    /// Which opening of the device it is meant for.
    pub opening: u64,
    pub set: SetName,
    pub rows: usize,
    /// For each input, in the order of ports.
    pub feeds: Vec<InputSource>,
    /// Inputs that go up, if any do, and how many bytes of the block they take.
    pub block: Option<(Pinned, usize)>,
}

/// An output to be brought back.
pub struct FetchCommand {
    pub opening: u64,
    pub set: SetName,
    pub port: usize,
    pub bytes: usize,
    pub block: Pinned,
    pub reply: SyncSender<Reply<(Pinned, StepTimes)>>,
}
