//! The files of a pack, whole or not at all: built into the program, or read from a folder and checked.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::compile::Onnx;
use crate::{AvatarManifest, DIGEST_FILE, Digest, DigestError, DigestList, ManifestError, PackManifest, onnx};

/// Files up to this size are held in memory; larger ones, weights above all, stay on disk.
const HELD_BYTES: u64 = 64 * 1024 * 1024;

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
    /// A graph has weights in a file that the manifest does not count among them.
    #[error("wanted \"{weights}\" among the weights of a graph in pack.toml, because it has some there: {path}")]
    Unlisted {
        /// The weights' path inside the pack.
        weights: String,
        /// The graph's.
        path: String,
    },
}

/// A pack's files by their path inside it.
#[derive(Clone, Debug, Default)]
pub struct PackFiles {
    files: BTreeMap<String, PackFile>,
}

#[derive(Clone, Debug)]
struct PackFile {
    content: Content,
    /// Where it was read from; `None` if it is built in.
    place: Option<PathBuf>,
}

#[derive(Clone, Debug)]
enum Content {
    Held(Cow<'static, [u8]>),
    /// Of this size and, as listed, this digest.
    OnDisk(u64, Digest),
}

impl PackFiles {
    /// Files that were checked when the program was built.
    #[must_use]
    pub fn built_in(files: &[(&str, &'static [u8])]) -> Self {
        let held = |(path, bytes): &(&str, &'static [u8])| {
            ((*path).to_owned(), PackFile { content: Content::Held(Cow::Borrowed(*bytes)), place: None })
        };
        Self { files: files.iter().map(held).collect() }
    }

    /// Reads a folder: the files that its `SHA256SUMS` lists, each checked against it. Files over 64 MiB are left on disk and
    /// are only checked by [`PackFiles::check_large`].
    ///
    /// # Errors
    /// If a listed file is missing, unreadable or differs.
    pub fn read(folder: &Path) -> Result<Self, PackError> {
        let list = read_file(folder.join(DIGEST_FILE))?;
        let list = DigestList::parse(&String::from_utf8_lossy(&list))?;
        let files = list.entries().map(|(path, digest)| Ok((path.to_owned(), PackFile::read(folder, path, digest)?)));
        Ok(Self { files: files.collect::<Result<_, PackError>>()? })
    }

    /// The bytes of a file that is held.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&[u8]> {
        match &self.files.get(path)?.content {
            Content::Held(bytes) => Some(bytes),
            Content::OnDisk(..) => None,
        }
    }

    /// The digest of a file, as listed or of what is held.
    ///
    /// # Errors
    /// If there is no such file.
    pub fn digest(&self, path: &str) -> Result<Digest, PackError> {
        Ok(match &self.file(path)?.content {
            Content::Held(bytes) => Digest::of(bytes),
            Content::OnDisk(_, digest) => *digest,
        })
    }

    /// The size of a file in bytes.
    ///
    /// # Errors
    /// If there is no such file.
    pub fn size_bytes(&self, path: &str) -> Result<u64, PackError> {
        Ok(self.file(path)?.size_bytes())
    }

    fn file(&self, path: &str) -> Result<&PackFile, PackError> {
        self.files.get(path).ok_or_else(|| PackError::Absent { path: path.to_owned() })
    }

    /// Of the files `listed`, those that the graph at `path` has weights in: all of them if that cannot be read from it.
    ///
    /// # Errors
    /// If it has some in another: nobody would see that these changed.
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

    /// The graph at `path`: its bytes, or its path if its weights stand beside it.
    ///
    /// # Errors
    /// If it is not there, or is built in but has weights beside it.
    pub fn onnx(&self, path: &str, weights: &[String]) -> Result<Onnx<'_>, PackError> {
        let held = if weights.is_empty() { self.get(path) } else { None };
        let place = || self.file(path).ok()?.place.as_deref();
        let found = held.map(Onnx::Bytes).or_else(|| place().map(Onnx::File));
        found.ok_or_else(|| PackError::Absent { path: path.to_owned() })
    }

    /// Holds a file that was left on disk to its digest: all of it is read.
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
