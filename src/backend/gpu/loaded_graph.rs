//! What both sides know of a loaded graph: its ports, who has a slot on it, and which memory is locked for it.
//!
//! Decides who gets a slot and a block. Knows no order and calls no driver.

use std::sync::{Arc, Mutex, PoisonError};

use visage_kernels::cuda::{Pinned, PinnedPool, Port, Side};

use super::super::BackendError;

/// Bytes of one number.
pub const NUMBER_BYTES: usize = 4;
/// Sets of buffers of a slot: one is filled while the other is worked on.
pub const SETS: usize = 2;

/// What both sides know of a loaded graph.
#[derive(Debug)]
pub struct LoadedGraph {
    pub graph: usize,
    pub name: String,
    pub ports: Vec<Port>,
    /// Rows that a step may have.
    pub most_rows: usize,
    places: Mutex<Vec<Place>>,
    /// Locked memory, and which opening of the device it belongs to. None while there is no device.
    reserve: Mutex<Option<(u64, PinnedPool)>>,
}

/// A slot: whether a session has it, and for each set what is alive as long as its outputs are held.
#[derive(Debug, Default)]
struct Place {
    is_taken: bool,
    held: [Arc<()>; SETS],
}

impl LoadedGraph {
    pub fn new(graph: usize, name: String, ports: Vec<Port>, (slots, most_rows): (usize, usize)) -> Self {
        let places = (0..slots).map(|_| Place::default()).collect();
        Self { graph, name, ports, most_rows, places: Mutex::new(places), reserve: Mutex::new(None) }
    }

    /// Says which memory is locked from now on, or that none is.
    pub fn supply(&self, reserve: Option<(u64, PinnedPool)>) {
        *self.reserve.lock().unwrap_or_else(PoisonError::into_inner) = reserve;
    }

    /// The inputs or the outputs, with their numbers among all ports.
    pub fn side(&self, side: Side) -> impl Iterator<Item = (usize, &Port)> {
        self.ports.iter().enumerate().filter(move |(_, port)| port.side == side)
    }

    /// Whether no session has a slot.
    pub fn is_empty(&self) -> bool {
        !self.places.lock().unwrap_or_else(PoisonError::into_inner).iter().any(|place| place.is_taken)
    }

    /// A slot for a session, and what is alive as long as its outputs are held.
    pub fn take_slot(&self) -> Result<(usize, [Arc<()>; SETS]), BackendError> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let full = || BackendError::Full { graph: self.name.clone(), slots: places.len() };
        let slot = places.iter().position(|place| !place.is_taken).ok_or_else(full)?;
        places[slot].is_taken = true;
        Ok((slot, places[slot].held.clone()))
    }

    /// Gives a slot back.
    pub fn leave(&self, slot: usize) {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)[slot].is_taken = false;
    }

    /// Which opening of the device its memory belongs to.
    pub fn opening(&self) -> Option<u64> {
        self.reserve.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|(opening, _)| *opening)
    }

    /// A free block, for a slot of that opening.
    pub fn block(&self, opening: u64) -> Result<Pinned, BackendError> {
        let reserve = self.reserve.lock().unwrap_or_else(PoisonError::into_inner);
        let pool = reserve.as_ref().filter(|(current, _)| *current == opening).map(|(_, pool)| pool);
        let pool = pool.ok_or_else(gone)?;
        pool.take().ok_or(BackendError::Busy { found: "all blocks of locked memory are in use" })
    }

    pub fn port(&self, side: Side, name: &str) -> Result<usize, BackendError> {
        let found = self.side(side).find(|(_, port)| port.name == name);
        found.map(|(number, _)| number).ok_or_else(|| {
            let mut names: Vec<&str> = self.side(side).map(|(_, port)| port.name.as_str()).collect();
            names.sort_unstable();
            BackendError::NoSuchName { name: name.to_owned(), found: names.join(", ") }
        })
    }
}

/// Bytes of a port's tensor of so many rows.
pub fn bytes_of(port: &Port, rows: usize) -> usize {
    port.shape.iter().map(|axis| axis.unwrap_or(rows)).product::<usize>() * NUMBER_BYTES
}

/// What a session on an earlier opening of the device is told.
pub fn gone() -> BackendError {
    BackendError::Device { found: "what was on it is gone: it is being opened anew, or was".to_owned() }
}
