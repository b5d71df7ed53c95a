//! Counters: every kind of loss, and the traffic.

use std::sync::atomic::{AtomicU64, Ordering};

/// Why something was dropped or replaced. Every loss is counted under one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Loss {
    /// A packet that belongs to no session, or that its session refused.
    StrayPacket,
    /// An audio packet that was received before.
    DuplicatePacket,
    /// An audio packet that arrived after its playout time.
    LatePacket,
    /// An audio packet that could not be decoded.
    BadPacket,
    /// An audio packet that never arrived: the gap was concealed.
    ConcealedGap,
    /// An audio packet dropped from a full queue.
    OverflowPacket,
    /// 20 ms of audio removed to shorten the delay.
    TrimmedBlock,
    /// A frame not encoded, because it was computed too late or would have been.
    LateFrame,
    /// A frame not encoded, because the output queue was full.
    BlockedFrame,
    /// 20 ms of audio not sent, because the output queue was full or the session had ended.
    BlockedAudio,
    /// A datagram that the socket did not accept.
    UnsentPacket,
    /// Something queued that belonged to an older utterance.
    StaleUtterance,
    /// 20 ms of microphone audio that was replaced by speech from another source.
    OverriddenMicrophone,
    /// 20 ms of silence spoken because the producer of a speech source was late.
    LateSpeech,
    /// A frame that was encoded and never sent: too many were queued, or the session ended first.
    UnsentFrame,
    /// An encoded frame that one viewer did not get, because its connection was behind; others got it.
    SkippedFrame,
    /// A frame that could not be computed or encoded.
    BadFrame,
    /// A command that was refused, because too many were queued.
    RefusedCommand,
    /// An event that a subscriber missed, because it read too slowly.
    MissedEvent,
    /// A sent frame that is missing in the trace, because the writer was slow.
    UntracedFrame,
}

impl Loss {
    /// All of them.
    pub const ALL: [Self; 20] = [
        Self::StrayPacket,
        Self::DuplicatePacket,
        Self::LatePacket,
        Self::BadPacket,
        Self::ConcealedGap,
        Self::OverflowPacket,
        Self::TrimmedBlock,
        Self::LateFrame,
        Self::BlockedFrame,
        Self::BlockedAudio,
        Self::UnsentPacket,
        Self::StaleUtterance,
        Self::OverriddenMicrophone,
        Self::LateSpeech,
        Self::UnsentFrame,
        Self::SkippedFrame,
        Self::BadFrame,
        Self::RefusedCommand,
        Self::MissedEvent,
        Self::UntracedFrame,
    ];

    /// Its name in metrics and JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::StrayPacket => "stray_packet",
            Self::DuplicatePacket => "duplicate_packet",
            Self::LatePacket => "late_packet",
            Self::BadPacket => "bad_packet",
            Self::ConcealedGap => "concealed_gap",
            Self::OverflowPacket => "overflow_packet",
            Self::TrimmedBlock => "trimmed_block",
            Self::LateFrame => "late_frame",
            Self::BlockedFrame => "blocked_frame",
            Self::BlockedAudio => "blocked_audio",
            Self::UnsentPacket => "unsent_packet",
            Self::StaleUtterance => "stale_utterance",
            Self::OverriddenMicrophone => "overridden_microphone",
            Self::LateSpeech => "late_speech",
            Self::UnsentFrame => "unsent_frame",
            Self::SkippedFrame => "skipped_frame",
            Self::BadFrame => "bad_frame",
            Self::RefusedCommand => "refused_command",
            Self::MissedEvent => "missed_event",
            Self::UntracedFrame => "untraced_frame",
        }
    }
}

/// Losses by reason, as a plain value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LossCounts([u64; Loss::ALL.len()]);

impl LossCounts {
    /// Counts one.
    pub fn count(&mut self, loss: Loss) {
        self.count_many(loss, 1);
    }

    /// Counts `times` of one kind.
    pub fn count_many(&mut self, loss: Loss, times: u64) {
        self.0[loss as usize] += times;
    }

    /// The number of losses of this kind.
    #[must_use]
    pub fn of(&self, loss: Loss) -> u64 {
        self.0[loss as usize]
    }

    /// Adds all of `other`.
    pub fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(mine, theirs)| *mine += theirs);
    }

    /// Returns the counts and resets them to zero.
    #[must_use]
    pub fn take(&mut self) -> Self {
        std::mem::take(self)
    }

    /// Reasons and counts.
    pub fn iter(&self) -> impl Iterator<Item = (Loss, u64)> + '_ {
        Loss::ALL.into_iter().map(|loss| (loss, self.of(loss)))
    }
}

/// Bytes of datagrams, without the headers of UDP and IP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Taken by the sockets.
    pub sent_bytes: u64,
    /// Read from the sockets.
    pub received_bytes: u64,
}

/// Losses and traffic of the whole process, added to from any thread.
#[derive(Debug, Default)]
pub struct Counters {
    losses: [AtomicU64; Loss::ALL.len()],
    sent_bytes: AtomicU64,
    received_bytes: AtomicU64,
}

impl Counters {
    /// Adds the counts of a state machine.
    pub fn add(&self, counts: &LossCounts) {
        counts.iter().filter(|(_, n)| *n > 0).for_each(|(loss, n)| self.lose_many(loss, n));
    }

    /// Counts one loss.
    pub fn lose(&self, loss: Loss) {
        self.lose_many(loss, 1);
    }

    /// Counts `times` of one kind.
    pub fn lose_many(&self, loss: Loss, times: u64) {
        self.losses[loss as usize].fetch_add(times, Ordering::Relaxed);
    }

    /// Counts a datagram that a socket accepted.
    pub fn send(&self, bytes: usize) {
        self.sent_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Counts a datagram that was read from a socket.
    pub fn receive(&self, bytes: usize) {
        self.received_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// All traffic so far.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        let of = |bytes: &AtomicU64| bytes.load(Ordering::Relaxed);
        Traffic { sent_bytes: of(&self.sent_bytes), received_bytes: of(&self.received_bytes) }
    }

    /// All counts so far.
    #[must_use]
    pub fn snapshot(&self) -> LossCounts {
        let mut counts = LossCounts::default();
        let of = |loss: Loss| self.losses[loss as usize].load(Ordering::Relaxed);
        Loss::ALL.into_iter().for_each(|loss| counts.0[loss as usize] = of(loss));
        counts
    }
}
