//! Errors of the cache.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};
use thiserror::Error;

use crate::Digest;

/// A file of the cache that cannot be read or written.
#[derive(Debug, Error)]
#[error("cannot {action} {}: {source}", path.display())]
pub struct CacheError {
    /// The operation that failed.
    pub action: &'static str,
    /// The file or folder.
    pub path: PathBuf,
    /// The system's error.
    pub source: io::Error,
}

impl CacheError {
    pub(crate) fn to<'a>(action: &'static str, path: &'a Path) -> impl Fn(io::Error) -> Self + 'a {
        move |source| Self { action, path: path.to_owned(), source }
    }

    /// Whether the disk is full.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        matches!(self.source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }
}

/// Why an engine is not available.
#[derive(Debug, Error)]
pub enum ObtainError<E> {
    /// The cache failed.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// The build failed.
    #[error("the engine was not built: {0}")]
    Build(E),
    /// The caller stopped waiting for another builder.
    #[error("waiting for another builder was stopped")]
    Stopped,
}

/// What is wrong with an engine in the cache. Serialised as its message.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Damage {
    /// The engine or its sidecar is missing.
    #[error("a file is missing: {missing}")]
    Half {
        /// The missing file.
        missing: String,
    },
    /// Its builder was killed.
    #[error("it was never finished: its builder was killed")]
    Unfinished,
    /// The sidecar cannot be read.
    #[error("its sidecar cannot be read: {found}")]
    Sidecar {
        /// Why.
        found: String,
    },
    /// The key in the sidecar is not the key in the file name.
    #[error("it was built from another key, with digest {found}")]
    Foreign {
        /// The digest of the key in the sidecar.
        found: Digest,
    },
    /// The size differs.
    #[error("wanted {wanted} bytes, found {found}")]
    Size {
        /// The size in the sidecar.
        wanted: u64,
        /// The size of the file.
        found: u64,
    },
    /// The content differs.
    #[error("wanted digest {wanted}, found {found}")]
    Bytes {
        /// The digest in the sidecar.
        wanted: Digest,
        /// The digest of the file.
        found: Digest,
    },
}

impl Serialize for Damage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
