//! Compiled kernels on disk, found by what they were made from, whole or not at all.
//!
//! Decides where a cubin lies, when it is believed, and how many stay. Does not know how to compile. Cubins are small, so that
//! each is read and compared with its digest whenever it is used; two processes that want the same one both make it, and the later
//! renames it in place. All kernels for all GPUs come to some hundred kilobytes, and are compiled in seconds: what was
//! compiled longest ago goes first.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cache::CacheError;
use crate::output_file::{OutputFile, UNFINISHED};
use crate::{Digest, Sm, Version};

const CUBIN: &str = "cubin";
const SIDECAR: &str = "json";

/// What stays in a folder at most: every version of our sources and of NVRTC leaves its own cubins.
const LIMIT_BYTES: u64 = 64 << 20;

/// What a cubin is made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KernelKey {
    /// The name of the source: `colour`.
    pub source: String,
    /// Of its text.
    pub text: Digest,
    /// The GPUs it is compiled for.
    pub sm: Sm,
    /// NVRTC's version, which compiles it.
    pub version: Version,
    /// Options of NVRTC besides the GPU architecture.
    pub flags: Vec<String>,
}

impl KernelKey {
    /// The name of its files without an ending: `colour.sm89.nvrtc12.9-0123456789ab`.
    #[must_use]
    pub fn stem(&self) -> String {
        let digest = Digest::of(&serde_json::to_vec(self).unwrap_or_default());
        format!("{}nvrtc{}-{}", self.prefix(), self.version, digest.short())
    }

    fn prefix(&self) -> String {
        format!("{}.{}.", self.source, self.sm.tag())
    }

    /// Whether it differs in the compiler's version only.
    fn is_like(&self, other: &Self) -> bool {
        Self { version: other.version, ..self.clone() } == *other
    }
}

/// What stands beside a cubin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KernelSidecar {
    /// What it is made from.
    pub key: KernelKey,
    /// Of the cubin.
    pub sha256: Digest,
    /// Its size.
    pub size_bytes: u64,
}

/// A cubin that is believed.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredCubin {
    /// Where it lies.
    pub path: PathBuf,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Its description.
    pub sidecar: KernelSidecar,
}

/// What was found under a key.
#[derive(Clone, Debug, PartialEq)]
pub enum FoundCubin {
    /// A cubin.
    Whole(Box<StoredCubin>),
    /// None.
    Nothing,
    /// One that is not to be believed, and why. The next one put there takes its place.
    Damaged(String),
}

/// A folder of cubins.
#[derive(Clone, Debug)]
pub struct Cubins {
    folder: PathBuf,
    limit_bytes: u64,
}

impl Cubins {
    /// The cubins in `folder`, which is made if it is not there.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn open(folder: PathBuf) -> Result<Self, CacheError> {
        fs::create_dir_all(&folder).map_err(CacheError::to("make the folder of kernels", &folder))?;
        Ok(Self { folder, limit_bytes: LIMIT_BYTES })
    }

    /// Where it is.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn path(&self, stem: &str, ending: &str) -> PathBuf {
        self.folder.join(format!("{stem}.{ending}"))
    }

    /// The cubin of this key.
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
                return FoundCubin::Damaged(format!("half of it cannot be read: {error}"));
            }
        };
        let sidecar: KernelSidecar = match serde_json::from_slice(&text) {
            Ok(sidecar) => sidecar,
            Err(error) => return FoundCubin::Damaged(format!("its description cannot be read: {error}")),
        };
        if sidecar.key != *key {
            return FoundCubin::Damaged(format!("it was made from something else: {}", sidecar.key.stem()));
        }
        match Digest::of(&bytes) {
            found if found == sidecar.sha256 => FoundCubin::Whole(Box::new(StoredCubin { path, bytes, sidecar })),
            found => FoundCubin::Damaged(format!("wanted the digest {}, found {found}", sidecar.sha256)),
        }
    }

    /// The cubin of this key but for the compiler's version, the newest: for machines that have no compiler.
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

    /// Keeps a cubin: its bytes reach the disk before its name does, and the description comes last. Then those that were
    /// kept longest ago go, as far as there are too many.
    ///
    /// # Errors
    /// If it cannot be written; then nothing half done bears its name.
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

    /// Removes what was written longest ago until the limit is kept, but nothing of `newest`. What cannot be removed stays.
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
    fn what_is_put_is_found_under_a_readable_name() {
        let (_folder, cubins) = cubins();
        assert_eq!(cubins.find(&key()), FoundCubin::Nothing);
        let put = cubins.put(&key(), b"cubin").expect("written");
        assert_eq!(cubins.find(&key()), FoundCubin::Whole(Box::new(put.clone())));
        let name = put.path.file_name().expect("a name").to_string_lossy().into_owned();
        assert!(name.starts_with("colour.sm89.nvrtc12.9-"), "{name}");
        assert_eq!(fs::read_dir(cubins.folder()).expect("a folder").count(), 2, "no draft is left");
    }

    #[test]
    fn whatever_it_is_made_from_changes_its_name() {
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
    fn damage_is_seen_and_the_next_one_mends_it() {
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
    fn what_was_compiled_longest_ago_goes_when_there_is_too_much() {
        let (_folder, mut cubins) = cubins();
        let version = |minor| KernelKey { version: Version::two(12, minor), ..key() };
        let put = |cubins: &Cubins, minor| cubins.put(&version(minor), &[7; 5000]).expect("written").path;
        let first = put(&cubins, 1);
        let draft = cubins.folder().join("colour.sm89.cubin.4711-0.unfinished");
        fs::write(&draft, [7; 5000]).expect("left by one that was killed");
        fs::write(cubins.folder().join("notes.txt"), [7; 50_000]).expect("somebody else's");
        for path in [&first, &first.with_extension("json"), &draft] {
            let long_ago = std::time::SystemTime::UNIX_EPOCH;
            File::options().append(true).open(path).and_then(|file| file.set_modified(long_ago)).expect("its time");
        }
        put(&cubins, 2);
        assert!(first.exists() && draft.exists(), "there is room");
        cubins.limit_bytes = 13_000;
        put(&cubins, 3);
        assert!(!first.exists() && !draft.exists() && cubins.folder().join("notes.txt").exists());
        for minor in [2, 3] {
            assert!(matches!(cubins.find(&version(minor)), FoundCubin::Whole(_)), "{minor}");
        }
        cubins.limit_bytes = 0;
        put(&cubins, 4);
        assert!(matches!(cubins.find(&version(4)), FoundCubin::Whole(_)), "what was just made stays");
        assert_eq!(cubins.find(&version(3)), FoundCubin::Nothing);
    }

    #[test]
    fn one_made_by_another_version_serves_where_there_is_no_compiler() {
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
