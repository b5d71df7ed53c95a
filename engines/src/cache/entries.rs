//! The contents of the cache: listing, full verification, and removal of the least recently used engines.

use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

use serde::Serialize;

use super::{Cache, CacheError, DRAFTS, Damage, ENGINE, Found, JIT, LOCK, QUARANTINE, SIDECAR, UNVERIFIED};
use crate::output_file::UNFINISHED;
use crate::{Digest, EngineKey};

/// An engine in the cache, as it is listed.
#[derive(Clone, Debug, Serialize)]
pub struct CacheEntry {
    /// The common name of its files, without the extension.
    pub stem: String,
    /// What it is made from, if its sidecar can be read.
    pub key: Option<EngineKey>,
    /// Total size of its files in bytes.
    pub size_bytes: u64,
    /// When it was last used.
    #[serde(skip)]
    pub used: SystemTime,
    /// What is wrong with it.
    pub damage: Option<Damage>,
    /// Whether another process is building it now. Its damage is then about to be repaired.
    pub is_being_built: bool,
}

/// The result of removing engines.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Pruned {
    /// The stems of the removed engines, in order of removal.
    pub removed: Vec<String>,
    /// Bytes freed.
    pub freed_bytes: u64,
    /// Bytes still in use.
    pub left_bytes: u64,
}

impl Pruned {
    fn take(&mut self, entry: CacheEntry) {
        self.left_bytes -= entry.size_bytes;
        self.freed_bytes += entry.size_bytes;
        self.removed.push(entry.stem);
    }
}

impl Cache {
    /// All engines, sorted by name, each checked as by [`Cache::find`].
    ///
    /// # Errors
    /// If the folder or a file in it cannot be read.
    pub fn list(&self) -> Result<Vec<CacheEntry>, CacheError> {
        let mut all = self.stems()?.into_iter().map(|stem| self.entry(stem)).collect::<Result<Vec<_>, _>>()?;
        // A lock file that no process holds is what remains of an engine that was removed or never finished.
        all.retain(|entry| {
            entry.is_being_built || entry.damage != Some(Damage::Unfinished) || self.drafts(&entry.stem)
        });
        Ok(all)
    }

    /// All engines, each read completely and compared with its digest. Damaged ones are quarantined, unless another process builds them.
    /// Damage is checked again under the lock, so that an engine built in the meantime stays.
    ///
    /// # Errors
    /// As [`Cache::list`], or if an engine cannot be quarantined.
    pub fn verify(&self, report: &mut dyn FnMut(&str)) -> Result<Vec<CacheEntry>, CacheError> {
        let mut all = self.list()?;
        for entry in &mut all {
            if entry.damage.is_none() {
                report(&entry.stem);
                entry.damage = self.read_whole(&entry.stem)?;
            }
            if entry.damage.is_none() {
                continue;
            }
            let lock = self.lock_if_free(&entry.stem)?;
            entry.is_being_built = lock.is_none();
            if lock.is_some() {
                entry.damage = self.wrong_with(&entry.stem)?;
                entry.damage.as_ref().map_or(Ok(()), |_| self.quarantine(&entry.stem).map(drop))?;
            }
        }
        Ok(all)
    }

    /// Reads a whole engine and returns what is wrong with it.
    pub(super) fn wrong_with(&self, stem: &str) -> Result<Option<Damage>, CacheError> {
        match self.look(stem)? {
            Found::Engine(_) => self.read_whole(stem),
            Found::Damaged(damage) => Ok(Some(damage)),
            Found::Nothing => Ok(self.drafts(stem).then_some(Damage::Unfinished)),
        }
    }

    fn drafts(&self, stem: &str) -> bool {
        DRAFTS.iter().any(|ending| self.path(stem, ending).exists())
    }

    /// Removes damaged and quarantined engines and abandoned drafts, then the least recently used engines, until at most
    /// `limit_bytes` remain. An engine that is being built is skipped.
    ///
    /// # Errors
    /// If a file cannot be removed.
    pub fn prune(&self, limit_bytes: u64) -> Result<Pruned, CacheError> {
        let freed_bytes = self.clear_quarantine()? + self.remove_unfinished()?;
        let mut pruned = Pruned { freed_bytes, ..Pruned::default() };
        let mut all = self.list()?;
        all.sort_by_key(|entry| (entry.damage.is_none(), entry.used));
        pruned.left_bytes = all.iter().map(|entry| entry.size_bytes).sum();
        for entry in all {
            let is_wanted = |found: &Found| matches!(found, Found::Engine(_)) && pruned.left_bytes <= limit_bytes;
            if self.remove_unless(&entry.stem, is_wanted)? {
                pruned.take(entry);
            }
        }
        Ok(pruned)
    }

