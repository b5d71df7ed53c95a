//! The receiving side of a peer: audio packets, and the evidence that the peer is alive.
//!
//! Decides what counts as a sign of life. str0m decrypts and drops what is not authentic without reporting it, so this
//! module counts what str0m accepted.

use std::time::Instant;

use bytes::Bytes;
use str0m::rtp::rtcp::Rtcp;
use str0m::rtp::{RtpHeader, SeqNo};

use super::super::liveness::Liveness;
use super::super::timeouts::Timeouts;
use crate::audio::AudioPacket;
use crate::time::AudioRtpTime;

/// State of the receiving side of a peer.
#[derive(Debug)]
pub struct Ingress {
    /// When the peer counts as gone.
    pub timeouts: Timeouts,
    liveness: Liveness,
    authenticated: u64,
    dtls_answered: u64,
    newest_audio: Option<SeqNo>,
}

impl Ingress {
    /// Nothing has arrived; the offer was answered at `now`.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            timeouts: Timeouts::new(now),
            liveness: Liveness::default(),
            authenticated: 0,
            dtls_answered: 0,
            newest_audio: None,
        }
    }

    /// Datagrams that only the peer can have sent: RTP and RTCP that decrypted, STUN requests that were answered.
    #[must_use]
    pub fn authenticated(&self) -> u64 {
        self.authenticated
    }

    /// DTLS datagrams that were sent, all of them answers once the peer is connected.
    #[must_use]
    pub fn dtls_answered(&self) -> u64 {
        self.dtls_answered
    }

    /// RTP arrived; str0m has checked that it is no replay.
    pub fn on_rtp(&mut self, now: Instant) {
        self.authenticated += 1;
        self.timeouts.on_authenticated(now);
    }

    /// RTCP arrived. It may be a replay, so only fresh evidence counts as a sign of life.
    pub fn on_rtcp(&mut self, report: &Rtcp, now: Instant) {
        self.authenticated += 1;
        if self.liveness.on_received(report, now) {
            self.timeouts.on_authenticated(now);
        }
    }

    /// RTCP was sent.
    pub fn on_rtcp_sent(&mut self, report: &Rtcp, now: Instant) {
        self.liveness.on_sent(report, now);
    }

    /// The STUN request with this transaction id was answered, so it was authentic. It may be a replay.
    pub fn on_stun_answered(&mut self, transaction_id: [u8; 12], now: Instant) {
        self.authenticated += 1;
        if self.liveness.is_new_transaction_id(transaction_id) {
            self.timeouts.on_authenticated(now);
        }
    }

    /// A DTLS datagram was sent.
    pub fn on_dtls_sent(&mut self) {
        self.dtls_answered += 1;
    }

    /// An audio packet for the jitter buffer, its sequence number extended to 64 bits.
    pub fn audio_packet(&mut self, header: &RtpHeader, payload: Vec<u8>, now: Instant) -> AudioPacket {
        let sequence = header.sequence_number(self.newest_audio);
        self.newest_audio = self.newest_audio.max(Some(sequence));
        AudioPacket {
            rtp: AudioRtpTime::from_ticks(u128::from(header.timestamp)),
            sequence: Some(*sequence),
            payload: Bytes::from(payload),
            arrived: now,
        }
    }
}
