//! Blocks of audio, video frames, and their timestamps.
//!
//! Decides what a block and a frame are. Does not produce, encode or send them.

mod pcm;
mod timed;
mod video_frame;

pub use pcm::{BLOCK_MS, BLOCK_OPUS_SAMPLES, BLOCK_SPEECH_SAMPLES, PcmBlock};
pub use timed::{Timed, Utterance};
pub use video_frame::{FrameSize, SizeError, VideoFrame};
