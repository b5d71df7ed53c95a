//! Sound files.

/// A whole sound, mono at 48 kHz.
#[derive(Debug)]
pub struct Sound;
