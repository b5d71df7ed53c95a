//! The audio receiver: Opus packets in, one continuous 16 kHz stream out (what WebRTC calls `NetEQ`).
//!
//! Decides when a packet is played, what fills a gap, and where speech starts and stops. Reads no clock, socket or file; the codec
//! is a parameter.

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
pub use resample::{DOWNSAMPLER_DELAY_SAMPLES, DOWNSAMPLER_STEP, Downsampler};
pub use vad::Speaking;
