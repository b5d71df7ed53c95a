//! The avatars of a server: a list that grows and shrinks while sessions run, and the models that are loaded from it.
//!
//! Decides when an avatar is loaded and when its memory is freed. Does not know what a model consists of.
//!
//! Models load on first use, each under a lock of its own: waiting for one avatar does not delay another.
//! At most [`CONCURRENT_LOADS`] load at a time, so that loading cannot take the CPU from running sessions. When the loaded
//! models exceed the memory budget, those that no session uses are evicted, least recently used first.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};

use super::{AvatarInfo, ModelError};

/// Maximum number of concurrent loads. A rendered head decodes forty images on one core.
pub const CONCURRENT_LOADS: usize = 2;
/// Maximum number of callers that wait for a load to begin.
const MAX_WAITING: usize = 64;
/// Maximum number of avatars in a store.
const MAX_AVATARS: usize = 1000;

/// Who may remove an avatar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AvatarOwner {
    /// The server: the avatar stays as long as the process.
    Server,
    /// A user, by name.
    User(Arc<str>),
}

/// The source of an avatar's files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AvatarSource {
    /// In the pack that the server runs.
    Pack,
    /// In a folder of its own.
    Folder(PathBuf),
}

/// A model that sessions share.
pub trait AvatarModel: Send + Sync {
    /// Its memory, within about 10 %.
    fn size_bytes(&self) -> u64;
}

/// Reads an avatar's files and makes the model for frames of the given side in pixels.
pub type LoadAvatar<M> = Box<dyn Fn(u32) -> Result<M, ModelError> + Send + Sync>;

/// An avatar to be added.
pub struct NewAvatar<M> {
    /// Its list entry.
    pub info: AvatarInfo,
    /// Who may remove it.
    pub owner: AvatarOwner,
    /// The source of its files.
    pub source: AvatarSource,
    /// Loads it.
    pub load: LoadAvatar<M>,
}

/// An avatar with its administrative data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AvatarStatus {
    /// Its list entry.
    pub info: AvatarInfo,
    /// Who may remove it.
    pub owner: AvatarOwner,
    /// The source of its files.
    pub source: AvatarSource,
    /// Memory of its loaded models.
    pub loaded_bytes: u64,
}

/// Avatars and their loaded models.
pub struct AvatarStore<M> {
    list: Mutex<AvatarList<M>>,
    loads: LoadGate,
    budget_bytes: u64,
    uses: AtomicU64,
}

struct AvatarList<M> {
    entries: Vec<Arc<Entry<M>>>,
    infos: Arc<[AvatarInfo]>,
}

struct Entry<M> {
    avatar: NewAvatar<M>,
    /// Models by the side of the frame in pixels.
    models: Mutex<BTreeMap<u32, Arc<ModelSlot<M>>>>,
}

/// The model of one avatar for one size. Locked while it loads.
struct ModelSlot<M> {
    model: Mutex<Option<Arc<M>>>,
    last_use: AtomicU64,
}

impl<M: AvatarModel> AvatarStore<M> {
    /// An empty store that keeps up to `budget_bytes` of models that no session uses.
    #[must_use]
    pub fn new(budget_bytes: u64) -> Self {
        let list = AvatarList { entries: Vec::new(), infos: Arc::from([]) };
        Self { list: Mutex::new(list), loads: LoadGate::default(), budget_bytes, uses: AtomicU64::new(0) }
    }

    /// The avatars in the order in which they were added; the first one is the default.
    #[must_use]
    pub fn avatars(&self) -> Arc<[AvatarInfo]> {
        Arc::clone(&lock(&self.list).infos)
    }

    /// The avatars with owner, source and memory.
    #[must_use]
    pub fn status(&self) -> Vec<AvatarStatus> {
        let entries = lock(&self.list).entries.clone();
        entries.iter().map(|entry| entry.status()).collect()
    }

    /// Adds an avatar. It is loaded when it is first used.
    ///
    /// # Errors
    /// If its name is taken or the store is full.
    pub fn add(&self, avatar: NewAvatar<M>) -> Result<(), ModelError> {
        let refused = |found: String| ModelError::Broken { name: avatar.info.name.clone(), found };
        let mut list = lock(&self.list);
        if list.entries.iter().any(|entry| entry.avatar.info.name == avatar.info.name) {
            return Err(refused("there is already an avatar of that name".to_owned()));
        }
        if list.entries.len() >= MAX_AVATARS {
            return Err(refused(format!("the server already has {MAX_AVATARS} avatars")));
        }
        list.entries.push(Arc::new(Entry { avatar, models: Mutex::default() }));
        list.refresh();
        Ok(())
    }

