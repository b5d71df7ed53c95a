//! Session capacity of a GPU, from one reading a second.
//!
//! Decides the limit; admission applies it. Running sessions are never ended for heat: a limit below their number takes
//! effect as they leave. A missing reading changes nothing: a GPU that does not answer keeps its limit.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{GpuReading, GpuRequirement};

/// Degrees Celsius: above this for ten seconds, the limit is lowered by one step.
pub const HOT_C: u32 = 80;
const HOT_FOR: Duration = Duration::from_secs(10);
/// Below this for [`COOL_FOR`], the limit is raised by one step. In between it is unchanged.
const COOL_C: u32 = 75;
const COOL_FOR: Duration = Duration::from_mins(1);
/// A step is the capacity divided by this.
const STEPS: usize = 4;
/// Minimum at any temperature: a GPU that a single session overheats has a hardware fault, and throttles its own clocks.
const FEWEST: usize = 1;
/// After this long without a response a GPU counts as silent. No duration is measured across such a gap.
const SILENT_AFTER: Duration = Duration::from_secs(5);
/// Hysteresis: after a shortage this much memory must be free, in percent of a session's need.
const ENOUGH_PERCENT: u64 = 125;

/// The capacity that a GPU leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allowance {
    /// Concurrent sessions that its temperature allows.
    pub capacity: usize,
    /// Concurrent sessions when it is cool.
    pub max_capacity: usize,
    /// Further sessions that fit into the memory that was free at the reading. `None` if it is not reported, or if sessions
    /// need no memory.
    pub additional_sessions: Option<u64>,
    /// Memory of one session in bytes.
    pub session_bytes: u64,
    /// Degrees Celsius, if reported.
    pub temperature_c: Option<u32>,
    /// Free memory in bytes, if reported.
    pub memory_free_bytes: Option<u64>,
}

/// Changes that are logged and counted, once each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Hot for long: fewer sessions.
    Lowered,
    /// Cool for long: more sessions.
    Restored,
    /// Another session does not fit into its memory.
    MemoryShort,
    /// Another session fits again.
    MemoryEnough,
    /// It stopped responding.
    Silent,
    /// It responds again.
    Answering,
}

impl Change {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Lowered, Self::Restored, Self::MemoryShort, Self::MemoryEnough, Self::Silent, Self::Answering];

    /// Its name in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Lowered => "lowered",
            Self::Restored => "restored",
            Self::MemoryShort => "memory_short",
            Self::MemoryEnough => "memory_enough",
            Self::Silent => "silent",
            Self::Answering => "answering",
        }
    }
}

/// The policy for one GPU.
#[derive(Clone, Debug)]
pub struct Governor {
    gpu: GpuRequirement,
    allowance: Allowance,
    hot_since: Option<Instant>,
    cool_since: Option<Instant>,
    /// Time of the last reported temperature.
    temperature_at: Instant,
    answered_at: Instant,
    is_silent: bool,
    is_short: bool,
}

impl Governor {
    /// For `gpu`, with the full `capacity` until a reading lowers it.
    #[must_use]
    pub fn new(gpu: GpuRequirement, capacity: usize, now: Instant) -> Self {
        let allowance = Allowance {
            capacity,
            max_capacity: capacity,
            additional_sessions: None,
            session_bytes: gpu.session_bytes,
            temperature_c: None,
            memory_free_bytes: None,
        };
        let (hot_since, cool_since) = (None, None);
        Self {
            gpu,
            allowance,
            hot_since,
            cool_since,
            temperature_at: now,
            answered_at: now,
            is_silent: false,
            is_short: false,
        }
    }

    /// The current allowance.
    #[must_use]
    pub fn allowance(&self) -> Allowance {
        self.allowance
    }

    /// Whether the GPU responded to the reading at `now`.
    #[must_use]
    pub fn is_answered(&self, now: Instant) -> bool {
        self.answered_at == now
    }

