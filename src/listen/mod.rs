//! From packets of voice to one unbroken line of samples.
//!
//! Decides when a packet is played, what fills a gap, and when somebody speaks. Does not read clocks, sockets or files,
//! and does not decode by itself: a decoder is given.

mod clock;
mod decode;
mod delay;
mod jitter;
mod line;
pub mod mel;
mod playout;
mod resample;
mod vad;
#[cfg(test)]
mod wire;

pub use decode::{Decode, Undecodable};
pub use jitter::VoicePacket;
pub use line::{Heard, HeardKind, Line, LineStats};
pub use resample::{Downsampler, LINE_DELAY_SAMPLES};
pub use vad::Speaking;
