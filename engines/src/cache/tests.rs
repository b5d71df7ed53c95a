//! An engine is complete, damaged or absent, after concurrent builds, kills, truncation and flipped bits.

use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};
use std::{fs, thread};

use super::*;
use crate::key::tests::key;

const BYTES: usize = 3_000_000;

fn cache() -> (tempfile::TempDir, Cache) {
    let folder = tempfile::tempdir().expect("a folder");
    let cache = Cache::open(folder.path().join("engines")).expect("a cache");
    (folder, cache)
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + seconds)
}

fn silent() -> impl FnMut(Step<'_>) -> ControlFlow<()> {
    |_| ControlFlow::Continue(())
}

/// Obtains an engine; returns it and the steps that were reported.
fn obtain(cache: &Cache, key: &EngineKey, seconds: u64) -> (Engine, Vec<String>) {
    let mut steps = Vec::new();
    let build = |path: &Path| fs::write(path, vec![7; BYTES]).map(|()| Built { seconds: 2.0, ..Built::default() });
    let mut tell = |step: Step<'_>| {
        steps.push(format!("{step:?}"));
        ControlFlow::Continue(())
    };
    let engine = cache.obtain(key, at(seconds), &mut tell, build);
    (engine.expect("an engine"), steps)
}

#[test]
fn an_engine_is_built_once_and_found_again() {
    let (_folder, cache) = cache();
    assert_eq!(cache.find(&key(), at(0)).expect("readable"), Found::Nothing);
    let (engine, steps) = obtain(&cache, &key(), 0);
    assert_eq!((steps, engine.sidecar.size_bytes), (vec!["Building".to_owned()], BYTES as u64));
    assert_eq!(obtain(&cache, &key(), 1), (engine.clone(), vec![]));
    let text = fs::read_to_string(engine.path.with_extension("json")).expect("a sidecar");
    assert!(text.contains("\"sm\": \"8.9\"") && text.contains("\"seconds\": 2.0"), "{text}");
}

#[test]
fn a_damaged_engine_is_quarantined_and_rebuilt() {
    type Harm = fn(&Path);
    let damages: [(&str, Harm); 7] = [
        ("truncated", |path| File::options().write(true).open(path).expect("file").set_len(99).expect("cut")),
        ("emptied", |path| fs::write(path, b"").expect("written")),
        ("zeroed", |path| fs::write(path, vec![0; BYTES]).expect("written")),
        ("without a sidecar", |path| fs::remove_file(path.with_extension("json")).expect("removed")),
        ("without an engine", |path| fs::remove_file(path).expect("removed")),
        ("with half a sidecar", |path| fs::write(path.with_extension("json"), b"{\"key\":").expect("written")),
        ("swapped", |path| {
            let mut other = key();
            other.sm = crate::Sm::SM120;
            let sidecar = Sidecar::of(path, other, Built::default()).expect("a sidecar");
            fs::write(path.with_extension("json"), serde_json::to_vec(&sidecar).expect("text")).expect("written");
        }),
    ];
    let (_folder, cache) = cache();
    for (name, damage) in damages {
        let (engine, _) = obtain(&cache, &key(), 0);
        damage(&engine.path);
        assert!(matches!(cache.find(&key(), at(1)).expect("readable"), Found::Damaged(_)), "{name}");
        let (rebuilt, steps) = obtain(&cache, &key(), 2);
        assert!(steps.len() == 2 && steps[0].starts_with("Quarantined"), "{name}: {steps:?}");
        assert_eq!(rebuilt, engine, "{name}");
    }
}

#[test]
fn a_bit_flipped_between_the_samples_is_found_by_verify() {
    let (_folder, cache) = cache();
    let (engine, _) = obtain(&cache, &key(), 0);
    let mut bytes = fs::read(&engine.path).expect("bytes");
    bytes[BYTES / 2 + 10_000] ^= 1;
    fs::write(&engine.path, bytes).expect("written");
    assert!(matches!(cache.find(&key(), at(1)).expect("readable"), Found::Engine(_)), "the samples miss it");
    let verified = cache.verify(&mut |_| ()).expect("verified");
    assert!(matches!(verified[0].damage, Some(Damage::Bytes { .. })));
    assert!(!engine.path.exists() && engine.path.with_file_name("quarantine").is_dir(), "it is quarantined");
    assert_eq!(obtain(&cache, &key(), 2).1, ["Building"]);
}

#[test]
fn a_failed_build_leaves_nothing() {
    let (_folder, cache) = cache();
    let build = |path: &Path| {
        fs::write(path, [0; 10]).expect("a draft");
        Err("no memory")
    };
    let error = cache.obtain(&key(), at(0), &mut silent(), build).expect_err("it failed");
    assert_eq!(error.to_string(), "the engine was not built: no memory");
    assert!(cache.list().expect("a list").is_empty());
    obtain(&cache, &key(), 1);
}

#[test]
fn of_concurrent_requests_for_one_engine_one_builds() {
    let (_folder, cache) = cache();
    let (built, start) = (AtomicUsize::new(0), Barrier::new(4));
    let wait_and_build = |path: &Path| {
        built.fetch_add(1, Ordering::Relaxed);
        fs::write(path, [1; 100]).map(|()| Built::default())
    };
    let want = || {
        start.wait();
        cache.obtain(&key(), at(0), &mut silent(), wait_and_build).expect("an engine").sidecar.sha256
    };
    let digests = thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(want)).collect();
        threads.into_iter().map(|thread| thread.join().expect("a digest")).collect::<Vec<_>>()
    });
    assert!(digests.iter().all(|digest| *digest == digests[0]));
    assert_eq!(built.load(Ordering::Relaxed), 1);
}

