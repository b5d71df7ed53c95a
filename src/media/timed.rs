//! What every travelling thing carries: its place on the line, its utterance and its marks.

use crate::telemetry::Marks;
use crate::time::SampleIndex;

/// The number of an utterance. Raising it makes everything older worthless, wherever it is queued.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Utterance(pub u64);

impl Utterance {
    /// The one after.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// A thing with its moment on the line, the utterance it belongs to and the stamps it collected.
#[derive(Clone, Debug)]
pub struct Timed<T> {
    /// The moment it shows or sounds.
    pub at: SampleIndex,
    /// The utterance it belongs to.
    pub utterance: Utterance,
    /// When it passed each stage.
    pub marks: Marks,
    /// The thing.
    pub value: T,
}

impl<T> Timed<T> {
    /// The same stamps around another thing.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Timed<U> {
        Timed { at: self.at, utterance: self.utterance, marks: self.marks, value: change(self.value) }
    }
}
