//! Files of packs from libFuzzer.

#![no_main]
#[path = "../entries.rs"]
mod entries;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    // Tests check whether it was accepted.
    entries::pack(bytes);
});
