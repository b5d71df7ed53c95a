//! Engines on disk, found by their key; an entry is complete or absent.
//!
//! Decides file names, who may build an engine, when one is trusted and when it is removed. Does not build.
//!
//! An engine is three files with one stem: `.engine`, `.json` (its sidecar, renamed into place last: an engine without one
//! is incomplete) and `.lock` (held by the building process; the system releases it when that process dies). Code that the
//! library compiles just in time on the GPU is kept beside it as `.jit`. While an engine is being opened, `.unverified` exists: an
//! engine whose opening never finished is read completely before it is trusted again. Damaged engines go to `quarantine/`.

mod entries;
mod error;
mod sidecar;

use std::fs::{self, File, TryLockError};
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, SystemTime};

use crate::EngineKey;

pub use entries::{CacheEntry, Pruned};
pub use error::{CacheError, Damage, ObtainError};
pub use sidecar::{Built, Sidecar, sample_digest};

/// The extensions of an engine's files.
const ENGINE: &str = "engine";
const SIDECAR: &str = "json";
const LOCK: &str = "lock";
const JIT: &str = "jit";
const UNVERIFIED: &str = "unverified";
/// Incomplete engine and sidecar. The lock of their stem lets one process write them, so their names need not be unique.
const DRAFTS: [&str; 2] = ["draft", "json.draft"];
/// The folder of damaged engines.
const QUARANTINE: &str = "quarantine";
/// Interval at which a process that waits for another builder checks again and can be stopped.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// A folder of engines.
#[derive(Clone, Debug)]
pub struct Cache {
    folder: PathBuf,
}

/// A complete engine.
#[derive(Clone, Debug, PartialEq)]
pub struct Engine {
    /// The file.
    pub path: PathBuf,
    /// The cache of code compiled just in time.
    pub jit_path: PathBuf,
    /// Its sidecar.
    pub sidecar: Sidecar,
}

impl Engine {
    /// Marks the engine before it is opened. If the mark stays, because the library failed or ended the process, the next
    /// [`Cache::find`] reads the whole file. In a read-only folder nothing is marked.
    pub fn mark_unverified(&self) {
        let _ = fs::write(self.path.with_extension(UNVERIFIED), b"");
    }

    /// Removes the mark, after the engine was opened or read completely.
    pub fn mark_verified(&self) {
        let _ = fs::remove_file(self.path.with_extension(UNVERIFIED));
    }
}

/// What was found under a key.
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    /// An engine.
    Engine(Box<Engine>),
    /// No complete engine.
    Nothing,
    /// An engine that must not be used.
    Damaged(Damage),
}

/// Progress while an engine is obtained.
#[derive(Clone, Debug, PartialEq)]
pub enum Step<'a> {
    /// A damaged engine was moved to the quarantine folder.
    Quarantined(&'a Path, &'a Damage),
    /// Another process builds the same engine; this one waits for it.
    Waiting(&'a Path),
    /// The wait continues.
    StillWaiting,
    /// Building begins.
    Building,
}

impl Cache {
    /// The cache in `folder`, which is created if it does not exist.
    ///
    /// # Errors
    /// If the folder cannot be created.
    pub fn open(folder: PathBuf) -> Result<Self, CacheError> {
        fs::create_dir_all(&folder).map_err(CacheError::to("create the folder of engines", &folder))?;
        Ok(Self { folder })
    }

    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Looks for the engine of `key`, checking its sidecar and samples of its bytes, or all of them if it is marked unverified.
    /// Records `now` as its last use.
    ///
    /// # Errors
    /// If an existing file cannot be read.
    pub fn find(&self, key: &EngineKey, now: SystemTime) -> Result<Found, CacheError> {
        let stem = key.stem();
        let found = self.look(&stem)?;
        let Found::Engine(engine) = &found else { return Ok(found) };
        if engine.sidecar.key != *key {
            return Ok(Found::Damaged(Damage::Foreign { found: engine.sidecar.key.digest() }));
        }
        if self.path(&stem, UNVERIFIED).exists() {
            if let Some(damage) = self.read_whole(&stem)? {
                return Ok(Found::Damaged(damage));
            }
            engine.mark_verified();
        }
        // The modification time is the time of last use, which orders removal. In a read-only folder it stays as it is.
        let _ = File::options().append(true).open(&engine.path).and_then(|file| file.set_modified(now));
        Ok(found)
    }

