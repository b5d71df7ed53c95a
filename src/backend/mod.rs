//! Inference: the port, the backend for any CPU, and the one for NVIDIA GPUs.
//!
//! Decides how graphs and kernels are loaded, how sessions get a slot on them, and how a step is submitted and polled. Does
//! not know what the numbers mean. The port (this file, `tensor`, `value`, `error`) names no backend.
//!
//! # The device queue
//!
//! A backend executes everything on one ordered queue: ONNX graphs, our own kernels (`visage_kernels::reference`) and copies.
//! A model loads what it needs once ([`Backend::load`], [`Backend::load_kernel`]), each session takes a [`Slot`] or
//! [`KernelSlot`] on each of them, and submits steps. Steps of a session execute in the order of submission, so that a chain
//! such as log-mel -> network -> sampler step -> decoder -> colour conversion needs no waiting in between: the outputs of a
//! step are [`Value`]s that are inputs for the next one, and stay in device memory until [`Value::download`].
//!
//! *Submit and poll.* `submit` checks names, types and shapes, queues the step and returns. It never waits for a device; if
//! there is no room it refuses with [`BackendError::Busy`], and the session submits again later or drops the step. Results
//! are polled: [`Value::download`], then [`Value::is_ready`], then [`Value::take`].
//!
//! *Memory* is reserved when a graph or kernel is loaded: for every slot a fixed number of buffer sets. A step writes one
//! set; the set is free again when all of its outputs are dropped. Nothing is allocated in the loop.
//!
//! *Types and shapes.* A tensor has a [`DType`]; a graph's free axes have names, and axes of one name have one length
//! ([`Signature`]). Output shapes follow from input shapes at submission.
//!
//! *The CPU backend* has the same queue and executes a step within `submit`: graphs by rten, kernels by their reference
//! implementations. Its values are on the host and always ready. *The GPU backend* hands steps to the thread that owns the
//! device, which queues them on three CUDA streams (upload, compute, download) ordered by events; see `gpu`.

mod cpu;
mod error;
#[cfg(feature = "cuda")]
pub mod gpu;
mod parity;
mod tensor;
mod value;

use crate::gpu_load::{DeviceCounts, GpuRequirement};
pub use cpu::CpuBackend;
pub use error::BackendError;
pub use parity::{Difference, ParityError, compare, run, seeded};
pub use tensor::{Elements, Tensor};
pub use value::Value;
pub use visage_engines::onnx::{Axis, Lengths, Signature, TensorInfo};
pub use visage_engines::{DType, Onnx};
pub use visage_kernels::reference as kernels;
pub use visage_kernels::reference::Launch;

/// Whether a backend accepts new sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It does.
    Ready,
    /// Temporarily not: it is out of memory, or its context is being re-created.
    Recovering {
        /// The error.
        found: String,
    },
    /// Permanently not.
    Lost {
        /// The error.
        found: String,
    },
}

/// Loads graphs and kernels.
pub trait Backend: Send + Sync {
    /// Its name in `/v1` and the logs.
    fn name(&self) -> &'static str;

    /// The GPU that it computes on, `None` for the CPU. Complete once a graph is loaded.
    fn gpu(&self) -> Option<GpuRequirement> {
        None
    }

    /// Whether kernels run on a device beside the graphs. Otherwise a fast CPU implementation is better than the reference.
    fn has_device_kernels(&self) -> bool {
        false
    }

    /// Loads the graph that a pack calls `name`.
    ///
    /// # Errors
    /// If it is not a graph that this backend can run.
    fn load(&self, name: &str, onnx: Onnx<'_>) -> Result<Box<dyn Graph>, BackendError>;

    /// Loads one of visage's kernels.
    ///
    /// # Errors
    /// If the backend lacks the kernel, or memory for it.
    fn load_kernel(&self, spec: KernelSpec) -> Result<Box<dyn Kernel>, BackendError>;
}

/// A loaded graph, shared by all sessions.
pub trait Graph: Send + Sync {
    /// Its inputs and outputs.
    fn signature(&self) -> &Signature;

    /// Whether the backend accepts new sessions. A CPU always does.
    fn health(&self) -> Health {
        Health::Ready
    }

    /// Counters of the GPU's work for all graphs; `None` for the CPU.
    fn work(&self) -> Option<DeviceCounts> {
        None
    }

