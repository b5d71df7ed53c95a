//! All that is in the cache: listed, verified to the last byte, and thinned out.

use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

use serde::Serialize;

use super::{Cache, CacheError, DRAFTS, Damage, ENGINE, Found, JIT, LOCK, QUARANTINE, SIDECAR, UNVERIFIED};
use crate::output_file::UNFINISHED;
use crate::{Digest, EngineKey};

/// An engine in the cache, as lists show it.
#[derive(Clone, Debug, Serialize)]
pub struct CacheEntry {
    /// The name of its files, without an ending.
    pub stem: String,
    /// What it is made from, if its description can be read.
    pub key: Option<EngineKey>,
    /// Bytes of its files together.
    pub size_bytes: u64,
    /// When it was used last.
    #[serde(skip)]
    pub used: SystemTime,
    /// What is wrong with it.
    pub damage: Option<Damage>,
    /// Whether somebody builds it at this moment: what is wrong then is mended already.
    pub is_being_built: bool,
}

/// What thinning out removed.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Pruned {
    /// Stems, in the order they went.
    pub removed: Vec<String>,
    /// Bytes that became free.
    pub freed_bytes: u64,
    /// Bytes that are left.
    pub left_bytes: u64,
}

impl Pruned {
    fn take(&mut self, stocked: CacheEntry) {
        self.left_bytes -= stocked.size_bytes;
        self.freed_bytes += stocked.size_bytes;
        self.removed.push(stocked.stem);
    }
}

impl Cache {
    /// All engines, sorted by name, each looked at as [`Cache::find`] does.
    ///
    /// # Errors
    /// If the folder or a file in it cannot be read.
    pub fn list(&self) -> Result<Vec<CacheEntry>, CacheError> {
        let mut all = self.stems()?.into_iter().map(|stem| self.entry(stem)).collect::<Result<Vec<_>, _>>()?;
        // A lock that nobody holds is all that is left of an engine that was removed, or was never finished.
        all.retain(|stocked| {
            stocked.is_being_built || stocked.damage != Some(Damage::Unfinished) || self.drafts(&stocked.stem)
        });
        Ok(all)
    }

    /// All engines, each read completely and compared with its digest. Damaged ones are quarantined, unless another process builds them.
    /// Damage is checked again under the lock, so that an engine built in the meantime stays.
    ///
    /// # Errors
    /// As [`Cache::list`], or if an engine cannot be quarantined.
    pub fn verify(&self, tell: &mut dyn FnMut(&str)) -> Result<Vec<CacheEntry>, CacheError> {
        let mut all = self.list()?;
        for stocked in &mut all {
            if stocked.damage.is_none() {
                tell(&stocked.stem);
                stocked.damage = self.read_whole(&stocked.stem)?;
            }
            if stocked.damage.is_none() {
                continue;
            }
            let lock = self.lock_if_free(&stocked.stem)?;
            stocked.is_being_built = lock.is_none();
            if lock.is_some() {
                stocked.damage = self.wrong_with(&stocked.stem)?;
                stocked.damage.as_ref().map_or(Ok(()), |_| self.quarantine(&stocked.stem).map(drop))?;
            }
        }
        Ok(all)
    }

    /// What is wrong with an engine, all of it read.
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

    /// Removes damaged and quarantined engines, drafts that nobody writes, and then the engines that were used longest
    /// ago, until `limit_bytes` are kept at most. An engine that is being built is left alone.
    ///
    /// # Errors
    /// If a file cannot be removed.
    pub fn prune(&self, limit_bytes: u64) -> Result<Pruned, CacheError> {
        let freed_bytes = self.clear_quarantine()? + self.remove_unfinished()?;
        let mut pruned = Pruned { freed_bytes, ..Pruned::default() };
        let mut all = self.list()?;
        all.sort_by_key(|stocked| (stocked.damage.is_none(), stocked.used));
        pruned.left_bytes = all.iter().map(|stocked| stocked.size_bytes).sum();
        for stocked in all {
            let is_wanted = |found: &Found| matches!(found, Found::Engine(_)) && pruned.left_bytes <= limit_bytes;
            if self.remove_unless(&stocked.stem, is_wanted)? {
                pruned.take(stocked);
            }
        }
        Ok(pruned)
    }

    /// Removes the engines that were used longest ago until `limit_bytes` are kept at most. What was used at `since` or
    /// later stays, whatever that comes to; so do damaged engines, for inspection.
    ///
    /// # Errors
    /// If a file cannot be removed.
    pub fn thin_out(&self, limit_bytes: u64, since: SystemTime) -> Result<Pruned, CacheError> {
        let mut all = self.list()?;
        let mut pruned = Pruned { left_bytes: all.iter().map(|stocked| stocked.size_bytes).sum(), ..Pruned::default() };
        all.retain(|stocked| stocked.damage.is_none() && stocked.used < since);
        all.sort_by_key(|stocked| stocked.used);
        for stocked in all {
            if pruned.left_bytes > limit_bytes && self.remove_unless(&stocked.stem, |_| false)? {
                pruned.take(stocked);
            }
        }
        Ok(pruned)
    }

    fn entry(&self, stem: String) -> Result<CacheEntry, CacheError> {
        let (key, damage) = match self.look(&stem)? {
            Found::Engine(engine) => (Some(engine.sidecar.key), None),
            Found::Damaged(damage) => (None, Some(damage)),
            // Its builder has not finished, or was killed.
            Found::Nothing => (None, Some(Damage::Unfinished)),
        };
        // Whole engines are not asked: where the folder may only be read they can be listed all the same.
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
            // The longest first: an ending may end another.
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

    /// Removes an engine's files, unless what is found there now is wanted; says whether it did: not if somebody builds it.
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

    /// Removes files that killed processes left ([`crate::output_file`]). A process that writes one at this moment, which only
    /// caches of just-in-time kernels are, loses it and writes it at its next start.
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
