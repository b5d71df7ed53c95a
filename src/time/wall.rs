//! The only reader of the clock. State machines take the time as an argument.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The clock of the computer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wall;

impl Wall {
    /// The current time of the monotonic clock.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
    pub fn now(self) -> Instant {
        Instant::now()
    }

    /// The date and time, for file stamps; never for media.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
    pub fn date(self) -> SystemTime {
        SystemTime::now()
    }

    /// Time since 1970, for reports; never for media.
    #[must_use]
    pub fn since_epoch(self) -> Duration {
        self.date().duration_since(UNIX_EPOCH).unwrap_or_default()
    }
}
