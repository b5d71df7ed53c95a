//! The files of a pack, whole or not at all: built into the program, or read from a folder and checked.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::{AvatarManifest, DIGEST_FILE, DigestError, DigestList, ManifestError, PackManifest};

/// Why a pack cannot be used.
#[derive(Debug, Error)]
pub enum PackError {
    /// A file cannot be read.
    #[error("wanted to read a file of the pack, found {source}: {path}")]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is damaged.
    #[error("the pack is damaged: {0}")]
    Digest(#[from] DigestError),
    /// A manifest is damaged.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A file that the manifest needs is not among the listed ones.
    #[error("wanted a file that the manifest names, found none: {path}")]
    Absent {
        /// Its path inside the pack.
        path: String,
    },
}

/// A pack's files by their path inside it.
#[derive(Clone, Debug, Default)]
pub struct PackFiles(BTreeMap<String, Cow<'static, [u8]>>);

impl PackFiles {
    /// Files that were checked when the program was built.
    #[must_use]
    pub fn built_in(files: &[(&str, &'static [u8])]) -> Self {
        Self(files.iter().map(|(path, bytes)| ((*path).to_owned(), Cow::Borrowed(*bytes))).collect())
    }

    /// Reads a folder: the files that its `SHA256SUMS` lists, each checked against it.
    ///
    /// # Errors
    /// If a listed file is missing, unreadable or differs.
    pub fn read(folder: &Path) -> Result<Self, PackError> {
        let read = |path: PathBuf| std::fs::read(&path).map_err(|source| PackError::Read { path, source });
        let list = read(folder.join(DIGEST_FILE))?;
        let list = DigestList::parse(&String::from_utf8_lossy(&list))?;
        let mut files = BTreeMap::new();
        for path in list.paths() {
            let bytes = read(folder.join(path))?;
            list.check(path, &bytes)?;
            files.insert(path.to_owned(), Cow::Owned(bytes));
        }
        Ok(Self(files))
    }

    /// The bytes of a file.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&[u8]> {
        self.0.get(path).map(|bytes| &**bytes)
    }

    /// The bytes of a file that must be there.
    ///
    /// # Errors
    /// If it is not.
    pub fn wanted(&self, path: &str) -> Result<&[u8], PackError> {
        self.get(path).ok_or_else(|| PackError::Absent { path: path.to_owned() })
    }

    /// What `pack.toml` says.
    ///
    /// # Errors
    /// If it is missing or damaged.
    pub fn manifest(&self) -> Result<PackManifest, PackError> {
        Ok(PackManifest::parse(&String::from_utf8_lossy(self.wanted("pack.toml")?))?)
    }

    /// What the `avatar.toml` of `avatar` says.
    ///
    /// # Errors
    /// If it is missing or damaged.
    pub fn avatar(&self, avatar: &str) -> Result<AvatarManifest, PackError> {
        let text = self.wanted(&format!("avatars/{avatar}/avatar.toml"))?;
        Ok(AvatarManifest::parse(avatar, &String::from_utf8_lossy(text))?)
    }

    /// Bytes of all files together.
    #[must_use]
    pub fn total_bytes(&self) -> usize {
        self.0.values().map(|bytes| bytes.len()).sum()
    }
}
