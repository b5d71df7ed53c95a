//! The engine for NVIDIA cards: sessions hand steps over, one thread that owns the device feeds it.
//!
//! Decides how the two sides talk: bounded orders one way, blocks of locked memory and a board of what is true the other.
//! What a card does is begun by [`DeviceLoop`], which whoever starts threads runs on one; engines come from an
//! [`EngineSource`]: TensorRT's in production.

mod command;
mod command_queue;
mod device_context;
mod device_loop;
mod device_status;
mod graph_executor;
mod loaded_graph;
mod slot;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

use command::{DeviceCommand, LoadCommand, Reply, StoredOnnx};
use command_queue::{CommandSender, closed};
pub use device_status::GpuConfig;
use device_status::{DeviceStatus, NAME};
use loaded_graph::LoadedGraph;
use slot::GpuGraph;
pub use slot::{DeviceTensor, Downloading};
pub use visage_kernels::cuda::{EngineSource, LIBRARY as DRIVER};

pub use device_loop::DeviceLoop;

use super::{Backend, BackendError, Graph, Health, Onnx};
use crate::gpu_load::{DeviceCounts, GpuRequirement};

/// Graphs on a card.
pub struct GpuBackend {
    counter: CommandSender,
    ordinal: u32,
}

/// A card and what runs it. The device is opened when the first graph is loaded, on the thread that runs the loop.
#[must_use]
pub fn card(config: GpuConfig, source: Box<dyn EngineSource>) -> (GpuBackend, DeviceLoop) {
    let board = Arc::<DeviceStatus>::default();
    let (counter, taken) = CommandSender::new(Arc::clone(&board));
    let ordinal = config.ordinal;
    (GpuBackend { counter, ordinal }, DeviceLoop::new(config, source, board, taken))
}

impl GpuBackend {
    /// Orders a graph to be loaded; [`Loading::wait`] says what came of it.
    ///
    /// # Errors
    /// If too many orders wait.
    pub fn begin_load(&self, name: &str, onnx: Onnx<'_>) -> Result<Loading, BackendError> {
        let (reply, loaded) = sync_channel(1);
        let onnx = match onnx {
            Onnx::Bytes(bytes) => StoredOnnx::Bytes(Arc::from(bytes)),
            Onnx::File(path) => StoredOnnx::File(path.to_owned()),
        };
        self.counter.hand_over(DeviceCommand::Load(LoadCommand { name: name.to_owned(), onnx, reply }))?;
        Ok(Loading { loaded, counter: self.counter.clone() })
    }

    /// How the device is.
    #[must_use]
    pub fn health(&self) -> Health {
        self.counter.board.health()
    }

    /// What was done so far.
    #[must_use]
    pub fn work(&self) -> DeviceCounts {
        self.counter.board.work()
    }
}

/// A graph that is being loaded.
pub struct Loading {
    loaded: Receiver<Reply<Arc<LoadedGraph>>>,
    counter: CommandSender,
}

impl Loading {
    /// The graph, once the loop has loaded it.
    ///
    /// # Errors
    /// If the device does not open, there is no engine of the graph, or no memory for it.
    pub fn wait(self) -> Result<Box<dyn Graph>, BackendError> {
        let desk = self.loaded.recv().map_err(|_ended| closed())??;
        Ok(Box::new(GpuGraph::new(desk, self.counter)))
    }
}

impl Backend for GpuBackend {
    fn name(&self) -> &'static str {
        NAME
    }

    /// All memory of all slots is taken when a graph is loaded: one more session takes none.
    fn card(&self) -> Option<GpuRequirement> {
        let bus_address = self.counter.board.bus_address.get().cloned();
        Some(GpuRequirement { bus_address, index: self.ordinal, session_bytes: 0 })
    }

    fn load(&self, name: &str, onnx: Onnx<'_>) -> Result<Box<dyn Graph>, BackendError> {
        self.begin_load(name, onnx)?.wait()
    }
}
