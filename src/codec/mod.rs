//! Codecs: Opus for audio, H.264 (and VP8, if it is built in) for video, and audio files.
//!
//! Decides how bytes become samples and frames become bytes. Does not decide when.

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

/// The video codecs that are built in, the preferred one first.
pub const VIDEO_CODECS: &str = if cfg!(feature = "vp8") { "h264, vp8" } else { "h264" };

/// The least usable bitrate, and the maximum of H.264 level 3.0, which 512x512 at 25 fps falls in (H.264, table A-1); no stream
/// of visage needs more in any codec.
const BITRATES: std::ops::RangeInclusive<u32> = 30_000..=10_000_000;

/// The codec of a video stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum VideoCodec {
    /// H.264, constrained baseline.
    #[default]
    H264,
    /// VP8, for peers without H.264.
    #[cfg(feature = "vp8")]
    Vp8,
}

impl VideoCodec {
    /// An encoder for frames of `size` at `fps` with this target bitrate.
    ///
    /// # Errors
    /// If the library cannot open one.
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

/// An encoded frame: Annex B bytes for H.264, a frame for VP8.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedFrame {
    /// The bytes of one access unit or frame.
    pub bytes: bytes::Bytes,
    /// Whether it is a keyframe.
    pub is_key: bool,
}

/// The kind of frame that is requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// The smallest.
    Any,
    /// A keyframe.
    Key,
}

/// An error of a codec library.
#[derive(Debug, Error)]
#[error("{codec} cannot {what}: {found}")]
pub struct CodecError {
    /// Which codec.
    pub codec: &'static str,
    /// The operation.
    pub what: &'static str,
    /// The library's message.
    pub found: String,
}

/// Encodes the frames of one stream to access units.
pub trait VideoEncoder: Send {
    /// Encodes one frame. Every call returns an access unit; no frame is skipped. A change of size starts with a keyframe.
    ///
    /// # Errors
    /// If the library refuses the frame. The stream continues with the next one, which is then a keyframe.
    fn encode(&mut self, frame: &VideoFrame, kind: FrameKind) -> Result<EncodedFrame, CodecError>;

    /// Sets the target bitrate.
    fn set_bitrate(&mut self, bits_per_second: u32);
}
