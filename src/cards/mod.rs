//! The graphics cards while shows run: what they say of themselves, and how many sessions that leaves.
//!
//! Decides when a card is too hot or too full for another session. Reads no card and no clock: readings and time are given.

mod governor;

pub use governor::{Allowance, Change, Governor};
pub use visage_kernels::watch::CardReading;

/// The card that faces are drawn on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CardUse {
    /// Its number among [`CardReading`]s.
    pub index: u32,
    /// Memory of it that one more session takes.
    pub session_bytes: u64,
}
