//! Codecs: Opus for voice, H.264 (and VP8, if it was built in) for pictures, and sound files.
//!
//! Decides how bytes become samples and pictures become bytes. Does not decide when.

pub mod audio_file;
mod h264;
mod opus;
#[cfg(test)]
mod tests;
mod video_encoder;
#[cfg(feature = "vp8")]
mod vp8;

use serde::Serialize;
use thiserror::Error;

use crate::media::{FrameSize, VideoFrame};
use crate::time::Rate;

pub use h264::H264Encoder;
pub use opus::{OpusDecoder, OpusEncoder};
#[cfg(feature = "vp8")]
pub use vp8::Vp8Encoder;

/// The codecs of pictures that are built in, the preferred one first.
pub const VIDEO_CODECS: &str = if cfg!(feature = "vp8") { "h264, vp8" } else { "h264" };

/// The least bits a second that still give a picture, and the most at level 3.0 of H.264, which 512x512 at 25 fps falls in
/// (H.264, table A-1); no picture of ours needs more in any codec.
const BITRATES: std::ops::RangeInclusive<u32> = 30_000..=10_000_000;

/// How the pictures of a stream are coded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum VideoCodec {
    /// H.264, constrained baseline.
    #[default]
    H264,
    /// VP8, for peers that know no H.264.
    #[cfg(feature = "vp8")]
    Vp8,
}

impl VideoCodec {
    /// An encoder for pictures of `size` at `fps` that aims at `bits_per_second`.
    ///
    /// # Errors
    /// If the library cannot make one.
    pub fn encoder(
        self,
        size: FrameSize,
        fps: Rate,
        bits_per_second: u32,
    ) -> Result<Box<dyn VideoEncoder>, CodecError> {
        Ok(match self {
            Self::H264 => Box::new(H264Encoder::new(size, fps, bits_per_second)?),
            #[cfg(feature = "vp8")]
            Self::Vp8 => Box::new(Vp8Encoder::new(size, fps, bits_per_second)?),
        })
    }
}

/// An encoded picture: Annex B bytes for H.264, a frame for VP8.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedFrame {
    /// The bytes of one access unit or frame.
    pub bytes: bytes::Bytes,
    /// Whether a decoder can start here.
    pub is_key: bool,
}

/// What an encoder is asked for with a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// Whatever is smallest.
    Any,
    /// One that a decoder can start with.
    Key,
}

/// A codec library refused.
#[derive(Debug, Error)]
#[error("{codec} could not {what}: {found}")]
pub struct CodecError {
    /// Which codec.
    pub codec: &'static str,
    /// What was wanted.
    pub what: &'static str,
    /// What the library said.
    pub found: String,
}

/// Pictures in, access units out. One stream.
pub trait VideoEncoder: Send {
    /// Encodes one picture. Every call gives a unit: nothing is skipped here. A change of size starts with a key picture.
    ///
    /// # Errors
    /// If the library refuses the picture; the stream goes on with the next, which is then a key picture.
    fn encode(&mut self, picture: &VideoFrame, kind: FrameKind) -> Result<EncodedFrame, CodecError>;

    /// Aims at this many bits a second from now on.
    fn set_bitrate(&mut self, bits_per_second: u32);
}