    /// A session's slot, for as long as it is kept.
    ///
    /// # Errors
    /// If all slots are taken, or the backend does not accept sessions now.
    fn slot(&self) -> Result<Box<dyn Slot>, BackendError>;
}

/// One session's slot on a graph. Sessions bring their own state as inputs.
pub trait Slot: Send {
    /// Submits one step: named inputs to the named outputs, in the order asked. Every input of the graph is named once.
    ///
    /// Outputs stay on the device until they are downloaded; they may be inputs of other steps, also of other graphs and
    /// kernels. A slot may have as few as two buffer sets: a third step is refused as [`BackendError::Busy`] until the first
    /// one's outputs were taken, downloaded or dropped.
    ///
    /// # Errors
    /// If a name is unknown or missing, a type or shape does not fit, there is no room for a step now, or the backend fails.
    /// A step that fails on the device may report so only when its outputs are taken.
    fn submit(&mut self, inputs: &[(&str, &Value)], outputs: &[&str]) -> Result<Vec<Value>, BackendError>;
}

/// A kernel to load, and what to reserve for it.
#[derive(Clone, Debug)]
pub struct KernelSpec {
    /// The largest launch that slots will submit: no buffer of another launch may be longer.
    pub largest: Launch,
    /// Contents of buffers that never change, by their index in the kernel's buffers: they are uploaded once.
    pub constants: Vec<(usize, Tensor)>,
    /// Buffer sets of a slot: at least as many as there are steps whose outputs are kept, plus one.
    pub buffer_sets: usize,
    /// Uploads and downloads of a slot that may be under way together. Zero if its inputs and outputs stay on the device.
    pub transfers: usize,
}

/// A loaded kernel, shared by all sessions.
pub trait Kernel: Send + Sync {
    /// A session's slot, for as long as it is kept.
    ///
    /// # Errors
    /// As for [`Graph::slot`].
    fn slot(&self) -> Result<Box<dyn KernelSlot>, BackendError>;
}

/// One session's slot on a kernel.
pub trait KernelSlot: Send {
    /// Submits one launch, with a value for each of the kernel's buffers. `None` stands for a constant, and for a written
    /// buffer whose contents before the launch do not matter. A value given for a written buffer is not changed: the kernel
    /// works on a copy. Returns the written buffers in their order, as vectors: see [`Value::reshaped`].
    ///
    /// # Errors
    /// If the launch is of another kernel or larger than the largest, a value is too short or of another type, there is no
    /// room for a step now, or the backend fails.
    fn submit(&mut self, launch: &Launch, buffers: &[Option<&Value>]) -> Result<Vec<Value>, BackendError>;
}

/// Checks a launch and its values against the kernel that a slot is on; backends share it.
fn check_launch(spec: &KernelSpec, launch: &Launch, values: &[Option<&Value>]) -> Result<(), BackendError> {
    let (kernel, largest) = (launch.kernel(), &spec.largest);
    let failed = |found: String| Err(BackendError::Run { found: format!("{}: {found}", kernel.name) });
    if kernel.name != largest.kernel().name {
        return failed(format!("this slot is on {}", largest.kernel().name));
    }
    if launch.bytes().iter().zip(largest.bytes()).any(|(bytes, largest)| bytes > largest) {
        return failed(format!("buffers of {:?} bytes, {:?} are reserved", launch.bytes(), largest.bytes()));
    }
    if values.len() != kernel.buffers.len() {
        return failed(format!("{} values for {} buffers", values.len(), kernel.buffers.len()));
    }
    for (at, (buffer, value)) in kernel.buffers.iter().zip(values).enumerate() {
        let is_constant = spec.constants.iter().any(|(constant, _)| *constant == at);
        match value {
            Some(_) if is_constant => return failed(format!("\"{}\" is a constant", buffer.name)),
            Some(value) if value.dtype() != buffer.dtype || value.bytes() < launch.bytes()[at] => {
                let (dtype, bytes) = (buffer.dtype, launch.bytes()[at]);
                let found = format!("{} {:?}", value.dtype(), value.shape());
                return failed(format!("\"{}\" wants {bytes} bytes of {dtype}, found {found}", buffer.name));
            }
            None if !is_constant && !buffer.is_written => return failed(format!("\"{}\" is missing", buffer.name)),
            _ => (),
        }
    }
    Ok(())
}
