//! Compiled kernels (cubins) on disk, found by their key; an entry is complete or absent.
//!
//! Decides file names, when a cubin is trusted, and how many are kept. Does not compile. Cubins are small, so every use reads the
//! whole file and checks its digest. Two processes that want the same one both compile it, and the later one's rename wins. All
//! kernels for all GPUs take some hundred kilobytes and compile in seconds, so the oldest are removed first.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cache::CacheError;
use crate::output_file::{OutputFile, UNFINISHED};
use crate::{Digest, Sm, Version};

const CUBIN: &str = "cubin";
const SIDECAR: &str = "json";

/// Limit of a folder: every version of the sources and of NVRTC leaves its own cubins.
const LIMIT_BYTES: u64 = 64 << 20;

/// What a cubin is made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KernelKey {
    /// The name of the source: `colour`.
    pub source: String,
    /// Digest of its text.
    pub text: Digest,
    /// The GPUs it is compiled for.
    pub sm: Sm,
    /// The version of NVRTC.
    pub version: Version,
    /// Options of NVRTC besides the GPU architecture.
    pub flags: Vec<String>,
}

impl KernelKey {
    /// The name of its files without the extension: `colour.sm89.nvrtc12.9-0123456789ab`.
    #[must_use]
    pub fn stem(&self) -> String {
        let digest = Digest::of(&serde_json::to_vec(self).unwrap_or_default());
        format!("{}nvrtc{}-{}", self.prefix(), self.version, digest.short())
    }

    fn prefix(&self) -> String {
        format!("{}.{}.", self.source, self.sm.tag())
    }

    /// Whether it differs only in the compiler's version.
    fn is_like(&self, other: &Self) -> bool {
        Self { version: other.version, ..self.clone() } == *other
    }
}

/// The JSON file beside a cubin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KernelSidecar {
    /// What it is made from.
    pub key: KernelKey,
    /// Digest of the cubin.
    pub sha256: Digest,
    /// Its size.
    pub size_bytes: u64,
}

/// A complete cubin.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredCubin {
    /// Its file.
    pub path: PathBuf,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Its sidecar.
    pub sidecar: KernelSidecar,
}

/// What was found under a key.
#[derive(Clone, Debug, PartialEq)]
pub enum FoundCubin {
    /// A cubin.
    Whole(Box<StoredCubin>),
    /// No cubin.
    Nothing,
    /// A cubin that must not be used, and why. The next one stored replaces it.
    Damaged(String),
}

/// A folder of cubins.
#[derive(Clone, Debug)]
pub struct Cubins {
    folder: PathBuf,
    limit_bytes: u64,
}

impl Cubins {
    /// The cubins in `folder`, which is created if it does not exist.
    ///
    /// # Errors
    /// If the folder cannot be created.
    pub fn open(folder: PathBuf) -> Result<Self, CacheError> {
        fs::create_dir_all(&folder).map_err(CacheError::to("create the folder of kernels", &folder))?;
        Ok(Self { folder, limit_bytes: LIMIT_BYTES })
    }

    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn path(&self, stem: &str, ending: &str) -> PathBuf {
        self.folder.join(format!("{stem}.{ending}"))
    }

    /// Looks for the cubin of this key.
    #[must_use]
    pub fn find(&self, key: &KernelKey) -> FoundCubin {
        let stem = key.stem();
        let (path, described) = (self.path(&stem, CUBIN), self.path(&stem, SIDECAR));
        let (bytes, text) = match (fs::read(&path), fs::read(&described)) {
            (Err(a), Err(b)) if [&a, &b].iter().all(|error| error.kind() == io::ErrorKind::NotFound) => {
                return FoundCubin::Nothing;
            }
            (Ok(bytes), Ok(text)) => (bytes, text),
            (Err(error), _) | (_, Err(error)) => {
                return FoundCubin::Damaged(format!("a file cannot be read: {error}"));
            }
        };
        let sidecar: KernelSidecar = match serde_json::from_slice(&text) {
            Ok(sidecar) => sidecar,
            Err(error) => return FoundCubin::Damaged(format!("its sidecar cannot be read: {error}")),
        };
        if sidecar.key != *key {
            return FoundCubin::Damaged(format!("it was compiled from another key: {}", sidecar.key.stem()));
        }
        match Digest::of(&bytes) {
            found if found == sidecar.sha256 => FoundCubin::Whole(Box::new(StoredCubin { path, bytes, sidecar })),
            found => FoundCubin::Damaged(format!("wanted digest {}, found {found}", sidecar.sha256)),
        }
    }