    /// Removes an avatar that belongs to `owner`. Sessions that use it continue.
    ///
    /// # Errors
    /// If `owner` has no avatar of that name.
    pub fn remove(&self, name: &str, owner: &AvatarOwner) -> Result<(), ModelError> {
        let mut list = lock(&self.list);
        let is_it = |entry: &Arc<Entry<M>>| entry.avatar.info.name == name && entry.avatar.owner == *owner;
        let Some(index) = list.entries.iter().position(is_it) else { return Err(list.unknown(name)) };
        list.entries.remove(index);
        list.refresh();
        Ok(())
    }

    /// The model of an avatar for frames of `side_px`: loaded if necessary, and kept while the caller holds it.
    ///
    /// # Errors
    /// If there is no such avatar, its files are damaged, or too many callers wait for a load.
    pub fn get(&self, name: &str, side_px: u32) -> Result<Arc<M>, ModelError> {
        let slot_and_entry = {
            let list = lock(&self.list);
            let entry = list.entries.iter().find(|entry| entry.avatar.info.name == name);
            entry.map(|entry| (entry.slot(side_px), Arc::clone(entry))).ok_or_else(|| list.unknown(name))
        };
        let (slot, entry) = slot_and_entry?;
        slot.last_use.store(self.uses.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        let model = {
            let mut kept = lock(&slot.model);
            if let Some(model) = &*kept {
                return Ok(Arc::clone(model));
            }
            let _turn = self.loads.enter(name)?;
            Arc::clone(kept.insert(Arc::new((entry.avatar.load)(side_px)?)))
        };
        self.evict();
        Ok(model)
    }

    /// Runs work that must not take the CPU from running sessions, such as rendering a still, in the queue of the loads.
    ///
    /// # Errors
    /// If too many callers wait.
    pub fn in_turn<T>(&self, name: &str, work: impl FnOnce() -> T) -> Result<T, ModelError> {
        let _turn = self.loads.enter(name)?;
        Ok(work())
    }

    /// Frees models that no session uses, least recently used first, until the rest fits the budget.
    pub fn evict(&self) {
        let entries = lock(&self.list).entries.clone();
        let mut slots: Vec<_> = entries.iter().flat_map(|entry| entry.slots()).collect();
        slots.sort_by_key(|slot| slot.last_use.load(Ordering::Relaxed));
        let mut total: u64 = slots.iter().map(|slot| slot.loaded_bytes()).sum();
        for slot in slots {
            if total <= self.budget_bytes {
                break;
            }
            total -= slot.unload();
        }
        entries.iter().for_each(|entry| entry.drop_empty_slots());
    }
}

impl<M> AvatarList<M> {
    fn refresh(&mut self) {
        self.infos = self.entries.iter().map(|entry| entry.avatar.info.clone()).collect();
    }

    fn unknown(&self, name: &str) -> ModelError {
        let known = self.infos.iter().map(|info| info.name.as_str()).collect::<Vec<_>>().join(", ");
        ModelError::UnknownAvatar { name: name.to_owned(), known }
    }
}

impl<M: AvatarModel> Entry<M> {
    fn slot(&self, side_px: u32) -> Arc<ModelSlot<M>> {
        let fresh = || Arc::new(ModelSlot { model: Mutex::new(None), last_use: AtomicU64::new(0) });
        Arc::clone(lock(&self.models).entry(side_px).or_insert_with(fresh))
    }

    fn slots(&self) -> Vec<Arc<ModelSlot<M>>> {
        lock(&self.models).values().cloned().collect()
    }

    /// Slots without a model that no caller waits for.
    fn drop_empty_slots(&self) {
        lock(&self.models).retain(|_, slot| Arc::strong_count(slot) > 1 || slot.loaded_bytes() > 0);
    }

