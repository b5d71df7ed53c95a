//! Engines that run graphs: the port, the engine for any CPU, and the one for NVIDIA cards.
//!
//! Decides how a graph is loaded, who has a slot on it and how a step is run. Does not know what its numbers mean.

mod cpu;
mod error;
#[cfg(feature = "cuda")]
pub mod gpu;
mod parity;
mod value;

use crate::gpu_load::{DeviceCounts, GpuRequirement};
pub use cpu::CpuBackend;
pub use error::BackendError;
pub use parity::{Difference, ParityError, Signature, compare, run, seeded};
pub use value::{Tensor, Value};
pub use visage_engines::Onnx;

/// Whether an engine takes new sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It does.
    Ready,
    /// Not now: it is short of memory, or being opened anew.
    Recovering {
        /// What happened.
        found: String,
    },
    /// Not any more.
    Lost {
        /// What happened.
        found: String,
    },
}

/// Loads graphs.
pub trait Backend: Send + Sync {
    /// The engine's name, as `/v1` and the logs say it.
    fn name(&self) -> &'static str;

    /// The graphics card that it reckons on, known best once a graph is loaded; none for a processor.
    fn card(&self) -> Option<GpuRequirement> {
        None
    }

    /// Loads the graph that a pack calls `name`.
    ///
    /// # Errors
    /// If it is not a graph this engine can run.
    fn load(&self, name: &str, onnx: Onnx<'_>) -> Result<Box<dyn Graph>, BackendError>;
}

/// A loaded graph, shared by all sessions.
pub trait Graph: Send + Sync {
    /// Whether the engine takes new sessions. A CPU always does.
    fn health(&self) -> Health {
        Health::Ready
    }

    /// What was done on its card, for all its graphs; none for a processor.
    fn work(&self) -> Option<DeviceCounts> {
        None
    }

    /// A session's place on it, for as long as it is kept.
    ///
    /// # Errors
    /// If all are taken, or the engine takes no sessions now.
    fn slot(&self) -> Result<Box<dyn Slot>, BackendError>;
}

/// One session's place on a graph. Sessions bring their own state as inputs.
pub trait Slot: Send {
    /// Begins one step: named inputs to the named outputs, in the order asked. Every input of the graph is named once.
    /// Outputs stay where the engine reckons until they are asked for; they may go into other steps, also of other graphs.
    /// An engine may hold as few as two steps' outputs of a slot: a third is refused as [`BackendError::Busy`] until those of
    /// the first were taken, asked for or let go.
    ///
    /// # Errors
    /// If a name is unknown or missing, a shape does not fit, there is no room for a step now, or the engine fails. An
    /// engine that works on its own may say that a step failed only when its outputs are used.
    fn step(&mut self, inputs: &[(&str, &Value)], outputs: &[&str]) -> Result<Vec<Value>, BackendError>;
}