    /// Removes the least recently used engines until at most `limit_bytes` remain. Engines used at `since` or later stay, even
    /// above the limit; so do damaged ones, for inspection.
    ///
    /// # Errors
    /// If a file cannot be removed.
    pub fn thin_out(&self, limit_bytes: u64, since: SystemTime) -> Result<Pruned, CacheError> {
        let mut all = self.list()?;
        let mut pruned = Pruned { left_bytes: all.iter().map(|entry| entry.size_bytes).sum(), ..Pruned::default() };
        all.retain(|entry| entry.damage.is_none() && entry.used < since);
        all.sort_by_key(|entry| entry.used);
        for entry in all {
            if pruned.left_bytes > limit_bytes && self.remove_unless(&entry.stem, |_| false)? {
                pruned.take(entry);
            }
        }
        Ok(pruned)
    }

    fn entry(&self, stem: String) -> Result<CacheEntry, CacheError> {
        let (key, damage) = match self.look(&stem)? {
            Found::Engine(engine) => (Some(engine.sidecar.key), None),
            Found::Damaged(damage) => (None, Some(damage)),
            // Its builder is still at work, or was killed.
            Found::Nothing => (None, Some(Damage::Unfinished)),
        };
        // A complete engine needs no lock, so that a read-only folder can be listed as well.
        let is_being_built = damage.is_some() && self.lock_if_free(&stem)?.is_none();
        let facts: Vec<_> = self.files(&stem).iter().filter_map(|path| fs::metadata(path).ok()).collect();
        let used = fs::metadata(self.path(&stem, ENGINE)).and_then(|facts| facts.modified());
        let used = used.unwrap_or(SystemTime::UNIX_EPOCH);
        let size_bytes = facts.iter().map(fs::Metadata::len).sum();
        Ok(CacheEntry { stem, key, size_bytes, used, damage, is_being_built })
    }

    pub(super) fn read_whole(&self, stem: &str) -> Result<Option<Damage>, CacheError> {
        let Found::Engine(engine) = self.look(stem)? else { return Ok(None) };
        let read = fs::File::open(&engine.path).and_then(|mut file| Digest::of_reader(&mut file));
        let (found, _) = read.map_err(CacheError::to("read an engine", &engine.path))?;
        let wanted = engine.sidecar.sha256;
        Ok((wanted != found).then_some(Damage::Bytes { wanted, found }))
    }

    /// The stems of all files.
    fn stems(&self) -> Result<Vec<String>, CacheError> {
        let failed = CacheError::to("list the folder of engines", &self.folder);
        let mut stems = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(&failed)? {
            let name = entry.map_err(&failed)?.file_name().to_string_lossy().into_owned();
            // The longest first: one extension may be the end of another.
            let mut endings = DRAFTS.into_iter().rev().chain([ENGINE, SIDECAR, JIT, LOCK]);
            stems.extend(endings.find_map(|ending| name.strip_suffix(&format!(".{ending}"))).map(str::to_owned));
        }
        stems.sort_unstable();
        stems.dedup();
        Ok(stems)
    }

    fn files(&self, stem: &str) -> Vec<PathBuf> {
        let endings = [ENGINE, SIDECAR, JIT, UNVERIFIED].into_iter().chain(DRAFTS);
        endings.map(|ending| self.path(stem, ending)).collect()
    }

    /// Removes an engine's files unless `is_wanted` accepts what is there now. Returns whether it removed them; an engine that is
    /// being built stays.
    pub(super) fn remove_unless(&self, stem: &str, is_wanted: impl Fn(&Found) -> bool) -> Result<bool, CacheError> {
        let Some(_lock) = self.lock_if_free(stem)? else { return Ok(false) };
        if is_wanted(&self.look(stem)?) {
            return Ok(false);
        }
        for path in self.files(stem) {
            if path.exists() {
                fs::remove_file(&path).map_err(CacheError::to("remove an engine", &path))?;
            }
        }
        Ok(true)
    }

    /// Removes files that killed processes left ([`crate::output_file`]). Only caches of just-in-time kernels are written under
    /// such names; a process that is writing one loses it and writes it again at its next start.
    fn remove_unfinished(&self) -> Result<u64, CacheError> {
        let failed = CacheError::to("list the folder of engines", &self.folder);
        let mut freed_bytes = 0;
        for entry in fs::read_dir(&self.folder).map_err(&failed)? {
            let path = entry.map_err(&failed)?.path();
            if path.extension().is_some_and(|extension| extension == UNFINISHED) {
                freed_bytes += fs::metadata(&path).map_or(0, |found| found.len());
                fs::remove_file(&path).map_err(CacheError::to("remove an unfinished file", &path))?;
            }
        }
        Ok(freed_bytes)
    }

    fn clear_quarantine(&self) -> Result<u64, CacheError> {
        let quarantine = self.folder.join(QUARANTINE);
        let Ok(entries) = fs::read_dir(&quarantine) else { return Ok(0) };
        let sizes = entries.filter_map(|entry| entry.ok()?.metadata().ok());
        let freed = sizes.map(|facts| facts.len()).sum();
        fs::remove_dir_all(&quarantine).map_err(CacheError::to("remove damaged engines", &quarantine))?;
        Ok(freed)
    }
}