    /// Takes the readings of `now`, with `running` sessions active.
    pub fn on_reading(&mut self, readings: &[GpuReading], running: usize, now: Instant) -> Vec<Change> {
        let mut changes = Vec::new();
        let own = readings.iter().find(|reading| self.gpu.is_of(reading));
        let Some(reading) = own.filter(|reading| reading.error.is_none()) else {
            changes.extend(self.on_no_answer(now));
            return changes;
        };
        self.answered_at = now;
        changes.extend(std::mem::take(&mut self.is_silent).then_some(Change::Answering));
        self.allowance.temperature_c = reading.temperature_c;
        changes.extend(reading.temperature_c.and_then(|degrees| self.on_temperature(degrees, running, now)));
        changes.extend(self.on_free_memory(reading.memory_free_bytes));
        changes
    }

    /// The GPU did not respond.
    fn on_no_answer(&mut self, now: Instant) -> Option<Change> {
        if self.is_silent || now.saturating_duration_since(self.answered_at) < SILENT_AFTER {
            return None;
        }
        self.is_silent = true;
        self.allowance.temperature_c = None;
        Some(Change::Silent)
    }

    /// Measures how long it has been hot or cool. A short gap in the temperature changes nothing, a long one restarts both.
    fn on_temperature(&mut self, degrees: u32, running: usize, now: Instant) -> Option<Change> {
        let temperature_at = std::mem::replace(&mut self.temperature_at, now);
        if now.saturating_duration_since(temperature_at) >= SILENT_AFTER {
            (self.hot_since, self.cool_since) = (None, None);
        }
        let since = |is_so: bool, since: Option<Instant>| is_so.then(|| since.unwrap_or(now));
        self.hot_since = since(degrees > HOT_C, self.hot_since);
        self.cool_since = since(degrees < COOL_C, self.cool_since);
        let lasted =
            |since: Option<Instant>, long| since.is_some_and(|since| now.saturating_duration_since(since) >= long);
        if lasted(self.hot_since, HOT_FOR) {
            self.hot_since = Some(now);
            return self.set_capacity(self.lower(running), Change::Lowered);
        }
        if lasted(self.cool_since, COOL_FOR) {
            self.cool_since = Some(now);
            return self.set_capacity(
                (self.allowance.capacity + self.step()).min(self.allowance.max_capacity),
                Change::Restored,
            );
        }
        None
    }

    fn step(&self) -> usize {
        self.allowance.max_capacity.div_ceil(STEPS)
    }

    /// One step down, and at most the number of running sessions: removing free capacity does not cool a GPU.
    fn lower(&self, running: usize) -> usize {
        let Allowance { capacity, .. } = self.allowance;
        capacity.saturating_sub(self.step()).min(running).max(FEWEST).min(capacity)
    }

    fn set_capacity(&mut self, capacity: usize, change: Change) -> Option<Change> {
        let before = std::mem::replace(&mut self.allowance.capacity, capacity);
        (before != capacity).then_some(change)
    }

