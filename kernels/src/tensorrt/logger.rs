//! TensorRT's log: errors are collected for the error message, the activation memory is recorded, progress goes to the caller.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use trtx::interfaces::MonitorProgress;
use trtx::{LogHandler, Severity};
use visage_engines::compile::{Progress, Watch};

/// Errors collected: the first is the cause, later ones usually follow from it.
const MAX_ERRORS: usize = 3;

/// What was logged during one compilation, or since an engine last ran.
#[derive(Debug, Default)]
pub(super) struct LogRecord {
    errors: Mutex<Vec<String>>,
    stopped: AtomicBool,
    /// 0 if it was not reported.
    activation_bytes: AtomicU64,
}

/// Prefix of the line that reports the activation memory of an engine, which nothing else reports without
/// a GPU. If a version words it differently, the figure is unknown.
const ACTIVATION: &str = "Total Activation Memory: ";

impl LogRecord {
    /// The errors in one line; `other` if there are none.
    pub(super) fn errors_or(&self, other: &str) -> String {
        let errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        if errors.is_empty() { other.to_owned() } else { errors.join("; ") }
    }

    /// As [`LogRecord::errors_or`], and clears them.
    pub(super) fn take_errors(&self, other: &str) -> String {
        let errors_or = self.errors_or(other);
        self.errors.lock().unwrap_or_else(PoisonError::into_inner).clear();
        errors_or
    }

    /// GPU memory that a step needs besides the weights.
    pub(super) fn activation_bytes(&self) -> Option<u64> {
        Some(self.activation_bytes.load(Ordering::Relaxed)).filter(|bytes| *bytes > 0)
    }

    /// Whether the watcher stopped the compilation.
    pub(super) fn was_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }
}

/// Records errors and the activation memory; discards the rest.
pub(super) struct Listener(pub Arc<LogRecord>);

impl LogHandler for Listener {
    fn log(&self, severity: Severity, message: &str) {
        let bytes = message.strip_prefix(ACTIVATION).and_then(|rest| rest.split(' ').next()?.parse().ok());
        if let Some(bytes) = bytes {
            self.0.activation_bytes.fetch_max(bytes, Ordering::Relaxed);
        }
        if severity > Severity::Error {
            return;
        }
        let mut errors = self.0.errors.lock().unwrap_or_else(PoisonError::into_inner);
        if errors.len() < MAX_ERRORS {
            errors.push(message.trim().to_owned());
        }
    }
}

/// Passes progress on and records a stop.
pub(super) struct Monitor {
    pub log: Arc<LogRecord>,
    pub watch: Watch,
    /// Total steps of each phase that has begun.
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
        self.log.stopped.fetch_or(said.is_break(), Ordering::Relaxed);
        said
    }

    fn phase_finish(&self, stage: &str) {
        self.stages.lock().unwrap_or_else(PoisonError::into_inner).remove(stage);
    }
}
