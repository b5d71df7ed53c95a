//! What is measured: marks on travelling things, histograms and counters over them.
//!
//! Decides the names of stages and losses. Does not read a clock: stamps are given.

mod counters;
mod histogram;
mod marks;

pub use counters::{Counters, Loss, LossCounts};
pub use histogram::{Histogram, Percentiles};
pub use marks::{Marks, Stage};
