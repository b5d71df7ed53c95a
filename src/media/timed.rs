//! The time, utterance and marks of every block and frame.

use crate::telemetry::Marks;
use crate::time::SampleIndex;

/// The number of an utterance. A new utterance invalidates everything older, wherever it is queued.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Utterance(pub u64);

impl Utterance {
    /// The utterance after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// A value with its time on the session's timeline, its utterance and its stamps.
#[derive(Clone, Debug)]
pub struct Timed<T> {
    /// When it is shown or played.
    pub at: SampleIndex,
    /// The utterance it belongs to.
    pub utterance: Utterance,
    /// Timestamps of each stage.
    pub marks: Marks,
    /// The value.
    pub value: T,
}

impl<T> Timed<T> {
    /// The same time, utterance and stamps around another value.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Timed<U> {
        Timed { at: self.at, utterance: self.utterance, marks: self.marks, value: change(self.value) }
    }
}