    fn status(&self) -> AvatarStatus {
        let NewAvatar { info, owner, source, .. } = &self.avatar;
        let loaded_bytes = self.slots().iter().map(|slot| slot.loaded_bytes()).sum();
        AvatarStatus { info: info.clone(), owner: owner.clone(), source: source.clone(), loaded_bytes }
    }
}

impl<M: AvatarModel> ModelSlot<M> {
    /// `None` while it loads.
    fn now(&self) -> Option<MutexGuard<'_, Option<Arc<M>>>> {
        match self.model.try_lock() {
            Ok(model) => Some(model),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    fn loaded_bytes(&self) -> u64 {
        self.now().and_then(|model| model.as_ref().map(|model| model.size_bytes())).unwrap_or(0)
    }

    /// Drops the model unless a session uses it; returns the freed memory.
    fn unload(&self) -> u64 {
        let Some(mut model) = self.now() else { return 0 };
        model.take_if(|model| Arc::strong_count(model) == 1).map_or(0, |model| model.size_bytes())
    }
}

/// Limits the number of concurrent loads.
#[derive(Default)]
struct LoadGate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Default)]
struct GateState {
    running: usize,
    waiting: usize,
}

/// A load that runs; ends when dropped.
struct LoadTurn<'a>(&'a LoadGate);

impl LoadGate {
    /// Waits until a load may begin.
    fn enter(&self, name: &str) -> Result<LoadTurn<'_>, ModelError> {
        let mut state = lock(&self.state);
        if state.waiting >= MAX_WAITING {
            return Err(ModelError::Busy { name: name.to_owned(), waiting: MAX_WAITING });
        }
        state.waiting += 1;
        while state.running >= CONCURRENT_LOADS {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.waiting -= 1;
        state.running += 1;
        Ok(LoadTurn(self))
    }
}

impl Drop for LoadTurn<'_> {
    fn drop(&mut self) {
        lock(&self.0.state).running -= 1;
        self.0.changed.notify_one();
    }
}

