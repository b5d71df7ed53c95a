//! AudioClip files, made by libFuzzer.

#![no_main]
#[path = "../entries.rs"]
mod entries;

use std::sync::Once;

static CALM: Once = Once::new();

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    // A decoder's panic over a broken file is caught and is no find; one that nobody catches still ends the run.
    CALM.call_once(|| std::panic::set_hook(Box::new(|_| ())));
    entries::sound(bytes);
});
