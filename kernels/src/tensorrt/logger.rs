//! TensorRT's log: errors are kept for the error message, the memory of a step is recorded, progress goes to the caller.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use trtx::interfaces::MonitorProgress;
use trtx::{LogHandler, Severity};
use visage_engines::compile::{Progress, Watch};

/// Complaints that are kept: the first says why, the rest follow from it.
const KEPT: usize = 3;

/// What was said during one compilation, or since an engine last ran.
#[derive(Debug, Default)]
pub(super) struct Heard {
    complaints: Mutex<Vec<String>>,
    stopped: AtomicBool,
    /// 0 if it was not reported.
    activation_bytes: AtomicU64,
}

/// Prefix of the line that reports the device memory of a step besides the weights. Nothing else reports it without
/// a card; with other words it is not known.
const ACTIVATION: &str = "Total Activation Memory: ";

impl Heard {
    /// The complaints in one line; `other` if there was none.
    pub(super) fn complaint(&self, other: &str) -> String {
        let complaints = self.complaints.lock().unwrap_or_else(PoisonError::into_inner);
        if complaints.is_empty() { other.to_owned() } else { complaints.join("; ") }
    }

    /// As [`Heard::complaint`], and forgets them.
    pub(super) fn take_complaint(&self, other: &str) -> String {
        let complaint = self.complaint(other);
        self.complaints.lock().unwrap_or_else(PoisonError::into_inner).clear();
        complaint
    }

    /// Memory on the card that a step needs besides the weights.
    pub(super) fn activation_bytes(&self) -> Option<u64> {
        Some(self.activation_bytes.load(Ordering::Relaxed)).filter(|bytes| *bytes > 0)
    }

    /// Whether the watcher said to stop.
    pub(super) fn was_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }
}

/// Keeps errors and what a step needs, lets the rest go.
pub(super) struct Listener(pub Arc<Heard>);

impl LogHandler for Listener {
    fn log(&self, severity: Severity, message: &str) {
        let bytes = message.strip_prefix(ACTIVATION).and_then(|rest| rest.split(' ').next()?.parse().ok());
        if let Some(bytes) = bytes {
            self.0.activation_bytes.fetch_max(bytes, Ordering::Relaxed);
        }
        if severity > Severity::Error {
            return;
        }
        let mut complaints = self.0.complaints.lock().unwrap_or_else(PoisonError::into_inner);
        if complaints.len() < KEPT {
            complaints.push(message.trim().to_owned());
        }
    }
}

/// Passes progress on and remembers that it was stopped.
pub(super) struct Monitor {
    pub heard: Arc<Heard>,
    pub watch: Watch,
    /// Steps of each stage that has begun.
    pub stages: Mutex<HashMap<String, u32>>,
}

impl MonitorProgress for Monitor {
    fn phase_start(&self, stage: &str, _parent: Option<&str>, steps: i32) {
        let steps = steps.max(0).unsigned_abs();
        self.stages.lock().unwrap_or_else(PoisonError::into_inner).insert(stage.to_owned(), steps);
    }

    fn step_complete(&self, stage: &str, step: i32) -> ControlFlow<()> {
        let of = self.stages.lock().unwrap_or_else(PoisonError::into_inner).get(stage).copied().unwrap_or(0);
        let done = step.max(0).unsigned_abs() + 1;
        let said = (self.watch)(Progress { stage, done, of });
        self.heard.stopped.fetch_or(said.is_break(), Ordering::Relaxed);
        said
    }

    fn phase_finish(&self, stage: &str) {
        self.stages.lock().unwrap_or_else(PoisonError::into_inner).remove(stage);
    }
}