/// A poisoned lock only means that a load panicked: its data is consistent.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    use super::*;
    use crate::model::AvatarKind;

    /// A model of as many bytes as it says.
    struct Blob(u64);

    impl AvatarModel for Blob {
        fn size_bytes(&self) -> u64 {
            self.0
        }
    }

    fn avatar(name: &str, load: impl Fn(u32) -> Result<Blob, ModelError> + Send + Sync + 'static) -> NewAvatar<Blob> {
        let (name, title) = (name.to_owned(), name.to_owned());
        let info = AvatarInfo { name, title, kind: AvatarKind::Head, background: "#000000".to_owned() };
        NewAvatar { info, owner: AvatarOwner::Server, source: AvatarSource::Pack, load: Box::new(load) }
    }

    fn store(names: &[&str], budget_bytes: u64) -> Arc<AvatarStore<Blob>> {
        let store = AvatarStore::new(budget_bytes);
        names.iter().for_each(|name| store.add(avatar(name, |_| Ok(Blob(10)))).expect("room"));
        Arc::new(store)
    }

    fn loaded(store: &AvatarStore<Blob>) -> Vec<u64> {
        store.status().iter().map(|avatar| avatar.loaded_bytes).collect()
    }

    /// Loads that report their start and then wait for a signal.
    fn slow() -> (impl Fn(u32) -> Result<Blob, ModelError> + Send + Sync, Receiver<()>, SyncSender<()>) {
        let (started, starts) = sync_channel(100);
        let (resume, resumed) = sync_channel(100);
        let resumed = Mutex::new(resumed);
        let load = move |_| {
            started.send(()).expect("the test runs");
            lock(&resumed).recv().expect("the test runs");
            Ok(Blob(1))
        };
        (load, starts, resume)
    }

    #[test]
    fn a_slow_load_delays_no_other_avatar() {
        let store = store(&["loaded", "fresh"], 1000);
        store.get("loaded", 512).expect("loads");
        let (load, starts, resume) = slow();
        store.add(avatar("slow", load)).expect("room");
        let slow = {
            let store = Arc::clone(&store);
            std::thread::spawn(move || store.get("slow", 512).map(drop))
        };
        starts.recv().expect("it starts to load");
        // Each of these would wait forever if the slow load held a lock that they need.
        store.get("loaded", 512).expect("is loaded");
        store.get("fresh", 512).expect("loads concurrently");
        assert_eq!((store.avatars().len(), loaded(&store)), (3, vec![10, 10, 0]));
        store.add(avatar("added", |_| Ok(Blob(1)))).expect("room");
        store.remove("added", &AvatarOwner::Server).expect("is there");
        store.evict();
        resume.send(()).expect("it waits");
        slow.join().expect("no panic").expect("loads in the end");
        assert_eq!(loaded(&store), [10, 10, 1]);
    }

    #[test]
    fn two_sessions_with_one_avatar_load_it_once() {
        let store = store(&[], 1000);
        let (load, starts, resume) = slow();
        store.add(avatar("slow", load)).expect("room");
        let threads = [(); 4].map(|()| {
            let store = Arc::clone(&store);
            std::thread::spawn(move || store.get("slow", 64))
        });
        starts.recv().expect("one load");
        resume.send(()).expect("it waits");
        let models = threads.map(|thread| thread.join().expect("no panic").expect("a model"));
        assert!(models.iter().all(|model| Arc::ptr_eq(model, &models[0])) && starts.try_recv().is_err());
    }

    #[test]
    fn only_a_few_loads_run_at_a_time_and_too_many_that_wait_are_refused() {
        let store = store(&[], 1000);
        let (load, starts, resume) = slow();
        let load = Arc::new(load);
        let count = CONCURRENT_LOADS + MAX_WAITING;
        for n in 0..=count {
            let load = Arc::clone(&load);
            store.add(avatar(&n.to_string(), move |side| load(side))).expect("room");
        }
        let loads: Vec<_> = (0..count)
            .map(|n| {
                let store = Arc::clone(&store);
                std::thread::spawn(move || store.get(&n.to_string(), 64).map(drop))
            })
            .collect();
        (0..CONCURRENT_LOADS).for_each(|_| starts.recv().expect("a load"));
        while lock(&store.loads.state).waiting < MAX_WAITING {
            std::thread::yield_now();
        }
        assert!(starts.try_recv().is_err(), "more concurrent loads");
        let refused = store.get(&count.to_string(), 64).map(drop);
        assert!(matches!(refused, Err(ModelError::Busy { .. })), "{refused:?}");
        (0..count).for_each(|_| resume.send(()).expect("they wait"));
        loads.into_iter().for_each(|load| load.join().expect("no panic").expect("loads"));
    }

    #[test]
    fn unused_models_are_evicted_and_used_ones_are_not() {
        let store = store(&["a", "b", "c", "d"], 25);
        let used = store.get("a", 64).expect("loads");
        ["b", "c"].iter().for_each(|name| drop(store.get(name, 64).expect("loads")));
        assert_eq!(loaded(&store), [10, 0, 10, 0], "b is the least recently used of the unused ones");
        drop(store.get("d", 64));
        assert_eq!(loaded(&store), [10, 0, 0, 10]);
        drop(used);
        drop(store.get("d", 128));
        assert_eq!(loaded(&store), [0, 0, 0, 20], "sizes count separately");
    }

    #[test]
    fn avatars_are_added_and_removed_while_sessions_keep_their_models() {
        let store = store(&["mira"], 1000);
        let owner = AvatarOwner::User(Arc::from("ada"));
        let own = |name| NewAvatar { owner: owner.clone(), ..avatar(name, |_| Ok(Blob(1))) };
        store.add(own("ada-1")).expect("room");
        assert!(store.add(own("mira")).is_err(), "names are unique");
        let model = store.get("ada-1", 64).expect("loads");
        assert!(store.remove("mira", &owner).is_err(), "it is the server's");
        store.remove("ada-1", &owner).expect("it is hers");
        assert!(matches!(store.get("ada-1", 64), Err(ModelError::UnknownAvatar { known, .. }) if known == "mira"));
        assert_eq!((store.avatars().len(), model.0, Arc::strong_count(&model)), (1, 1, 1));
    }

    #[test]
    fn a_failed_load_is_tried_again() {
        let store = store(&[], 1000);
        let tries = AtomicU64::new(0);
        let load = move |_| match tries.fetch_add(1, Ordering::Relaxed) {
            0 => Err(ModelError::Broken { name: "a".to_owned(), found: "a truncated file".to_owned() }),
            _ => Ok(Blob(1)),
        };
        store.add(avatar("a", load)).expect("room");
        assert!(store.get("a", 64).is_err() && store.get("a", 64).is_ok());
    }
}
