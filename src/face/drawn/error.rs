//! Errors in the files of a drawn avatar.

use thiserror::Error;

/// Why a rig cannot be used.
#[derive(Debug, Error)]
pub enum RigError {
    /// A file is missing.
    #[error("file {path} is missing")]
    Missing {
        /// Its path inside the avatar's folder.
        path: String,
    },
    /// `rig.json` is not a valid rig.
    #[error("rig.json is not a valid rig: {found}")]
    Format {
        /// What is wrong.
        found: String,
    },
    /// A layer's drawing cannot be read.
    #[error("{path} is not a valid drawing: {found}")]
    Drawing {
        /// The layer's file.
        path: String,
        /// What is wrong.
        found: String,
    },
}

pub(super) fn format_error(found: String) -> RigError {
    RigError::Format { found }
}
