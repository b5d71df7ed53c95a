//! The things that travel: blocks of voice, pictures, and the stamps they carry.
//!
//! Decides what a block and a picture are. Does not produce, encode or send them.

mod picture;
mod sound;
mod timed;

pub use picture::{Picture, PictureSize, SizeError};
pub use sound::{BLOCK_LINE_SAMPLES, BLOCK_MS, BLOCK_VOICE_SAMPLES, PcmBlock};
pub use timed::{Timed, Utterance};
