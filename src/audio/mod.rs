//! From packets of voice to one unbroken line of samples.
//!
//! Decides when a packet is played, what fills a gap, and when somebody speaks. Does not read clocks, sockets or files,
//! and does not decode by itself: a decoder is given.

mod audio_receiver;
mod decode;
mod delay_estimator;
mod jitter;
pub mod mel;
mod playout;
mod playout_clock;
mod resample;
#[cfg(test)]
mod test_network;
mod vad;

pub use audio_receiver::{AudioBlock, AudioReceiver, AudioReceiverStats, BlockKind};
pub use decode::{Decode, Undecodable};
pub use jitter::AudioPacket;
pub use resample::{DOWNSAMPLER_DELAY_SAMPLES, Downsampler};
pub use vad::Speaking;
