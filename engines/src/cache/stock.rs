//! All that is in the cache: listed, verified to the last byte, and thinned out.

use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

use serde::Serialize;

use super::{ASIDE, Cache, CacheError, DRAFT, Damage, ENGINE, Found, JIT, SIDECAR};
use crate::{Digest, EngineKey};

/// An engine in the cache, as lists show it.
#[derive(Clone, Debug, Serialize)]
pub struct Stocked {
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
    fn take(&mut self, stocked: Stocked) {
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
    pub fn list(&self) -> Result<Vec<Stocked>, CacheError> {
        self.stems()?.into_iter().map(|stem| self.stocked(stem)).collect()
    }

    /// All engines, each read whole and held to its digest. The damaged ones are put aside, unless somebody builds them.
    ///
    /// # Errors
    /// As [`Cache::list`], or if an engine cannot be put aside.
    pub fn verify(&self, tell: &mut dyn FnMut(&str)) -> Result<Vec<Stocked>, CacheError> {
        let mut all = self.list()?;
        for stocked in &mut all {
            if stocked.damage.is_none() {
                tell(&stocked.stem);
                stocked.damage = self.read_whole(&stocked.stem)?;
            }
            if let (Some(damage), Some(_lock)) = (&stocked.damage, self.lock_if_free(&stocked.stem)?) {
                self.put_aside(&stocked.stem, damage, &mut |_| ())?;
            }
        }
        Ok(all)
    }

    /// Removes what is damaged or was put aside, drafts that nobody writes, and then the engines that were used longest
    /// ago, until `limit_bytes` are kept at most. An engine that is being built is left alone.
    ///
    /// # Errors
    /// If a file cannot be removed.
    pub fn prune(&self, limit_bytes: u64) -> Result<Pruned, CacheError> {
        let mut pruned = Pruned { freed_bytes: self.clear_aside()?, ..Pruned::default() };
        let mut all = self.list()?;
        all.sort_by_key(|stocked| (stocked.damage.is_none(), stocked.used));
        pruned.left_bytes = all.iter().map(|stocked| stocked.size_bytes).sum();
        for stocked in all {
            if (stocked.damage.is_none() && pruned.left_bytes <= limit_bytes) || !self.remove(&stocked.stem)? {
                continue;
            }
            pruned.take(stocked);
        }
        Ok(pruned)
    }

    /// Removes the engines that were used longest ago until `limit_bytes` are kept at most. What was used at `since` or
    /// later stays, whatever that comes to; so does what is damaged, for whoever wants to see why.
    ///
    /// # Errors
    /// If a file cannot be removed.
    pub fn thin_out(&self, limit_bytes: u64, since: SystemTime) -> Result<Pruned, CacheError> {
        let mut all = self.list()?;
        let mut pruned = Pruned { left_bytes: all.iter().map(|stocked| stocked.size_bytes).sum(), ..Pruned::default() };
        all.retain(|stocked| stocked.damage.is_none() && stocked.used < since);
        all.sort_by_key(|stocked| stocked.used);
        for stocked in all {
            if pruned.left_bytes > limit_bytes && self.remove(&stocked.stem)? {
                pruned.take(stocked);
            }
        }
        Ok(pruned)
    }

    fn stocked(&self, stem: String) -> Result<Stocked, CacheError> {
        let (key, damage) = match self.look(&stem)? {
            Found::Engine(engine) => (Some(engine.sidecar.key), None),
            Found::Damaged(damage) => (None, Some(damage)),
            // Only drafts and locks: whoever was building it has not finished, or was killed.
            Found::Nothing => (None, Some(Damage::Half { missing: format!("{stem}.{ENGINE}") })),
        };
        let facts: Vec<_> = self.files(&stem).iter().filter_map(|path| fs::metadata(path).ok()).collect();
        let used = fs::metadata(self.path(&stem, ENGINE)).and_then(|facts| facts.modified());
        let used = used.unwrap_or(SystemTime::UNIX_EPOCH);
        Ok(Stocked { stem, key, size_bytes: facts.iter().map(fs::Metadata::len).sum(), used, damage })
    }

    fn read_whole(&self, stem: &str) -> Result<Option<Damage>, CacheError> {
        let Found::Engine(engine) = self.look(stem)? else { return Ok(None) };
        let read = fs::File::open(&engine.path).and_then(|mut file| Digest::of_reader(&mut file));
        let (found, _) = read.map_err(CacheError::to("read an engine", &engine.path))?;
        let wanted = engine.sidecar.sha256;
        Ok((wanted != found).then_some(Damage::Bytes { wanted, found }))
    }

    /// The stems of all files but locks.
    fn stems(&self) -> Result<Vec<String>, CacheError> {
        let failed = CacheError::to("list the folder of engines", &self.folder);
        let mut stems = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(&failed)? {
            let name = entry.map_err(&failed)?.file_name().to_string_lossy().into_owned();
            let endings = [ENGINE, SIDECAR, JIT, "json.draft", DRAFT];
            stems.extend(endings.iter().find_map(|ending| name.strip_suffix(&format!(".{ending}"))).map(str::to_owned));
        }
        stems.sort_unstable();
        stems.dedup();
        Ok(stems)
    }

    fn files(&self, stem: &str) -> [PathBuf; 5] {
        [ENGINE, SIDECAR, JIT, DRAFT, "json.draft"].map(|ending| self.path(stem, ending))
    }

    /// Removes an engine's files; says whether it did: not if somebody builds it.
    fn remove(&self, stem: &str) -> Result<bool, CacheError> {
        let Some(_lock) = self.lock_if_free(stem)? else { return Ok(false) };
        for path in self.files(stem) {
            if path.exists() {
                fs::remove_file(&path).map_err(CacheError::to("remove an engine", &path))?;
            }
        }
        Ok(true)
    }

    fn clear_aside(&self) -> Result<u64, CacheError> {
        let aside = self.folder.join(ASIDE);
        let Ok(entries) = fs::read_dir(&aside) else { return Ok(0) };
        let sizes = entries.filter_map(|entry| entry.ok()?.metadata().ok());
        let freed = sizes.map(|facts| facts.len()).sum();
        fs::remove_dir_all(&aside).map_err(CacheError::to("remove damaged engines", &aside))?;
        Ok(freed)
    }
}
