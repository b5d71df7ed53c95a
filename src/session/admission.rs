//! Whether one more session may start, and why not.
//!
//! Decides admission from counts and the last GPU reading. Pure: no clock, no lock, no thread.

use thiserror::Error;

use super::limits::SessionsConfig;
use crate::gpu_load::Allowance;

/// Why a session was not admitted.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum AdmitError {
    /// The server is at its limit.
    #[error("all {limit} session slots are in use")]
    Full {
        /// Session slots in all.
        limit: usize,
    },
    /// No avatar of that name.
    #[error("there is no avatar \"{name}\"; there are: {known}")]
    UnknownAvatar {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: String,
    },
    /// The avatar or a codec could not be set up.
    #[error("cannot load avatar \"{name}\": {found}")]
    BrokenAvatar {
        /// Its name.
        name: String,
        /// What was wrong.
        found: String,
    },
    /// Too many others wait for an avatar to load.
    #[error("{waiting} others wait for an avatar to load")]
    AvatarsLoading {
        /// How many wait.
        waiting: usize,
    },
    /// The inference engine takes no session now.
    #[error("the inference engine takes no sessions: {found}")]
    EngineLost {
        /// What is wrong with it.
        found: String,
    },
    /// The GPU is too hot for more.
    #[error("the GPU {} and leaves {places} of {limit} session slots, all in use", heat(*temperature_c))]
    GpuHot {
        /// Session slots that it leaves.
        places: usize,
        /// Session slots in all.
        limit: usize,
        /// Its temperature, if it reports one.
        temperature_c: Option<u32>,
    },
    /// The GPU has no memory for one more.
    #[error(
        "one more session needs {} MB of GPU memory, {} MB are free",
        megabytes(*need_bytes),
        megabytes(*free_bytes)
    )]
    GpuFull {
        /// What one session takes.
        need_bytes: u64,
        /// What was free at the last reading; sessions admitted since are not subtracted.
        free_bytes: u64,
    },
    /// The process is about to end.
    #[error("the server is closing and takes no new sessions")]
    Closing,
}

fn heat(temperature_c: Option<u32>) -> String {
    temperature_c.map_or_else(|| "was too hot".to_owned(), |degrees| format!("is at {degrees} °C after being too hot"))
}

fn megabytes(bytes: u64) -> u64 {
    bytes / 1_000_000
}

/// Whether an allowance was computed from a new reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Freshness {
    /// The GPU answered.
    New,
    /// It did not: the allowance is from before.
    Old,
}

/// What admission knows besides the number of running sessions.
#[derive(Debug, Default)]
pub(super) struct Admission {
    is_closing: bool,
    /// What the GPU leaves, once it was read.
    allowance: Option<Allowance>,
    /// Sessions admitted since the last reading, and between that and the one before: the memory they take may not be in
    /// the reading.
    admitted: [u64; 2],
}

impl Admission {
    /// Why one more session is refused while `running` sessions run; `None` when it is admitted.
    pub(super) fn refusal(&self, running: usize, config: &SessionsConfig) -> Option<AdmitError> {
        let limit = config.max_sessions;
        if self.is_closing {
            return Some(AdmitError::Closing);
        }
        if running >= limit {
            return Some(AdmitError::Full { limit });
        }
        let allowance = self.allowance?;
        if running >= allowance.capacity {
            let Allowance { capacity: places, temperature_c, .. } = allowance;
            return Some(AdmitError::GpuHot { places, limit, temperature_c });
        }
        let is_short = allowance.additional_sessions.is_some_and(|fit| fit <= self.admitted.iter().sum());
        let (need_bytes, free_bytes) = (allowance.session_bytes, allowance.memory_free_bytes.unwrap_or_default());
        is_short.then_some(AdmitError::GpuFull { need_bytes, free_bytes })
    }

    /// Counts an admitted session.
    pub(super) fn count(&mut self) {
        self.admitted[0] += 1;
    }

    /// Applies what the GPU leaves from now on.
    pub(super) fn allow(&mut self, allowance: Allowance, reading: Freshness) {
        self.allowance = Some(allowance);
        if reading == Freshness::New {
            self.admitted = [0, self.admitted[0]];
        }
    }

    /// Admits nobody from now on.
    pub(super) fn begin_closing(&mut self) {
        self.is_closing = true;
    }
}
