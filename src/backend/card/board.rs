//! How a card is used, and what is true of it for both sides to read.
//!
//! Decides nothing: the owner writes, sessions and reports read.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use super::super::Health;
use crate::cards::CardWork;

/// The engine's name in errors and reports.
pub const NAME: &str = "tensorrt";

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
pub struct Tally {
    pub steps: AtomicU64,
    pub runs: AtomicU64,
    pub replays: AtomicU64,
    pub fetches: AtomicU64,
    pub failures: AtomicU64,
    pub reopenings: AtomicU64,
    pub asked_in_loop: AtomicU64,
}

impl Tally {
    pub fn count(counter: &AtomicU64, more: u64) {
        counter.fetch_add(more, Ordering::Relaxed);
    }

    pub fn work(&self) -> CardWork {
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
pub struct Board {
    health: Mutex<Health>,
    pub tally: Tally,
    /// Where the device is on the bus, once it was opened.
    pub bus_address: OnceLock<String>,
}

impl Default for Board {
    fn default() -> Self {
        Self { health: Mutex::new(Health::Open), tally: Tally::default(), bus_address: OnceLock::new() }
    }
}

impl Board {
    pub fn health(&self) -> Health {
        self.health.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn say(&self, health: Health) {
        *self.health.lock().unwrap_or_else(PoisonError::into_inner) = health;
    }
}
