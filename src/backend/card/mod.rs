//! The engine for NVIDIA cards: sessions hand steps over, one thread that owns the device feeds it.
//!
//! Decides how the two sides talk: bounded orders one way, blocks of locked memory and a board of what is true the other.
//! What a card does is begun by [`CardLoop`], which whoever starts threads runs on one; engines come from an
//! [`EngineSource`]: TensorRT's in production.

mod bench;
mod open;
mod order;
mod owner;
mod slot;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use order::{LoadOrder, Order, Reply, StoredOnnx};
use slot::{CardGraph, Desk};
pub use slot::{Coming, Resident};
pub use visage_kernels::cuda::{EngineSource, LIBRARY as DRIVER};

pub use owner::CardLoop;

use super::{Backend, BackendError, Graph, Health, Onnx};
use crate::cards::{CardUse, CardWork};

/// The engine's name in errors and reports.
const NAME: &str = "tensorrt";
/// Orders that may wait for the thread that owns the device.
const ORDERS: usize = 256;

/// How the card is used.
#[derive(Clone, Debug)]
pub struct CardConfig {
    /// The driver's library.
    pub driver: PathBuf,
    /// Which card.
    pub ordinal: u32,
    /// Sessions at once on each graph.
    pub slots: usize,
    /// Rows that one run takes at most, of however many sessions, where the graph takes any number.
    pub rows: usize,
    /// Blocks of locked memory for each graph: each step to be uploaded and each output on its way back has one.
    pub blocks: usize,
}

/// What was done so far; [`CardWork`] says what each count is of.
#[derive(Debug, Default)]
struct Tally {
    steps: AtomicU64,
    runs: AtomicU64,
    replays: AtomicU64,
    fetches: AtomicU64,
    failures: AtomicU64,
    reopenings: AtomicU64,
    asked_in_loop: AtomicU64,
}

impl Tally {
    fn count(counter: &AtomicU64, more: u64) {
        counter.fetch_add(more, Ordering::Relaxed);
    }

    fn work(&self) -> CardWork {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        CardWork {
            steps: of(&self.steps),
            runs: of(&self.runs),
            replays: of(&self.replays),
            fetches: of(&self.fetches),
            failures: of(&self.failures),
            reopenings: of(&self.reopenings),
            asked_in_loop: of(&self.asked_in_loop),
        }
    }
}

/// What is true of the device, for both sides to read.
#[derive(Debug)]
struct Board {
    health: Mutex<Health>,
    tally: Tally,
    /// Where the device is on the bus, once it was opened.
    bus_address: OnceLock<String>,
}

impl Board {
    fn health(&self) -> Health {
        self.health.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn say(&self, health: Health) {
        *self.health.lock().unwrap_or_else(PoisonError::into_inner) = health;
    }
}

/// The way to the thread that owns the device.
#[derive(Clone, Debug)]
struct Counter {
    orders: SyncSender<Order>,
    board: Arc<Board>,
}

impl Counter {
    /// Whether both lead to the same device.
    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.board, &other.board)
    }

    /// Hands an order over, or does not if too many wait.
    fn hand_over(&self, order: Order) -> Result<(), BackendError> {
        self.orders.try_send(order).map_err(|refused| match refused {
            TrySendError::Full(_) => BackendError::Busy { found: "too many orders wait for the card" },
            TrySendError::Disconnected(_) => closed(),
        })
    }
}

fn closed() -> BackendError {
    BackendError::Device { found: "the thread that owns it has ended".to_owned() }
}

/// Graphs on a card.
pub struct Card {
    counter: Counter,
    ordinal: u32,
}

/// A card and what runs it. The device is opened when the first graph is loaded, on the thread that runs the loop.
#[must_use]
pub fn card(config: CardConfig, source: Box<dyn EngineSource>) -> (Card, CardLoop) {
    let (orders, taken) = sync_channel(ORDERS);
    let board =
        Arc::new(Board { health: Mutex::new(Health::Open), tally: Tally::default(), bus_address: OnceLock::new() });
    let counter = Counter { orders, board: Arc::clone(&board) };
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
        self.counter.board.tally.work()
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
