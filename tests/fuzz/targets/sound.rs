//! Audio files from libFuzzer.

#![no_main]
#[path = "../entries.rs"]
mod entries;

use std::sync::Once;

static SILENCE_PANICS: Once = Once::new();

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    // The entry point catches panics of decoders, so they are not findings and not printed. A panic outside of it still ends the run.
    SILENCE_PANICS.call_once(|| std::panic::set_hook(Box::new(|_| ())));
    entries::sound(bytes);
});