    /// Finds the engine of `key` or builds it: `build` writes to the given path and returns what it took.
    /// Of several processes that want the same engine one builds and the others wait. A damaged engine is quarantined first.
    ///
    /// # Errors
    /// If the build fails, files cannot be written, or `report` stops the wait. No incomplete file is left.
    pub fn obtain<E>(
        &self,
        key: &EngineKey,
        now: SystemTime,
        report: &mut dyn FnMut(Step<'_>) -> ControlFlow<()>,
        build: impl FnOnce(&Path) -> Result<Built, E>,
    ) -> Result<Engine, ObtainError<E>> {
        if let Found::Engine(engine) = self.find(key, now)? {
            return Ok(*engine);
        }
        let stem = key.stem();
        let Some(_only_builder) = self.lock(&stem, report)? else { return Err(ObtainError::Stopped) };
        match self.find(key, now)? {
            Found::Engine(engine) => return Ok(*engine),
            Found::Damaged(damage) => {
                let quarantine = self.quarantine(&stem)?;
                let _may_continue = report(Step::Quarantined(&quarantine, &damage));
            }
            Found::Nothing => (),
        }
        let _may_continue = report(Step::Building);
        let draft = Draft(self.path(&stem, DRAFTS[0]));
        let built = build(&draft.0).map_err(ObtainError::Build)?;
        self.finish(&draft, key, built)?;
        match self.find(key, now)? {
            Found::Engine(engine) => Ok(*engine),
            Found::Damaged(damage) => Err(self.vanished(&stem, damage.to_string()).into()),
            Found::Nothing => Err(self.vanished(&stem, "nothing".to_owned()).into()),
        }
    }

    fn vanished(&self, stem: &str, found: String) -> CacheError {
        let source = io::Error::other(found);
        CacheError { action: "find the engine just built", path: self.path(stem, ENGINE), source }
    }

    fn path(&self, stem: &str, ending: &str) -> PathBuf {
        self.folder.join(format!("{stem}.{ending}"))
    }

    /// Checks the files of a stem without reading the whole engine.
    fn look(&self, stem: &str) -> Result<Found, CacheError> {
        let (path, sidecar) = (self.path(stem, ENGINE), self.path(stem, SIDECAR));
        match (path.exists(), sidecar.exists()) {
            (false, false) => return Ok(Found::Nothing),
            (true, true) => (),
            (has_engine, _) => {
                let missing = if has_engine { &sidecar } else { &path };
                return Ok(Found::Damaged(Damage::Half { missing: missing.display().to_string() }));
            }
        }
        let text = fs::read(&sidecar).map_err(CacheError::to("read an engine's sidecar", &sidecar))?;
        let sidecar: Sidecar = match serde_json::from_slice(&text) {
            Ok(sidecar) => sidecar,
            Err(error) => return Ok(Found::Damaged(Damage::Sidecar { found: error.to_string() })),
        };
        let read_failed = CacheError::to("read an engine", &path);
        let size = fs::metadata(&path).map_err(&read_failed)?.len();
        let samples = sample_digest(&path).map_err(&read_failed)?;
        let jit_path = self.path(stem, JIT);
        Ok(if sidecar.key.stem() != stem {
            Found::Damaged(Damage::Foreign { found: sidecar.key.digest() })
        } else if sidecar.size_bytes != size {
            Found::Damaged(Damage::Size { wanted: sidecar.size_bytes, found: size })
        } else if sidecar.samples != samples {
            Found::Damaged(Damage::Bytes { wanted: sidecar.samples, found: samples })
        } else {
            Found::Engine(Box::new(Engine { path: path.clone(), jit_path, sidecar }))
        })
    }

    /// Waits until no other process builds `stem`, or until `report` stops the wait. The lock lasts as long as the file is open.
    fn lock(
        &self,
        stem: &str,
        report: &mut dyn FnMut(Step<'_>) -> ControlFlow<()>,
    ) -> Result<Option<File>, CacheError> {
        let mut step = Step::Waiting(&self.path(stem, LOCK));
        loop {
            if let Some(file) = self.lock_if_free(stem)? {
                return Ok(Some(file));
            }
            if report(step).is_break() {
                return Ok(None);
            }
            step = Step::StillWaiting;
            thread::park_timeout(POLL_INTERVAL);
        }
    }

    /// The lock of `stem`, unless a process builds it.
    fn lock_if_free(&self, stem: &str) -> Result<Option<File>, CacheError> {
        let path = self.path(stem, LOCK);
        let failed = CacheError::to("lock an engine", &path);
        let file = File::options().create(true).append(true).open(&path).map_err(&failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }

    /// Moves a damaged engine to the quarantine folder and returns that folder. One damaged engine of each stem is kept for
    /// inspection; drafts of a killed builder are removed.
    fn quarantine(&self, stem: &str) -> Result<PathBuf, CacheError> {
        let quarantine = self.folder.join(QUARANTINE);
        fs::create_dir_all(&quarantine)
            .map_err(CacheError::to("create the folder for damaged engines", &quarantine))?;
        for ending in [ENGINE, SIDECAR, JIT] {
            let path = self.path(stem, ending);
            if path.exists() {
                let target = quarantine.join(path.file_name().unwrap_or_default());
                fs::rename(&path, target).map_err(CacheError::to("quarantine a damaged engine", &path))?;
            }
        }
        for ending in DRAFTS.into_iter().chain([UNVERIFIED]) {
            let _is_gone = Draft(self.path(stem, ending));
        }
        Ok(quarantine)
    }

    /// Turns a draft into an engine: its bytes reach the disk before it gets its name, and the sidecar is written last.
    fn finish(&self, draft: &Draft, key: &EngineKey, built: Built) -> Result<(), CacheError> {
        let stem = key.stem();
        let failed = CacheError::to("finish an engine", &draft.0);
        File::open(&draft.0).and_then(|file| file.sync_all()).map_err(&failed)?;
        let sidecar = Sidecar::of(&draft.0, key.clone(), built).map_err(&failed)?;
        let text = serde_json::to_vec_pretty(&sidecar).map_err(io::Error::other).map_err(&failed)?;
        let drafted = Draft(self.path(&stem, DRAFTS[1]));
        let write = |bytes: &[u8]| fs::write(&drafted.0, bytes).and_then(|()| File::open(&drafted.0)?.sync_all());
        write(&text).map_err(CacheError::to("write an engine's sidecar", &drafted.0))?;
        fs::rename(&draft.0, self.path(&stem, ENGINE)).map_err(&failed)?;
        fs::rename(&drafted.0, self.path(&stem, SIDECAR)).map_err(&failed)?;
        File::open(&self.folder).and_then(|folder| folder.sync_all()).map_err(failed)
    }
}

/// An incomplete file, removed on drop unless it was renamed. A draft of a killed process is overwritten by the next builder.
struct Draft(PathBuf);

impl Drop for Draft {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests;
