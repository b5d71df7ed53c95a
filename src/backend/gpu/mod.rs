//! The backend for NVIDIA GPUs: sessions send commands, one thread owns the device and queues them on CUDA streams.
//!
//! Decides how the two sides communicate: a bounded command queue one way, pinned buffers and a shared status the other. The
//! device is driven by [`DeviceLoop`], which the session layer runs on a thread. Engines come from an [`EngineSource`]
//! (TensorRT), kernels from cubins ([`GpuConfig::cubins`]).
//!
//! Files: `command*`, `loaded`, `packing`, `graph_slot`, `kernel_slot`, `device_tensor` are the sessions' side; `device_loop`,
//! `device_context`, `nodes`, `buffers`, `streams`, `transfers`, `graph_executor`, `kernel_executor` run on the device thread.

mod buffers;
mod command;
mod command_queue;
mod device_context;
mod device_loop;
mod device_status;
mod device_tensor;
mod graph_executor;
mod graph_slot;
mod kernel_executor;
mod kernel_slot;
mod loaded;
mod nodes;
mod packing;
mod streams;
mod transfers;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

use command::{DeviceCommand, LoadGraph, LoadKernel, Reply, StoredOnnx};
use command_queue::{CommandSender, closed};
pub use device_loop::DeviceLoop;
pub use device_status::GpuConfig;
use device_status::{DeviceStatus, NAME};
use graph_slot::GpuGraph;
use kernel_slot::GpuKernel;
pub use visage_kernels::cuda::{EngineSource, LIBRARY as DRIVER};
pub use visage_kernels::nvrtc::Cubin;

use super::{Backend, BackendError, Graph, Health, Kernel, KernelSpec, Onnx};
use crate::gpu_load::{DeviceCounts, GpuRequirement};

/// Graphs and kernels on a GPU.
pub struct GpuBackend {
    commands: CommandSender,
    ordinal: u32,
    has_kernels: bool,
}

/// A backend and the loop that drives its device. The device is opened when the first graph or kernel is loaded, on the
/// loop's thread.
#[must_use]
pub fn open(config: GpuConfig, source: Box<dyn EngineSource>) -> (GpuBackend, DeviceLoop) {
    let status = Arc::<DeviceStatus>::default();
    let (commands, receiver) = CommandSender::new(Arc::clone(&status));
    let backend = GpuBackend { commands, ordinal: config.ordinal, has_kernels: !config.cubins.is_empty() };
    (backend, DeviceLoop::new(config, source, status, receiver))
}

impl GpuBackend {
    /// Starts to load a graph; [`Loading::wait`] returns it.
    ///
    /// # Errors
    /// If too many commands wait.
    pub fn begin_load(&self, name: &str, onnx: Onnx<'_>) -> Result<Loading<dyn Graph>, BackendError> {
        let (reply, loaded) = sync_channel(1);
        let onnx = match onnx {
            Onnx::Bytes(bytes) => StoredOnnx::Bytes(Arc::from(bytes)),
            Onnx::File(path) => StoredOnnx::File(path.to_owned()),
        };
        self.commands.send(DeviceCommand::LoadGraph(LoadGraph { name: name.to_owned(), onnx, reply }))?;
        let commands = self.commands.clone();
        Ok(Loading(Box::new(move || wait(&loaded, |loaded| Box::new(GpuGraph { loaded, commands }) as Box<dyn Graph>))))
    }

    /// Starts to load a kernel; [`Loading::wait`] returns it.
    ///
    /// # Errors
    /// If too many commands wait.
    pub fn begin_load_kernel(&self, spec: KernelSpec) -> Result<Loading<dyn Kernel>, BackendError> {
        let (reply, loaded) = sync_channel(1);
        self.commands.send(DeviceCommand::LoadKernel(LoadKernel { spec, reply }))?;
        let commands = self.commands.clone();
        Ok(Loading(Box::new(move || {
            wait(&loaded, |loaded| Box::new(GpuKernel { loaded, commands }) as Box<dyn Kernel>)
        })))
    }

    /// The state of the device.
    #[must_use]
    pub fn health(&self) -> Health {
        self.commands.status.health()
    }

    /// Counters of its work.
    #[must_use]
    pub fn work(&self) -> DeviceCounts {
        self.commands.status.work()
    }
}

fn wait<L, T: ?Sized>(
    loaded: &Receiver<Reply<Arc<L>>>,
    of: impl FnOnce(Arc<L>) -> Box<T>,
) -> Result<Box<T>, BackendError> {
    loaded.recv().map_err(|_ended| closed())?.map(of)
}

/// A graph or kernel that is being loaded.
pub struct Loading<T: ?Sized>(Box<dyn FnOnce() -> Result<Box<T>, BackendError>>);

impl<T: ?Sized> Loading<T> {
    /// The graph or kernel, once the loop has loaded it.
    ///
    /// # Errors
    /// If the device does not open, there is no engine or cubin for it, or not enough memory.
    pub fn wait(self) -> Result<Box<T>, BackendError> {
        (self.0)()
    }
}

impl Backend for GpuBackend {
    fn name(&self) -> &'static str {
        NAME
    }

    /// All slots' memory is reserved when a graph is loaded: another session takes none.
    fn gpu(&self) -> Option<GpuRequirement> {
        let bus_address = self.commands.status.bus_address.get().cloned();
        Some(GpuRequirement { bus_address, index: self.ordinal, session_bytes: 0 })
    }

    fn has_device_kernels(&self) -> bool {
        self.has_kernels
    }

    fn load(&self, name: &str, onnx: Onnx<'_>) -> Result<Box<dyn Graph>, BackendError> {
        self.begin_load(name, onnx)?.wait()
    }

    fn load_kernel(&self, spec: KernelSpec) -> Result<Box<dyn Kernel>, BackendError> {
        self.begin_load_kernel(spec)?.wait()
    }
}
