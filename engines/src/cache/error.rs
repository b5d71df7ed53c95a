//! Why the cache could not do something.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};
use thiserror::Error;

use crate::Digest;

/// A file of the cache that could not be read or written.
#[derive(Debug, Error)]
#[error("cannot {action} {}: {source}", path.display())]
pub struct CacheError {
    /// What was tried.
    pub action: &'static str,
    /// Which file or folder.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

impl CacheError {
    pub(crate) fn to<'a>(action: &'static str, path: &'a Path) -> impl Fn(io::Error) -> Self + 'a {
        move |source| Self { action, path: path.to_owned(), source }
    }

    /// Whether there was no room left on the disk.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        matches!(self.source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }
}

/// Why an engine could not be had.
#[derive(Debug, Error)]
pub enum ObtainError<E> {
    /// The cache's files.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// Building it.
    #[error("the engine was not built: {0}")]
    Build(E),
    /// Another builder was waited for, and the caller stopped waiting.
    #[error("waiting for another builder was stopped")]
    Stopped,
}

/// What is wrong with an engine in the cache. Serialised as a sentence.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Damage {
    /// It is there without its description, or the other way round.
    #[error("half of it is missing: {missing}")]
    Half {
        /// The file that is not there.
        missing: String,
    },
    /// Its builder was killed.
    #[error("it was never finished: its builder was killed")]
    Unfinished,
    /// The description cannot be read.
    #[error("its description cannot be read: {found}")]
    Sidecar {
        /// Why.
        found: String,
    },
    /// It was made from something else than its name says.
    #[error("it was made from something else: its key's digest is {found}")]
    Foreign {
        /// What the description's key has.
        found: Digest,
    },
    /// It has another size.
    #[error("wanted {wanted} bytes, found {found}")]
    Size {
        /// What the description says.
        wanted: u64,
        /// What the file has.
        found: u64,
    },
    /// It has other bytes.
    #[error("wanted the digest {wanted}, found {found}")]
    Bytes {
        /// What the description says.
        wanted: Digest,
        /// What the file has.
        found: Digest,
    },
}

impl Serialize for Damage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
