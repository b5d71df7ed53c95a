//! The engine for NVIDIA cards: sessions hand steps over, one thread that owns the device feeds it.
//!
//! Decides how the two sides talk: bounded orders one way, blocks of locked memory and a board of what is true the other.
//! What a card does is begun by [`CardLoop`], which whoever starts threads runs on one; engines come from an
//! [`EngineSource`]: TensorRT's in production.

mod bench;
mod board;
mod counter;
mod desk;
mod open;
mod order;
mod owner;
mod slot;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

pub use board::CardConfig;
use board::{Board, NAME};
use counter::{Counter, closed};
use desk::Desk;
use order::{LoadOrder, Order, Reply, StoredOnnx};
use slot::CardGraph;
pub use slot::{Coming, Resident};
pub use visage_kernels::cuda::{EngineSource, LIBRARY as DRIVER};

pub use owner::CardLoop;

use super::{Backend, BackendError, Graph, Health, Onnx};
use crate::cards::{CardUse, CardWork};

/// Graphs on a card.
pub struct Card {
    counter: Counter,
    ordinal: u32,
}

/// A card and what runs it. The device is opened when the first graph is loaded, on the thread that runs the loop.
#[must_use]
pub fn card(config: CardConfig, source: Box<dyn EngineSource>) -> (Card, CardLoop) {
    let board = Arc::<Board>::default();
    let (counter, taken) = Counter::new(Arc::clone(&board));
    let ordinal = config.ordinal;
    (Card { counter, ordinal }, CardLoop::new(config, source, board, taken))
}

impl Card {
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
        self.counter.hand_over(Order::Load(LoadOrder { name: name.to_owned(), onnx, reply }))?;
        Ok(Loading { loaded, counter: self.counter.clone() })
    }

    /// How the device is.
    #[must_use]
    pub fn health(&self) -> Health {
        self.counter.board.health()
    }

    /// What was done so far.
    #[must_use]
    pub fn work(&self) -> CardWork {
        self.counter.board.work()
    }
}

/// A graph that is being loaded.
pub struct Loading {
    loaded: Receiver<Reply<Arc<Desk>>>,
    counter: Counter,
}

impl Loading {
    /// The graph, once the loop has loaded it.
    ///
    /// # Errors
    /// If the device does not open, there is no engine of the graph, or no memory for it.
    pub fn wait(self) -> Result<Box<dyn Graph>, BackendError> {
        let desk = self.loaded.recv().map_err(|_ended| closed())??;
        Ok(Box::new(CardGraph::new(desk, self.counter)))
    }
}

impl Backend for Card {
    fn name(&self) -> &'static str {
        NAME
    }

    /// All memory of all slots is taken when a graph is loaded: one more session takes none.
    fn card(&self) -> Option<CardUse> {
        let bus_address = self.counter.board.bus_address.get().cloned();
        Some(CardUse { bus_address, index: self.ordinal, session_bytes: 0 })
    }

    fn load(&self, name: &str, onnx: Onnx<'_>) -> Result<Box<dyn Graph>, BackendError> {
        self.begin_load(name, onnx)?.wait()
    }
}
