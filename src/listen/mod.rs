//! From packets of voice to one unbroken line of samples.

use std::time::Instant;

use bytes::Bytes;

use crate::time::AudioRtpTime;

/// A packet of Opus as it came.
#[derive(Clone, Debug)]
pub struct VoicePacket {
    /// Its RTP timestamp.
    pub rtp: AudioRtpTime,
    /// Its extended sequence number, where the door knows it.
    pub sequence: Option<u64>,
    /// One Opus packet.
    pub payload: Bytes,
    /// When it was read from the socket.
    pub arrived: Instant,
}