    /// The newest cubin whose key differs only in the compiler's version: for machines without a compiler.
    #[must_use]
    pub fn find_of_any_version(&self, key: &KernelKey) -> Option<StoredCubin> {
        let names = fs::read_dir(&self.folder).ok()?.flatten().map(|entry| entry.path());
        let described = names.filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            name.starts_with(&key.prefix()) && path.extension().is_some_and(|ending| ending == SIDECAR)
        });
        let keys = described.filter_map(|path| {
            let sidecar: KernelSidecar = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
            sidecar.key.is_like(key).then_some(sidecar.key)
        });
        let whole = keys.filter_map(|key| match self.find(&key) {
            FoundCubin::Whole(cubin) => Some(*cubin),
            FoundCubin::Nothing | FoundCubin::Damaged(_) => None,
        });
        whole.max_by_key(|cubin| cubin.sidecar.key.version)
    }

    /// Stores a cubin: its bytes reach the disk before it gets its name, and the sidecar is written last. Then removes the
    /// oldest cubins above the limit.
    ///
    /// # Errors
    /// If it cannot be written. No incomplete file is left under its name.
    pub fn put(&self, key: &KernelKey, bytes: &[u8]) -> Result<StoredCubin, CacheError> {
        let (stem, size_bytes) = (key.stem(), bytes.len() as u64);
        let sidecar = KernelSidecar { key: key.clone(), sha256: Digest::of(bytes), size_bytes };
        let path = self.path(&stem, CUBIN);
        let text = serde_json::to_vec_pretty(&sidecar).map_err(io::Error::other);
        let text = text.map_err(CacheError::to("describe a kernel", &path))?;
        write(&path, bytes)?;
        write(&self.path(&stem, SIDECAR), &text)?;
        self.thin_out(&stem);
        Ok(StoredCubin { path, bytes: bytes.to_vec(), sidecar })
    }

    /// Removes the oldest files until the limit is met, but nothing of `newest`. Files that cannot be removed stay.
    fn thin_out(&self, newest: &str) {
        let files = fs::read_dir(&self.folder).into_iter().flatten().flatten().filter_map(|entry| {
            let (path, facts) = (entry.path(), entry.metadata().ok()?);
            let is_ours =
                path.extension().is_some_and(|ending| [CUBIN, SIDECAR, UNFINISHED].iter().any(|own| ending == *own));
            is_ours.then_some((facts.modified().ok()?, facts.len(), path))
        });
        let mut files: Vec<_> = files.collect();
        files.sort();
        let mut left_bytes: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
        for (_, bytes, path) in files {
            let is_newest = path.file_stem().is_some_and(|stem| stem == newest);
            if left_bytes > self.limit_bytes && !is_newest && fs::remove_file(path).is_ok() {
                left_bytes -= bytes;
            }
        }
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), CacheError> {
    OutputFile::write(path, bytes).map_err(CacheError::to("write a kernel", path))
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    fn key() -> KernelKey {
        KernelKey {
            source: "colour".into(),
            text: Digest::of(b"text"),
            sm: Sm::SM89,
            version: Version::two(12, 9),
            flags: vec!["--fmad=false".into()],
        }
    }

    fn cubins() -> (tempfile::TempDir, Cubins) {
        let folder = tempfile::tempdir().expect("a folder");
        let cubins = Cubins::open(folder.path().join("kernels")).expect("a folder in it");
        (folder, cubins)
    }

    #[test]
    fn a_stored_cubin_is_found_under_a_readable_name() {
        let (_folder, cubins) = cubins();
        assert_eq!(cubins.find(&key()), FoundCubin::Nothing);
        let put = cubins.put(&key(), b"cubin").expect("written");
        assert_eq!(cubins.find(&key()), FoundCubin::Whole(Box::new(put.clone())));
        let name = put.path.file_name().expect("a name").to_string_lossy().into_owned();
        assert!(name.starts_with("colour.sm89.nvrtc12.9-"), "{name}");
        assert_eq!(fs::read_dir(cubins.folder()).expect("a folder").count(), 2, "no draft is left");
    }

    #[test]
    fn every_field_of_the_key_changes_the_name() {
        let changes: [fn(&mut KernelKey); 5] = [
            |key| key.source.push('x'),
            |key| key.text = Digest::of(b"another"),
            |key| key.sm = Sm::SM120,
            |key| key.version = Version::two(13, 0),
            |key| key.flags.clear(),
        ];
        for change in changes {
            let mut other = key();
            change(&mut other);
            assert_ne!(other.stem(), key().stem());
        }
    }

    #[test]
    fn damage_is_detected_and_the_next_put_replaces_it() {
        let (_folder, cubins) = cubins();
        let harms: [fn(&Path); 5] = [
            |path| fs::write(path, b"cubi").expect("written"),
            |path| fs::write(path, b"cubjn").expect("written"),
            |path| fs::remove_file(path).expect("removed"),
            |path| fs::remove_file(path.with_extension("json")).expect("removed"),
            |path| fs::write(path.with_extension("json"), b"{").expect("written"),
        ];
        for harm in harms {
            let put = cubins.put(&key(), b"cubin").expect("written");
            harm(&put.path);
            assert!(matches!(cubins.find(&key()), FoundCubin::Damaged(_)));
            assert_eq!(cubins.find_of_any_version(&key()), None);
        }
        cubins.put(&key(), b"cubin").expect("written");
        assert!(matches!(cubins.find(&key()), FoundCubin::Whole(_)));
    }

    #[test]
    fn the_oldest_cubins_are_removed_above_the_limit() {
        let (_folder, mut cubins) = cubins();
        let version = |minor| KernelKey { version: Version::two(12, minor), ..key() };
        let put = |cubins: &Cubins, minor| cubins.put(&version(minor), &[7; 5000]).expect("written").path;
        let first = put(&cubins, 1);
        let draft = cubins.folder().join("colour.sm89.cubin.4711-0.unfinished");
        fs::write(&draft, [7; 5000]).expect("left by a killed process");
        fs::write(cubins.folder().join("notes.txt"), [7; 50_000]).expect("not ours");
        for path in [&first, &first.with_extension("json"), &draft] {
            let long_ago = std::time::SystemTime::UNIX_EPOCH;
            File::options().append(true).open(path).and_then(|file| file.set_modified(long_ago)).expect("its time");
        }
        put(&cubins, 2);
        assert!(first.exists() && draft.exists(), "below the limit");
        cubins.limit_bytes = 13_000;
        put(&cubins, 3);
        assert!(!first.exists() && !draft.exists() && cubins.folder().join("notes.txt").exists());
        for minor in [2, 3] {
            assert!(matches!(cubins.find(&version(minor)), FoundCubin::Whole(_)), "{minor}");
        }
        cubins.limit_bytes = 0;
        put(&cubins, 4);
        assert!(matches!(cubins.find(&version(4)), FoundCubin::Whole(_)), "the newest stays");
        assert_eq!(cubins.find(&version(3)), FoundCubin::Nothing);
    }

    #[test]
    fn without_a_compiler_a_cubin_of_another_version_is_used() {
        let (_folder, cubins) = cubins();
        for (major, minor) in [(12, 9), (13, 1), (13, 0)] {
            let made = KernelKey { version: Version::two(major, minor), ..key() };
            cubins.put(&made, &[major as u8, minor as u8]).expect("written");
        }
        let other = KernelKey { version: Version::two(12, 0), ..key() };
        assert_eq!(cubins.find(&other), FoundCubin::Nothing);
        assert_eq!(cubins.find_of_any_version(&other).expect("one").bytes, [13, 1]);
        let changed = KernelKey { text: Digest::of(b"newer"), ..key() };
        assert_eq!(cubins.find_of_any_version(&changed), None);
    }
}
