//! What the line asks of a decoder of voice.
//!
//! Decides the port only; codec libraries live elsewhere.

use thiserror::Error;

/// A packet that did not decode.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("wanted a packet of voice, found: {found}")]
pub struct Undecodable {
    /// What the decoder said.
    pub found: String,
}

/// Packets to mono samples at 48 kHz, appended to what the caller gives.
pub trait Decode {
    /// Samples that `packet` holds, if it looks like a packet.
    fn samples(&self, packet: &[u8]) -> Option<usize>;

    /// Appends what `packet` holds.
    ///
    /// # Errors
    /// If the packet does not decode; nothing was appended.
    fn decode(&mut self, packet: &[u8], samples: &mut Vec<f32>) -> Result<(), Undecodable>;

    /// Appends the `count` samples before `next`, out of the error correction that `next` carries; concealed if none.
    ///
    /// # Errors
    /// If `next` does not decode; nothing was appended.
    fn recover(&mut self, next: &[u8], count: usize, samples: &mut Vec<f32>) -> Result<(), Undecodable>;

    /// Appends `count` samples (a multiple of 120, at most 5760) that go on where the voice stopped.
    ///
    /// # Errors
    /// If `count` is no length of a packet; nothing was appended.
    fn conceal(&mut self, count: usize, samples: &mut Vec<f32>) -> Result<(), Undecodable>;

    /// Forgets all that was decoded: nothing of it rings on in what comes next.
    fn forget(&mut self);
}
