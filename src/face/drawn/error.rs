//! What can be wrong with the files of a drawn character.

use thiserror::Error;

/// Why a rig cannot be used.
#[derive(Debug, Error)]
pub enum RigError {
    /// A file is missing.
    #[error("wanted the file {path}, found none")]
    Missing {
        /// Its path inside the avatar's folder.
        path: String,
    },
    /// `rig.json` is no rig.
    #[error("wanted a rig in rig.json, found: {found}")]
    Format {
        /// What was wrong.
        found: String,
    },
    /// A layer's drawing cannot be read.
    #[error("wanted a drawing in {path}, found: {found}")]
    Drawing {
        /// The layer's file.
        path: String,
        /// What was wrong.
        found: String,
    },
}

pub(super) fn format_error(found: String) -> RigError {
    RigError::Format { found }
}
