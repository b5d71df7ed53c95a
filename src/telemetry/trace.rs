//! A trace of frames: when each frame left each stage, in Chrome's trace event format (JSON array form).
//!
//! Decides the events, and what happens when their reader is slow: the newest frame is not traced, and counted.
//! Does not write files.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Instant;

use super::{Loss, Marks, Stage};

/// Frames in the queue to the writer. When it is full the newest frame is dropped.
const QUEUE_FRAMES: usize = 4096;

/// The writing end of a trace. Cheap to clone; [`Trace::frame`] never waits.
#[derive(Clone, Debug)]
pub struct Trace {
    frames: SyncSender<Traced>,
    lost: Arc<AtomicU64>,
}

/// What the reader of a trace receives.
#[derive(Clone, Copy, Debug)]
pub enum Traced {
    /// A frame of a session was sent.
    Frame(u64, Marks),
    /// The end of the trace.
    End,
}

impl Trace {
    /// The writing and the reading end of a trace.
    #[must_use]
    pub fn new() -> (Self, Receiver<Traced>) {
        let (frames, reader) = sync_channel(QUEUE_FRAMES);
        (Self { frames, lost: Arc::default() }, reader)
    }

    /// Adds a sent frame of the session with this number.
    ///
    /// # Errors
    /// If the reader was slow or is gone: [`Loss::UntracedFrame`].
    pub fn frame(&self, session: u64, marks: &Marks) -> Result<(), Loss> {
        self.frames.try_send(Traced::Frame(session, *marks)).map_err(|_full| {
            self.lost.fetch_add(1, Ordering::Relaxed);
            Loss::UntracedFrame
        })
    }

    /// Ends the trace. Waits while the queue is full.
    pub fn end(&self) {
        // If the reader is gone, the trace has ended already.
        let _ = self.frames.send(Traced::End);
    }

    /// Frames that were not traced, because the reader was slow or gone.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

/// Formats frames as events. The text of successive calls forms one JSON array.
#[derive(Debug)]
pub struct ChromeTrace {
    epoch: Instant,
    frames: u64,
    lines: u64,
}

impl ChromeTrace {
    /// A trace whose times are relative to `epoch`.
    #[must_use]
    pub fn new(epoch: Instant) -> Self {
        Self { epoch, frames: 0, lines: 0 }
    }

    /// Events of one frame: one span over all its stages, and one for each stage inside it. Each frame has its own row.
    pub fn frame(&mut self, session: u64, marks: &Marks, text: &mut String) {
        let mut stamps = Stage::ALL.into_iter().filter_map(|stage| Some((stage, self.micros(marks.at(stage)?))));
        let Some((_, began)) = stamps.next() else { return };
        let later: Vec<_> = stamps.collect();
        let Some((_, ended)) = later.last().copied() else { return };
        self.frames += 1;
        self.span(session, "frame", (began, ended), text);
        let mut from = began;
        for (stage, to) in later {
            self.span(session, stage.name(), (from, to.max(from)), text);
            from = to.max(from);
        }
    }

    /// The end of the array, with the number of `lost` frames.
    pub fn finish(&mut self, lost: u64, text: &mut String) {
        let frames = self.frames;
        let facts = format!("\"frames\":{frames},\"lost_frames\":{lost}");
        self.event(&format!("{{\"name\":\"visage\",\"ph\":\"M\",\"pid\":0,\"args\":{{{facts}}}}}"), text);
        text.push_str("\n]\n");
    }

    fn micros(&self, at: Instant) -> u128 {
        at.saturating_duration_since(self.epoch).as_micros()
    }

    fn span(&mut self, session: u64, name: &str, (from, to): (u128, u128), text: &mut String) {
        let id = self.frames;
        for (phase, at) in [("b", from), ("e", to)] {
            let event = format!(
                "{{\"name\":\"{name}\",\"cat\":\"frame\",\"ph\":\"{phase}\",\"id\":{id},\"pid\":{session},\"tid\":1,\"ts\":{at}}}"
            );
            self.event(&event, text);
        }
    }

    fn event(&mut self, event: &str, text: &mut String) {
        let before = if self.lines == 0 { "[\n" } else { ",\n" };
        self.lines += 1;
        // Writing to a string cannot fail.
        let _ = write!(text, "{before}{event}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Wall;
    use serde_json::Value;
    use std::time::Duration;

    fn marks(start: Instant) -> Marks {
        let mut marks = Marks::default();
        Stage::ALL.into_iter().zip(1..).for_each(|(stage, n)| marks.stamp(stage, start + Duration::from_millis(n)));
        marks
    }

    #[test]
    fn a_trace_is_json_and_every_span_that_begins_ends() {
        let start = Wall.now();
        let (mut chrome, mut text) = (ChromeTrace::new(start), String::new());
        (0..3).for_each(|n| chrome.frame(n, &marks(start), &mut text));
        chrome.finish(5, &mut text);
        let events: Vec<Value> = serde_json::from_str(&text).expect("JSON");
        let of = |phase: &str| events.iter().filter(|event| event["ph"] == phase).count();
        assert_eq!((of("b"), of("e"), of("M")), (24, 24, 1));
        assert_eq!(events.last().expect("an end")["args"]["lost_frames"], 5);
        assert_eq!(events[0]["ts"], 1000);
    }

    #[test]
    fn an_empty_trace_is_json_too() {
        let mut text = String::new();
        ChromeTrace::new(Wall.now()).finish(0, &mut text);
        assert_eq!(serde_json::from_str::<Vec<Value>>(&text).expect("JSON").len(), 1);
    }

    #[test]
    fn a_slow_reader_loses_the_newest_frames_and_they_are_counted() {
        let (trace, reader) = Trace::new();
        let refused: Vec<Loss> =
            (0..QUEUE_FRAMES as u64 + 7).filter_map(|n| trace.frame(n, &Marks::default()).err()).collect();
        assert_eq!((refused, trace.lost()), (vec![Loss::UntracedFrame; 7], 7));
        assert!(matches!(reader.recv(), Ok(Traced::Frame(0, _))));
    }
}
