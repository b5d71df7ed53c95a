//! Commands from sessions to the device thread.
//!
//! Commands execute in the order in which they were sent, which keeps a buffer set from being overwritten too early.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use visage_kernels::cuda::Pinned;
use visage_kernels::reference::Launch;

use super::super::{BackendError, KernelSpec, Lengths, Onnx};
use super::loaded::{LoadedGraph, LoadedKernel};
use crate::telemetry::StepTimes;

/// The reply channel of a command.
pub type Reply<T> = Result<T, BackendError>;

/// One command.
pub enum DeviceCommand {
    LoadGraph(LoadGraph),
    LoadKernel(LoadKernel),
    Step(StepCommand),
    Download(DownloadCommand),
}

/// A graph to load.
pub struct LoadGraph {
    pub name: String,
    pub onnx: StoredOnnx,
    pub reply: SyncSender<Reply<Arc<LoadedGraph>>>,
}

/// A kernel to load.
pub struct LoadKernel {
    pub spec: KernelSpec,
    pub reply: SyncSender<Reply<Arc<LoadedKernel>>>,
}

/// An ONNX graph, kept for when the context is re-created.
#[derive(Clone)]
pub enum StoredOnnx {
    Bytes(Arc<[u8]>),
    File(PathBuf),
}

impl StoredOnnx {
    pub fn borrowed(&self) -> Onnx<'_> {
        match self {
            Self::Bytes(bytes) => Onnx::Bytes(bytes),
            Self::File(path) => Onnx::File(path),
        }
    }
}

/// One of a slot's buffer sets. Graphs and kernels are numbered together, as nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetName {
    pub node: usize,
    pub slot: usize,
    pub set: usize,
}

/// Where an input comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputSource {
    /// The pinned buffer that is uploaded for the step, from this byte on.
    Pinned { at: usize },
    /// The outputs of an earlier step, from this byte of that buffer set on.
    Device { set: SetName, at: usize },
}

/// What a step executes.
pub enum Work {
    /// The node's graph, with these lengths of its free axes.
    Graph(Lengths),
    /// The node's kernel.
    Kernel(Launch),
}

/// A step to execute.
pub struct StepCommand {
    /// The generation of the context that it was submitted for.
    pub generation: u64,
    pub set: SetName,
    pub work: Work,
    /// For a graph one source for each input. For a kernel one for each buffer, `None` for constants and for written buffers
    /// without initial contents.
    pub inputs: Vec<Option<InputSource>>,
    /// Inputs to upload, and how many bytes they take.
    pub upload: Option<(Pinned, usize)>,
}

impl StepCommand {
    /// The buffer sets that it reads.
    pub fn reads(&self) -> impl Iterator<Item = SetName> {
        self.inputs.iter().flatten().filter_map(|input| match input {
            InputSource::Device { set, .. } => Some(*set),
            InputSource::Pinned { .. } => None,
        })
    }
}

/// A piece of a buffer set's outputs to download.
pub struct DownloadCommand {
    pub generation: u64,
    pub set: SetName,
    pub at: usize,
    pub bytes: usize,
    pub pinned: Pinned,
    pub reply: SyncSender<Reply<(Pinned, StepTimes)>>,
}
