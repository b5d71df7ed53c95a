//! NVIDIA's driver API in layers: sys (entry points), result (errors), safe (devices, streams, memory, graphs).
//!
//! Decides what makes a copy or a launch sound: who owns a buffer while the device may access it. Does not decide what is
//! copied or run, nor what follows from a fault. Building needs nothing from NVIDIA, running needs only the driver.

mod device;
mod driver;
mod engine;
mod error;
mod event;
mod graph;
mod memory;
mod module;
mod pinned;
mod stream;
pub mod sys;

pub use device::{Counts, Device};
pub use driver::{Driver, LIBRARY};
pub use engine::{AxisRange, Engine, EngineError, EngineSource};
pub use error::{CudaError, DriverError, FaultKind};
pub use event::Event;
pub use graph::Graph;
pub use memory::Memory;
pub use module::{Argument, Function, Grid, Module};
pub use pinned::{Pinned, PinnedPool, Transfer};
pub use stream::Stream;
