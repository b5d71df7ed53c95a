//! Why a graph could not be loaded or run.

use thiserror::Error;

/// Why a graph could not be loaded or run.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum BackendError {
    /// The bytes are no graph that this engine understands.
    #[error("wanted a graph that the {backend} engine can load, found: {found}")]
    Load {
        /// The engine.
        backend: &'static str,
        /// What it said.
        found: String,
    },
    /// A name is not among the graph's inputs or outputs.
    #[error("wanted an input or output called \"{name}\", the graph has: {found}")]
    NoSuchName {
        /// The name asked for.
        name: String,
        /// The names there are.
        found: String,
    },
    /// The graph failed while running.
    #[error("the graph did not run: {found}")]
    Run {
        /// What the engine said.
        found: String,
    },
    /// The step was not begun; it may be tried again when earlier ones are done.
    #[error("wanted room for a step, {found}")]
    Busy {
        /// What is taken.
        found: &'static str,
    },
    /// Every slot is taken.
    #[error("wanted a slot on the graph \"{graph}\", all {slots} are taken")]
    Full {
        /// The graph.
        graph: String,
        /// How many there are.
        slots: usize,
    },
    /// The device failed; the session that hears this is over.
    #[error("the device failed: {found}")]
    Device {
        /// What happened.
        found: String,
    },
}
