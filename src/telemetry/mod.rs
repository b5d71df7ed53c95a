//! Measurements: time stamps on frames and audio blocks, histograms and counters.
//!
//! Decides the names of stages and losses. Does not read a clock: time stamps are passed in.

mod counters;
mod footprint;
mod histogram;
mod machine_cpu;
mod marks;
mod prometheus;
mod trace;

pub use counters::{Counters, Loss, LossCounts, Traffic};
pub use footprint::{Footprint, TICKS};
pub use histogram::{Distribution, Histogram, Percentiles};
pub use machine_cpu::MachineCpu;
pub use marks::{Marks, Stage, StepTimes};
pub use prometheus::{Exposition, Labels, MetricKind};
pub use trace::{ChromeTrace, Trace, Traced};
