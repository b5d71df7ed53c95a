//! What can be wrong with the files of a head.

use thiserror::Error;

/// A head whose files cannot be used.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum HeadError {
    /// A file is not there.
    #[error("wanted the file {file}, found none")]
    Missing {
        /// Its name inside the avatar's folder.
        file: String,
    },
    /// `rig.json` does not read as a rig.
    #[error("wanted a rig in rig.json, found: {found}")]
    Rig {
        /// What was found, in words.
        found: String,
    },
    /// An array of `mesh.bin` is not as its table says or not as the rig needs it.
    #[error("wanted {wanted} for the array {array} of mesh.bin, found {found}")]
    Mesh {
        /// The array's name.
        array: String,
        /// What the rig needs.
        wanted: String,
        /// What is there.
        found: String,
    },
    /// An image does not decode, or is too large.
    #[error("wanted an image of at most 1024 by 1024 pixels in {file}, found: {found}")]
    Image {
        /// Its name inside the avatar's folder.
        file: String,
        /// What was found, in words.
        found: String,
    },
}

impl HeadError {
    /// A fault of `rig.json`.
    pub(super) fn rig(found: impl Into<String>) -> Self {
        Self::Rig { found: found.into() }
    }

    /// A fault of one array of `mesh.bin`.
    pub(super) fn mesh(array: &str, wanted: impl Into<String>, found: &dyn ToString) -> Self {
        Self::Mesh { array: array.to_owned(), wanted: wanted.into(), found: found.to_string() }
    }
}
