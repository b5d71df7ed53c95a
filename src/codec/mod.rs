//! Codecs: Opus for voice, H.264 for pictures, and sound files.
//!
//! Decides how bytes become samples and pictures become bytes. Does not decide when.

mod h264;
mod opus;
pub mod sound;

use thiserror::Error;

use crate::media::Picture;

pub use h264::H264Encoder;
pub use opus::{VoiceDecoder, VoiceEncoder};

/// An encoded picture: Annex B bytes for H.264.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedPicture {
    /// The bytes of one access unit.
    pub bytes: bytes::Bytes,
    /// Whether a decoder can start here.
    pub is_key: bool,
}

/// What an encoder is asked for with a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PictureKind {
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
pub trait PictureEncoder: Send {
    /// Encodes one picture. Every call gives a unit: nothing is skipped here. A change of size starts with a key picture.
    ///
    /// # Errors
    /// If the library refuses the picture; the stream goes on with the next, which is then a key picture.
    fn encode(&mut self, picture: &Picture, kind: PictureKind) -> Result<EncodedPicture, CodecError>;

    /// Aims at this many bits a second from now on.
    fn set_bitrate(&mut self, bits_per_second: u32);
}