    /// Computes how many further sessions fit into the free memory.
    fn on_free_memory(&mut self, free_bytes: Option<u64>) -> Option<Change> {
        let free = free_bytes?;
        self.allowance.memory_free_bytes = free_bytes;
        let need = self.gpu.session_bytes;
        let enough = if self.is_short { need.saturating_mul(ENOUGH_PERCENT) / 100 } else { need };
        let was_short = std::mem::replace(&mut self.is_short, free < enough);
        let fits = free.checked_div(need);
        self.allowance.additional_sessions = if self.is_short { Some(0) } else { fits };
        match (was_short, self.is_short) {
            (false, true) => Some(Change::MemoryShort),
            (true, false) => Some(Change::MemoryEnough),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Wall;

    const MB: u64 = 1_000_000;
    const GPU: GpuRequirement = GpuRequirement { bus_address: None, index: 0, session_bytes: 500 * MB };

    /// A governor with a capacity of eight, read once a second.
    struct Trace {
        governor: Governor,
        now: Instant,
        running: usize,
        free_bytes: u64,
        changes: Vec<(u64, Change, usize)>,
        begun: Instant,
    }

    impl Trace {
        fn new() -> Self {
            let begun = Wall.now();
            let governor = Governor::new(GPU, 8, begun);
            Self { governor, now: begun, running: 8, free_bytes: 8000 * MB, changes: Vec::new(), begun }
        }

        fn on_reading(&mut self, readings: &[GpuReading]) {
            self.now += Duration::from_secs(1);
            let changes = self.governor.on_reading(readings, self.running, self.now);
            let (second, capacity) = ((self.now - self.begun).as_secs(), self.governor.allowance().capacity);
            self.changes.extend(changes.into_iter().map(|change| (second, change, capacity)));
        }

        fn at(&mut self, temperature_c: u32) {
            let memory_free_bytes = Some(self.free_bytes);
            self.on_reading(&[GpuReading {
                temperature_c: Some(temperature_c),
                memory_free_bytes,
                ..GpuReading::default()
            }]);
        }

        fn hold(&mut self, temperature_c: u32, seconds: u32) {
            (0..seconds).for_each(|_| self.at(temperature_c));
        }

        fn silent(&mut self, seconds: u32) {
            let reading = GpuReading { error: Some("a GPU was lost".into()), ..GpuReading::default() };
            (0..seconds).for_each(|_| self.on_reading(std::slice::from_ref(&reading)));
        }
    }

    #[test]
    fn a_gpu_that_heats_and_cools_loses_capacity_in_steps_and_regains_it() {
        let mut trace = Trace::new();
        trace.hold(70, 5);
        trace.hold(84, 60);
        trace.hold(78, 100);
        trace.hold(74, 260);
        let wanted = [
            (16, Change::Lowered, 6),
            (26, Change::Lowered, 4),
            (36, Change::Lowered, 2),
            (46, Change::Lowered, 1),
            (226, Change::Restored, 3),
            (286, Change::Restored, 5),
            (346, Change::Restored, 7),
            (406, Change::Restored, 8),
        ];
        assert_eq!(trace.changes, wanted);
    }

    #[test]
    fn a_gpu_that_varies_around_the_threshold_keeps_its_capacity() {
        let mut trace = Trace::new();
        (0..100).for_each(|second| trace.at(if second % 9 == 0 { 80 } else { 81 }));
        assert_eq!(trace.changes, []);
        trace.hold(81, 11);
        assert_eq!(trace.changes.len(), 1, "{:?}", trace.changes);
        // A GPU that varies around 75 degrees does not regain it either.
        (0..600).for_each(|second| trace.at(if second % 50 == 0 { 75 } else { 74 }));
        assert_eq!(trace.changes.len(), 1, "{:?}", trace.changes);
    }

    #[test]
    fn the_first_step_down_is_at_most_to_the_running_sessions() {
        let mut trace = Trace::new();
        trace.running = 3;
        trace.hold(90, 31);
        assert_eq!(trace.changes, [(11, Change::Lowered, 3), (21, Change::Lowered, 1)]);
    }

    #[test]
    fn a_gpu_that_stops_answering_keeps_its_limit_and_is_reported_once() {
        let mut trace = Trace::new();
        trace.hold(85, 11);
        trace.silent(120);
        assert_eq!(trace.changes, [(11, Change::Lowered, 6), (16, Change::Silent, 6)]);
        trace.hold(85, 10);
        assert_eq!(trace.changes.split_off(2), [(132, Change::Answering, 6)], "heat is counted from the return");
        trace.at(85);
        assert_eq!(trace.changes.pop(), Some((142, Change::Lowered, 4)));
    }

    #[test]
    fn nothing_is_concluded_across_a_gap_in_the_readings() {
        let mut trace = Trace::new();
        trace.hold(85, 2);
        // The driver did not respond for half a minute.
        trace.now += Duration::from_secs(30);
        trace.hold(85, 10);
        assert_eq!(trace.changes, []);
        // One or two missing readings do not matter.
        trace.silent(2);
        trace.hold(85, 1);
        assert_eq!(trace.changes, [(45, Change::Lowered, 6)]);
    }

    #[test]
    fn a_sensor_with_missing_readings_still_shows_heat() {
        let mut trace = Trace::new();
        let mute = GpuReading { memory_free_bytes: Some(8000 * MB), ..GpuReading::default() };
        (0..20).for_each(
            |second| if second % 3 == 2 { trace.on_reading(std::slice::from_ref(&mute)) } else { trace.at(85) },
        );
        assert_eq!(trace.changes, [(11, Change::Lowered, 6)]);
        // A long gap counts neither as hot nor as cool.
        (0..120).for_each(|_| trace.on_reading(std::slice::from_ref(&mute)));
        trace.hold(85, 10);
        assert_eq!(trace.changes.len(), 1, "{:?}", trace.changes);
        trace.at(85);
        assert_eq!(trace.changes.pop(), Some((151, Change::Lowered, 4)));
    }

    #[test]
    fn a_gpu_that_jumps_between_hot_and_cold_keeps_its_capacity_and_a_clock_that_goes_back_is_harmless() {
        let mut trace = Trace::new();
        (0..200).for_each(|second| trace.at([200, 0, 81, 74][second % 4]));
        assert_eq!(trace.changes, []);
        trace.now = trace.begun;
        trace.hold(85, 5);
        assert!(trace.changes.is_empty() && trace.governor.allowance().capacity == 8, "{:?}", trace.changes);
    }

    #[test]
    fn a_gpu_that_disappears_and_returns_is_reported_once_each() {
        let mut trace = Trace::new();
        trace.hold(60, 1);
        (0..30).for_each(|_| trace.on_reading(&[]));
        trace.hold(60, 5);
        assert_eq!(trace.changes, [(6, Change::Silent, 8), (32, Change::Answering, 8)]);
    }

    #[test]
    fn falling_memory_stops_admission_before_it_is_exhausted_and_admits_again_with_a_margin() {
        let mut trace = Trace::new();
        let mut fits = |free_mb: u64| {
            trace.free_bytes = free_mb * MB;
            trace.at(60);
            trace.governor.allowance().additional_sessions
        };
        let seen = [8000, 1400, 500, 499, 510, 624, 625, 500, 0].map(&mut fits);
        assert_eq!(seen, [16, 2, 1, 0, 0, 0, 1, 1, 0].map(Some));
        let changes: Vec<Change> = trace.changes.iter().map(|(_, change, _)| *change).collect();
        assert_eq!(changes, [Change::MemoryShort, Change::MemoryEnough, Change::MemoryShort]);
    }

    #[test]
    fn readings_of_another_gpu_are_ignored_and_an_unknown_temperature_is_not_hot() {
        let mut trace = Trace::new();
        let own = GpuReading { memory_free_bytes: Some(8000 * MB), ..GpuReading::default() };
        let other = GpuReading { index: 1, temperature_c: Some(95), memory_free_bytes: Some(0), ..own.clone() };
        (0..60).for_each(|_| trace.on_reading(&[own.clone(), other.clone()]));
        assert_eq!(trace.changes, []);
    }

    #[test]
    fn a_gpu_is_identified_by_its_bus_address_before_its_index() {
        let mut trace = Trace::new();
        let gpu = GpuRequirement { bus_address: Some("00000000:0A:00.0".into()), ..GPU };
        trace.governor = Governor::new(gpu, 8, trace.begun);
        let at = |index, bus_address: &str, degrees| {
            let memory_free_bytes = Some(8000 * MB);
            let (bus_address, temperature_c) = (Some(bus_address.to_owned()), Some(degrees));
            GpuReading { index, bus_address, temperature_c, memory_free_bytes, ..GpuReading::default() }
        };
        let readings = [at(0, "00000000:01:00.0", 95), at(1, "00000000:0A:00.0", 60)];
        (0..60).for_each(|_| trace.on_reading(&readings));
        assert_eq!((trace.changes.len(), trace.governor.allowance().temperature_c), (0, Some(60)));
    }
}
