//! Untrusted input: a short, deterministic run of what the fuzz targets do for hours.

#![expect(clippy::duplicate_mod, reason = "each target includes the entries")]

#[path = "fuzz/entries.rs"]
mod entries;
#[path = "fuzz/targets/json.rs"]
#[expect(dead_code, unused_attributes, reason = "a separate program that uses one of the entries")]
mod json;
#[path = "fuzz/targets/offer.rs"]
#[expect(dead_code, unused_attributes, reason = "a separate program that uses one of the entries")]
mod offer;
#[path = "fuzz/targets/pack.rs"]
#[expect(dead_code, unused_attributes, reason = "a separate program that uses one of the entries")]
mod pack;
#[path = "fuzz/targets/sound.rs"]
#[expect(dead_code, unused_attributes, reason = "a separate program that uses one of the entries")]
mod sound;

// The targets are compiled here too, without libFuzzer, which takes minutes to build.
extern crate self as libfuzzer_sys;

use std::collections::BTreeSet;
use std::path::Path;

/// Stand-in for the macro of `libfuzzer_sys`.
#[macro_export]
macro_rules! fuzz_target {
    (|$bytes:ident: &[u8]| $body:expr) => {
        pub fn target($bytes: &[u8]) {
            $body;
        }
    };
}

type Target = (&'static str, fn(&[u8]));

/// Compiled but not called: the target for audio suppresses panic messages of the whole process.
const TARGETS: [Target; 4] =
    [("json", json::target), ("offer", offer::target), ("pack", pack::target), ("sound", sound::target)];

/// Bytes that often reveal faults: limits of lengths and counts, and delimiters.
const BOUNDARY_BYTES: &[u8] = &[0x00, 0x01, 0x7f, 0x80, 0xff, b'{', b'"', b'\r', b'\n', b'=', b':', b'9'];

fn run(kind: &str, rounds: usize, entry: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/seeds").join(kind);
    let mut paths: Vec<_> =
        std::fs::read_dir(folder).expect("seeds").map(|file| file.expect("a file").path()).collect();
    paths.sort();
    let seeds: Vec<Vec<u8>> = paths.iter().map(|path| std::fs::read(path).expect("bytes")).collect();
    assert!(!seeds.is_empty());
    seeds.iter().for_each(|seed| entry(seed));
    let mut random = fastrand::Rng::with_seed(3);
    for n in 0..rounds {
        entry(&corrupted(&seeds[n % seeds.len()], &mut random));
    }
}

fn corrupted(seed: &[u8], random: &mut fastrand::Rng) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..random.usize(1..8) {
        if bytes.len() < 2 {
            break;
        }
        // The first byte selects the parser; most faults are in headers.
        let reach = if random.bool() { bytes.len().min(200) } else { bytes.len() };
        let at = random.usize(1..reach);
        match random.u8(..4) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at..(at + random.usize(..9)).min(bytes.len()))),
            2 => bytes.insert(at, BOUNDARY_BYTES[random.usize(..BOUNDARY_BYTES.len())]),
            _ => {
                bytes[at] =
                    if random.bool() { random.u8(..) } else { BOUNDARY_BYTES[random.usize(..BOUNDARY_BYTES.len())] }
            }
        }
    }
    bytes
}

#[test]
fn corrupted_offers_are_answered_or_refused() {
    run("offer", 2_000, entries::offer);
}

#[test]
fn corrupted_json_is_parsed_or_refused() {
    run("json", 5_000, entries::json);
}

#[test]
fn corrupted_audio_is_bounded_or_refused() {
    run("sound", 300, entries::sound);
}

#[test]
fn corrupted_packs_are_loaded_or_refused() {
    run("pack", 400, |bytes| _ = entries::pack(bytes));
}

#[test]
fn the_seeds_are_valid_before_they_are_corrupted() {
    let seed = |name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/seeds/pack").join(name);
        std::fs::read(path).expect("a seed")
    };
    assert!(entries::pack(&seed("drawn.json")), "the small rig is drawn");
    assert!(entries::pack(&seed("rig.json")), "the head's own rig is drawn");
    assert!(entries::pack(&seed("mesh.patch")), "its own numbers over themselves change nothing");
}

#[test]
fn every_target_is_compiled_here_and_listed_in_the_fuzz_manifest() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz");
    let files = std::fs::read_dir(folder.join("targets")).expect("targets");
    let files: BTreeSet<_> = files.map(|file| file.expect("a file").path()).collect();
    let wanted: BTreeSet<_> = TARGETS.iter().map(|(name, _)| folder.join(format!("targets/{name}.rs"))).collect();
    assert_eq!(files, wanted);
    let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).expect("a manifest");
    let listed: BTreeSet<_> = manifest.lines().filter_map(|line| line.strip_prefix("path = \"")).collect();
    let listed: BTreeSet<_> = listed.into_iter().map(|path| folder.join(path.trim_end_matches('"'))).collect();
    assert_eq!(listed, wanted);
}
