//! One stamp for each stage that a picture and its voice pass.

use std::time::{Duration, Instant};

/// The stages on the way from a packet of voice to a packet of video, in order.
/// A stage's stamp is the moment the thing left it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    /// The oldest packet of voice that this frame is the first to show was read from the socket.
    Spoken,
    /// The newest packet of voice the thing depends on was read from the socket.
    Heard,
    /// It was due on the unbroken line (the jitter buffer let go of it).
    Listened,
    /// A worker began with the frame.
    Begun,
    /// The model had said what the mouth does.
    Modelled,
    /// The face was drawn.
    Drawn,
    /// The picture was encoded.
    Encoded,
    /// Its first packet was handed to the socket.
    Sent,
}

impl Stage {
    /// All stages in order.
    pub const ALL: [Self; 8] = [
        Self::Spoken,
        Self::Heard,
        Self::Listened,
        Self::Begun,
        Self::Modelled,
        Self::Drawn,
        Self::Encoded,
        Self::Sent,
    ];

    /// The stage's name in reports: what was done since the stage before.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Spoken => "spoken",
            Self::Heard => "look_ahead",
            Self::Listened => "jitter_buffer",
            Self::Begun => "queue",
            Self::Modelled => "model",
            Self::Drawn => "draw",
            Self::Encoded => "encode",
            Self::Sent => "send",
        }
    }
}

/// How long the parts of a network's step took by the clock of the device that ran it. A processor tells none of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepTimes {
    /// Inputs to the device.
    pub up: Option<Duration>,
    /// The graph.
    pub run: Option<Duration>,
    /// This output from the device.
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

/// The stamps of one thing, and what of [`Stage::Modelled`] a device did. Cheap to copy.
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
