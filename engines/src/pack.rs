//! The files of a pack: built into the program, or read from a folder and verified. A pack is complete or an error.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::compile::Onnx;
use crate::{AvatarManifest, DIGEST_FILE, Digest, DigestError, DigestList, ManifestError, PackManifest, onnx};

/// Files up to this size are held in memory; larger ones, mostly weights, stay on disk.
const HELD_BYTES: u64 = 64 * 1024 * 1024;

/// Why a pack cannot be used.
#[derive(Debug, Error)]
pub enum PackError {
    /// A file cannot be read.
    #[error("cannot read {path} of the pack: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A file is damaged.
    #[error("the pack is damaged: {0}")]
    Digest(#[from] DigestError),
    /// A manifest is damaged.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A file that the manifest needs is not listed.
    #[error("the manifest names a file that the pack does not have: {path}")]
    Absent {
        /// Its path inside the pack.
        path: String,
    },
    /// A graph has weights in a file that the manifest does not list.
    #[error("pack.toml does not list \"{weights}\" among the weights of the graph {path}, which reads it")]
    Unlisted {
        /// The weights' path inside the pack.
        weights: String,
        /// The graph's path inside the pack.
        path: String,
    },
}

/// The files of a pack by their path inside it.
#[derive(Clone, Debug, Default)]
pub struct PackFiles {
    files: BTreeMap<String, PackFile>,
}

#[derive(Clone, Debug)]
struct PackFile {
    content: Content,
    /// Its path on disk; `None` if it is built in.
    place: Option<PathBuf>,
}

#[derive(Clone, Debug)]
enum Content {
    Held(Cow<'static, [u8]>),
    /// Its size and its listed digest.
    OnDisk(u64, Digest),
}

impl PackFiles {
    /// Files that were verified when the program was built.
    #[must_use]
    pub fn built_in(files: &[(&str, &'static [u8])]) -> Self {
        let held = |(path, bytes): &(&str, &'static [u8])| {
            ((*path).to_owned(), PackFile { content: Content::Held(Cow::Borrowed(*bytes)), place: None })
        };
        Self { files: files.iter().map(held).collect() }
    }

    /// Reads a folder: the files listed in its `SHA256SUMS`, each verified. Files over 64 MiB stay on disk and
    /// are verified only by [`PackFiles::check_large`].
    ///
    /// # Errors
    /// If a listed file is missing, unreadable or differs.
    pub fn read(folder: &Path) -> Result<Self, PackError> {
        let list = read_file(folder.join(DIGEST_FILE))?;
        let list = DigestList::parse(&String::from_utf8_lossy(&list))?;
        let files = list.entries().map(|(path, digest)| Ok((path.to_owned(), PackFile::read(folder, path, digest)?)));
        Ok(Self { files: files.collect::<Result<_, PackError>>()? })
    }

    /// The bytes of a file held in memory.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&[u8]> {
        match &self.files.get(path)?.content {
            Content::Held(bytes) => Some(bytes),
            Content::OnDisk(..) => None,
        }
    }

    /// The digest of a file: as listed, or computed if it is held in memory.
    ///
    /// # Errors
    /// If the file does not exist.
    pub fn digest(&self, path: &str) -> Result<Digest, PackError> {
        Ok(match &self.file(path)?.content {
            Content::Held(bytes) => Digest::of(bytes),
            Content::OnDisk(_, digest) => *digest,
        })
    }

    /// The size of a file in bytes.
    ///
    /// # Errors
    /// If the file does not exist.
    pub fn size_bytes(&self, path: &str) -> Result<u64, PackError> {
        Ok(self.file(path)?.size_bytes())
    }

    fn file(&self, path: &str) -> Result<&PackFile, PackError> {
        self.files.get(path).ok_or_else(|| PackError::Absent { path: path.to_owned() })
    }

    /// Of the `listed` files, those in which the graph at `path` has weights; all of them if the graph cannot be read.
    ///
    /// # Errors
    /// If it has weights in a file that is not listed: a change there would go unnoticed.
    pub fn weights<'a>(&self, path: &str, listed: &'a [String]) -> Result<Vec<&'a str>, PackError> {
        let named = self.get(path).and_then(onnx::weights_of);
        let Some(named) = named else { return Ok(listed.iter().map(String::as_str).collect()) };
        let folder = path.rfind('/').map_or("", |end| &path[..=end]);
        let inside = |name: String| format!("{folder}{}", name.trim_start_matches("./"));
        let find = |weights: String| {
            let found = listed.iter().find(|path| **path == weights).map(String::as_str);
            found.ok_or_else(|| PackError::Unlisted { weights, path: path.to_owned() })
        };
        named.into_iter().map(inside).map(find).collect()
    }

