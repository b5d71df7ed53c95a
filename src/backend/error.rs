//! Errors of loading or running graphs and kernels.
//!
//! Decides which errors a session outlives: all but [`BackendError::Device`].

use thiserror::Error;

/// Why a graph or kernel could not be loaded or run.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum BackendError {
    /// The graph or kernel is not one that this backend can load.
    #[error("wanted a graph that the {backend} backend can load, found: {found}")]
    Load {
        /// The backend.
        backend: &'static str,
        /// Its error.
        found: String,
    },
    /// A name is not among the graph's inputs or outputs.
    #[error("wanted an input or output called \"{name}\", the graph has: {found}")]
    NoSuchName {
        /// The requested name.
        name: String,
        /// The available names.
        found: String,
    },
    /// The step failed; the slot stays usable.
    #[error("the step failed: {found}")]
    Run {
        /// The backend's error.
        found: String,
    },
    /// The step was not queued; it may be submitted again once earlier ones are done.
    #[error("no room for a step now: {found}")]
    Busy {
        /// What is in use.
        found: &'static str,
    },
    /// Every slot is taken.
    #[error("all {slots} slots on \"{graph}\" are taken")]
    Full {
        /// The graph or kernel.
        graph: String,
        /// Number of slots.
        slots: usize,
    },
    /// The device failed; sessions that see this have ended.
    #[error("the device failed: {found}")]
    Device {
        /// What happened.
        found: String,
    },
}