#[test]
fn the_least_recently_used_engine_is_removed_first() {
    let (_folder, cache) = cache();
    let named = |name: &str| EngineKey { graph: name.to_owned(), ..key() };
    for (n, name) in ["a", "b", "c"].iter().enumerate() {
        obtain(&cache, &named(name), n as u64);
    }
    obtain(&cache, &named("a"), 10);
    let sizes: u64 = cache.list().expect("a list").iter().map(|entry| entry.size_bytes).sum();
    let pruned = cache.prune(sizes - 1).expect("pruned");
    assert_eq!(pruned.removed, [named("b").stem()]);
    assert_eq!(cache.list().expect("a list").len(), 2);
    assert_eq!(pruned.left_bytes + pruned.freed_bytes, sizes);
}

#[test]
fn engines_in_use_stay_above_the_limit() {
    let (_folder, cache) = cache();
    let named = |name: &str| EngineKey { graph: name.to_owned(), ..key() };
    for (n, name) in ["old", "older", "now", "now too"].iter().enumerate() {
        obtain(&cache, &named(name), [5, 1, 10, 11][n]);
    }
    let pruned = cache.thin_out(3 * BYTES as u64, at(10)).expect("removed");
    assert_eq!(pruned.removed, [named("older").stem(), named("old").stem()], "with their sidecars");
    assert_eq!(cache.thin_out(0, at(10)).expect("removed").removed, Vec::<String>::new());
    assert_eq!(cache.list().expect("a list").len(), 2);
}

#[test]
fn an_engine_being_built_is_not_removed() {
    let (_folder, cache) = cache();
    let build = |path: &Path| {
        let listed = cache.list().expect("a list");
        assert!(listed.len() == 1 && listed[0].is_being_built, "before anything is written: {listed:?}");
        fs::write(path, [1; 100]).expect("a draft");
        let pruned = cache.prune(0).expect("pruned");
        assert_eq!(pruned.removed, Vec::<String>::new());
        let verified = cache.verify(&mut |_| ()).expect("verified");
        assert!(verified.len() == 1 && verified[0].is_being_built, "{verified:?}");
        assert!(path.exists());
        Ok::<_, io::Error>(Built::default())
    };
    cache.obtain(&key(), at(0), &mut silent(), build).expect("an engine");
}

#[test]
fn a_draft_of_a_killed_builder_is_listed_and_removed_by_verify() {
    let (_folder, cache) = cache();
    let drafts = DRAFTS.map(|ending| cache.path(&key().stem(), ending));
    for draft in &drafts {
        fs::write(draft, [1; 100]).expect("a draft");
    }
    let [entry] = &cache.list().expect("a list")[..] else { panic!("one engine") };
    assert_eq!((&entry.stem, &entry.damage, entry.size_bytes), (&key().stem(), &Some(Damage::Unfinished), 200));
    assert!(!entry.is_being_built);
    let found = cache.verify(&mut |_| ()).expect("verified");
    assert_eq!(found[0].damage, Some(Damage::Unfinished));
    assert_eq!(cache.list().expect("a list").len(), 0);
}

#[test]
fn an_engine_whose_opening_did_not_finish_is_read_completely() {
    let (_folder, cache) = cache();
    let (engine, _) = obtain(&cache, &key(), 0);
    engine.mark_unverified();
    let marker = engine.path.with_extension("unverified");
    assert!(marker.exists());
    assert_eq!(obtain(&cache, &key(), 1).1, Vec::<String>::new(), "the file is intact");
    assert!(!marker.exists(), "the mark is removed");
    engine.mark_unverified();
    engine.mark_verified();
    let mut bytes = fs::read(&engine.path).expect("bytes");
    bytes[BYTES / 2 + 10_000] ^= 1;
    fs::write(&engine.path, bytes).expect("written");
    assert!(matches!(cache.find(&key(), at(2)).expect("readable"), Found::Engine(_)), "the samples miss it");
    engine.mark_unverified();
    let (rebuilt, steps) = obtain(&cache, &key(), 3);
    assert!(steps.len() == 2 && steps[0].starts_with("Quarantined"), "{steps:?}");
    assert_eq!(rebuilt, engine);
    assert!(!marker.exists());
}

#[test]
fn an_engine_rebuilt_by_another_process_is_neither_quarantined_nor_removed() {
    let (_folder, cache) = cache();
    let (engine, _) = obtain(&cache, &key(), 0);
    let whole = fs::read(&engine.path).expect("bytes");
    let mut flipped = whole.clone();
    flipped[BYTES / 2 + 10_000] ^= 1;
    fs::write(&engine.path, flipped).expect("written");
    // The other process finishes between the first check and the second.
    let lock = cache.lock_if_free(&key().stem()).expect("a lock").expect("free");
    assert!(cache.verify(&mut |_| ()).expect("verified")[0].is_being_built);
    fs::write(&engine.path, whole).expect("written");
    drop(lock);
    assert_eq!(cache.wrong_with(&key().stem()).expect("readable"), None);
    assert!(!cache.remove_unless(&key().stem(), |found| matches!(found, Found::Engine(_))).expect("readable"));
    assert!(engine.path.exists());
}