    /// The graph at `path`: its bytes, or its path if it has external weights.
    ///
    /// # Errors
    /// If the file does not exist, or is built in but has external weights.
    pub fn onnx(&self, path: &str, weights: &[String]) -> Result<Onnx<'_>, PackError> {
        let held = if weights.is_empty() { self.get(path) } else { None };
        let place = || self.file(path).ok()?.place.as_deref();
        let found = held.map(Onnx::Bytes).or_else(|| place().map(Onnx::File));
        found.ok_or_else(|| PackError::Absent { path: path.to_owned() })
    }

    /// Verifies a file that stays on disk by reading it completely.
    ///
    /// # Errors
    /// If it cannot be read or differs.
    pub fn check_large(&self, path: &str) -> Result<(), PackError> {
        let Some(PackFile { content: Content::OnDisk(_, wanted), place: Some(place) }) = self.files.get(path) else {
            return Ok(());
        };
        let read = File::open(place).and_then(|mut file| Digest::of_reader(&mut file));
        let (found, _) = read.map_err(|source| PackError::Read { path: place.clone(), source })?;
        if found == *wanted {
            return Ok(());
        }
        Err(DigestError::Differs { path: path.to_owned(), wanted: *wanted, found }.into())
    }

    /// The bytes of a required file.
    ///
    /// # Errors
    /// If the file does not exist.
    pub fn wanted(&self, path: &str) -> Result<&[u8], PackError> {
        self.get(path).ok_or_else(|| PackError::Absent { path: path.to_owned() })
    }

    /// The content of `pack.toml`.
    ///
    /// # Errors
    /// If it is missing or damaged.
    pub fn manifest(&self) -> Result<PackManifest, PackError> {
        Ok(PackManifest::parse(&String::from_utf8_lossy(self.wanted("pack.toml")?))?)
    }

    /// The content of the `avatar.toml` of `avatar`.
    ///
    /// # Errors
    /// If it is missing or damaged.
    pub fn avatar(&self, avatar: &str) -> Result<AvatarManifest, PackError> {
        let text = self.wanted(&format!("avatars/{avatar}/avatar.toml"))?;
        Ok(AvatarManifest::parse(avatar, &String::from_utf8_lossy(text))?)
    }

    /// Total size of all files in bytes.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.files.values().map(PackFile::size_bytes).sum()
    }
}

impl PackFile {
    fn read(folder: &Path, path: &str, digest: Digest) -> Result<Self, PackError> {
        let full = folder.join(path);
        let facts = std::fs::metadata(&full).map_err(|source| PackError::Read { path: full.clone(), source })?;
        if facts.len() > HELD_BYTES {
            return Ok(Self { content: Content::OnDisk(facts.len(), digest), place: Some(full) });
        }
        let bytes = read_file(full.clone())?;
        let found = Digest::of(&bytes);
        if found == digest {
            return Ok(Self { content: Content::Held(Cow::Owned(bytes)), place: Some(full) });
        }
        Err(DigestError::Differs { path: path.to_owned(), wanted: digest, found }.into())
    }

    fn size_bytes(&self) -> u64 {
        match &self.content {
            Content::Held(bytes) => bytes.len() as u64,
            Content::OnDisk(size_bytes, _) => *size_bytes,
        }
    }
}

fn read_file(path: PathBuf) -> Result<Vec<u8>, PackError> {
    std::fs::read(&path).map_err(|source| PackError::Read { path, source })
}
