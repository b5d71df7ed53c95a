//! Files of packs, made by libFuzzer.

#![no_main]
#[path = "../entries.rs"]
mod entries;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    // Whether it was taken is for tests to look at.
    entries::pack(bytes);
});
