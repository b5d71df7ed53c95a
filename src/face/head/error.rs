//! Errors in the files of a head.

use thiserror::Error;

/// Why a head cannot be loaded.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum HeadError {
    /// A file is missing.
    #[error("file {file} is missing")]
    Missing {
        /// Name in the avatar's folder.
        file: String,
    },
    /// `rig.json` is not a valid rig.
    #[error("rig.json is not a valid rig: {found}")]
    Rig {
        /// What is wrong.
        found: String,
    },
    /// An array of `mesh.bin` does not match its table entry or the rig.
    #[error("wanted {wanted} for the array {array} of mesh.bin, found {found}")]
    Mesh {
        /// Name of the array.
        array: String,
        /// Expected.
        wanted: String,
        /// Found.
        found: String,
    },
    /// An image cannot be decoded, or is too large.
    #[error("{file} is not a valid image of at most 1024x1024 pixels: {found}")]
    Image {
        /// Name in the avatar's folder.
        file: String,
        /// What is wrong.
        found: String,
    },
}

impl HeadError {
    /// An error in `rig.json`.
    pub(super) fn rig(found: impl Into<String>) -> Self {
        Self::Rig { found: found.into() }
    }

    /// An error in an array of `mesh.bin`.
    pub(super) fn mesh(array: &str, wanted: impl Into<String>, found: &dyn ToString) -> Self {
        Self::Mesh { array: array.to_owned(), wanted: wanted.into(), found: found.to_string() }
    }
}
