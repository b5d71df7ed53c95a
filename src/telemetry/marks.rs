//! Timestamps of the stages that a frame and its audio pass.

use std::time::{Duration, Instant};

/// The stages from a packet of audio to a packet of video, in order.
/// A stage's stamp is the instant at which the frame left it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    /// The oldest audio packet that this frame is the first to show was read from the socket.
    OldestPacket,
    /// The newest audio packet that it depends on was read from the socket.
    NewestPacket,
    /// Its audio was due for playout: the jitter buffer released it.
    PlayoutDue,
    /// A worker started to work on it.
    Started,
    /// The network's output for it was available.
    Inferred,
    /// It was rendered.
    Rendered,
    /// It was encoded.
    Encoded,
    /// Its first packet was handed to the socket.
    Sent,
}

impl Stage {
    /// All stages in order.
    pub const ALL: [Self; 8] = [
        Self::OldestPacket,
        Self::NewestPacket,
        Self::PlayoutDue,
        Self::Started,
        Self::Inferred,
        Self::Rendered,
        Self::Encoded,
        Self::Sent,
    ];

    /// The stage's name in reports: the work since the previous stage.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::OldestPacket => "oldest_packet",
            Self::NewestPacket => "look_ahead",
            Self::PlayoutDue => "jitter_buffer",
            Self::Started => "queue",
            Self::Inferred => "inference",
            Self::Rendered => "render",
            Self::Encoded => "encode",
            Self::Sent => "send",
        }
    }
}

/// How long the parts of a network's step took, by the clock of the device that ran it. A CPU measures none of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepTimes {
    /// Copy of the inputs to the device.
    pub up: Option<Duration>,
    /// Execution of the graph.
    pub run: Option<Duration>,
    /// Copy of this output from the device.
    pub down: Option<Duration>,
}

impl StepTimes {
    /// Names of the parts in reports, in order.
    pub const NAMES: [&'static str; 3] = ["upload", "compute", "download"];

    /// The parts that were timed.
    pub fn parts(self) -> impl Iterator<Item = (&'static str, Duration)> {
        Self::NAMES.into_iter().zip([self.up, self.run, self.down]).filter_map(|(name, took)| Some((name, took?)))
    }
}

/// The stamps of one frame or block, and the device times of [`Stage::Inferred`]. Cheap to copy.
#[derive(Clone, Copy, Debug, Default)]
pub struct Marks {
    stamps: [Option<Instant>; Stage::ALL.len()],
    /// The last step of the network before it.
    pub step: StepTimes,
}

impl Marks {
    /// Stamps `stage` with `now`.
    pub fn stamp(&mut self, stage: Stage, now: Instant) {
        self.stamps[stage as usize] = Some(now);
    }

    /// When `stage` was left, if it was.
    #[must_use]
    pub fn at(&self, stage: Stage) -> Option<Instant> {
        self.stamps[stage as usize]
    }

    /// Time from `from` to `to`, if both are stamped and in order.
    #[must_use]
    pub fn between(&self, from: Stage, to: Stage) -> Option<Duration> {
        self.at(to)?.checked_duration_since(self.at(from)?)
    }

    /// For each stage after the first: its name and the time since the stage stamped before it.
    pub fn spans(&self) -> impl Iterator<Item = (Stage, Duration)> + '_ {
        let stamped = Stage::ALL.into_iter().filter_map(|stage| self.at(stage).map(|at| (stage, at)));
        let later = stamped.clone().skip(1);
        stamped.zip(later).map(|((_, from), (stage, to))| (stage, to.saturating_duration_since(from)))
    }
}
