//! The decoder interface of the audio receiver.
//!
//! Decides the interface only; codec libraries are used in `codec`.

use thiserror::Error;

/// A packet that cannot be decoded.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("wanted an Opus packet, found: {found}")]
pub struct Undecodable {
    /// The decoder's message.
    pub found: String,
}

/// Decodes packets to mono samples at 48 kHz, which it appends to the caller's buffer.
pub trait Decode {
    /// The number of samples in `packet`; `None` if it is not a packet.
    fn samples(&self, packet: &[u8]) -> Option<usize>;

    /// Appends the samples of `packet`.
    ///
    /// # Errors
    /// If the packet cannot be decoded; nothing was appended.
    fn decode(&mut self, packet: &[u8], samples: &mut Vec<f32>) -> Result<(), Undecodable>;

    /// Appends the `count` samples before `next` from the in-band FEC in `next`, or concealment if it carries none.
    ///
    /// # Errors
    /// If `next` cannot be decoded; nothing was appended.
    fn recover(&mut self, next: &[u8], count: usize, samples: &mut Vec<f32>) -> Result<(), Undecodable>;

    /// Appends `count` samples of packet loss concealment (a multiple of 120, at most 5760).
    ///
    /// # Errors
    /// If `count` is not a valid packet length; nothing was appended.
    fn conceal(&mut self, count: usize, samples: &mut Vec<f32>) -> Result<(), Undecodable>;

    /// Resets the decoder state, so that nothing received before is audible in the next packet.
    fn reset(&mut self);
}
