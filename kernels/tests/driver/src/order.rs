//! Which work runs when: anything that streams and events allow, as a seed says.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::sim::{FaultKind, Sim};
use crate::work::{Mark, Work};

/// A slow copy is passed over so often, unless somebody waits for it.
const STALL: u32 = 64;
/// What a piece of work takes at most, in microseconds; a slow copy takes a hundred times as much.
const LONGEST_US: u64 = 400;

/// Seeds below this one keep to their temper to the letter; those above now and then do not.
const STRICT_SEEDS: u64 = 64;
/// So seldom, and then for at most so many calls.
const WHIM: u64 = 12;
const LONGEST_WHIM: u64 = 24;

/// The ways in which three streams may stand before each other.
const RANKS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

/// How a seed lets work run.
enum Temper {
    /// All that may run runs at once.
    Eager,
    /// Nothing runs until somebody waits, and then only what that needs.
    Lazy,
    /// One piece at a time, on one in `of` calls.
    Now { of: u64 },
    /// One stream runs as far as it can, the others when somebody waits.
    Partial { favourite: usize },
    /// Of two streams, one always goes before the other; the third runs when neither can.
    Ranked { streams: [usize; 3] },
}

impl Sim {
    fn temper(&self) -> Temper {
        let (kind, which) = (self.sown() % 8, (self.sown() / 8) as usize);
        match kind {
            0 => Temper::Eager,
            1 => Temper::Lazy,
            2 => Temper::Now { of: 2 },
            3 => Temper::Now { of: 8 },
            4 | 5 => Temper::Partial { favourite: which % 3 },
            _ => Temper::Ranked { streams: RANKS[which % RANKS.len()] },
        }
    }

    /// The `n`th stream.
    fn stream(&self, n: usize) -> Option<u64> {
        self.streams.keys().nth(n).copied()
    }

    /// Whether the seed forgets its temper for a moment.
    fn has_a_whim(&mut self) -> bool {
        self.sown() >= STRICT_SEEDS && self.draw(WHIM) == 0
    }

    /// After a call: lets work run as the seed says.
    pub fn go_on(&mut self) {
        if self.idle_calls > 0 {
            self.idle_calls -= 1;
            return;
        }
        if self.has_a_whim() {
            self.step_any(None);
            self.idle_calls = self.draw(LONGEST_WHIM);
            return;
        }
        match self.temper() {
            Temper::Eager => while !self.has_a_whim() && self.step_any(None) {},
            Temper::Lazy => (),
            Temper::Now { of } => {
                if self.draw(of) == 0 {
                    self.step_any(None);
                }
            }
            Temper::Partial { favourite } => while !self.has_a_whim() && self.step_of(favourite) {},
            Temper::Ranked { streams: [first, second, _] } => {
                while !self.has_a_whim() && (self.step_of(first) || self.step_of(second)) {}
            }
        }
    }

    fn step_of(&mut self, n: usize) -> bool {
        self.stream(n).is_some_and(|stream| self.step_any(Some(stream)))
    }

    /// One piece of what may run, before somebody's wait is over.
    fn step_towards(&mut self, mark: &Arc<Mark>) -> bool {
        if self.has_a_whim() {
            return false;
        }
        match self.temper() {
            Temper::Lazy => {
                let needed = self.stream_towards(mark);
                needed.is_some() && self.step_any(needed)
            }
            Temper::Ranked { streams } => streams.into_iter().any(|n| self.step_of(n)),
            _ => false,
        }
    }

    /// Runs what must be done before `mark` has come to pass, and whatever the seed adds.
    pub fn run_until(&mut self, mark: &Arc<Mark>) -> u32 {
        while !mark.done.load(Ordering::Relaxed) && self.sticky == 0 {
            if !self.step_towards(mark) && !self.step_any(None) {
                self.sticky = self.violation("streams that wait for each other", 999);
            }
        }
        self.sticky
    }

    /// Runs all that a stream holds.
    pub fn run_stream(&mut self, stream: u64) -> u32 {
        let mark = Arc::new(Mark::default());
        let Some(found) = self.streams.get_mut(&stream) else { return crate::work::INVALID_HANDLE };
        found.queue.push_back(Work::Record(Arc::clone(&mark)));
        self.run_until(&mark)
    }

    /// Runs all that there is.
    pub fn run_all(&mut self) -> u32 {
        while self.sticky == 0 && self.step_any(None) {}
        self.sticky
    }

    /// The stream whose head must run so that `mark` comes to pass.
    fn stream_towards(&self, mark: &Arc<Mark>) -> Option<u64> {
        let records = |work: &Work| matches!(work, Work::Record(found) if Arc::ptr_eq(found, mark));
        let (name, stream) = self.streams.iter().find(|(_, stream)| stream.queue.iter().any(records))?;
        match stream.queue.front()? {
            Work::Wait(other) if !other.done.load(Ordering::Relaxed) => self.stream_towards(other),
            _ => Some(*name),
        }
    }

    /// Runs one piece: of `only`, or of any stream. False if none may run.
    fn step_any(&mut self, only: Option<u64>) -> bool {
        if self.sticky != 0 {
            return false;
        }
        let due = |stream: &crate::sim::Stream| stream.queue.front().is_some_and(Work::is_due);
        let able: Vec<u64> = self.streams.iter().filter(|(_, stream)| due(stream)).map(|(name, _)| *name).collect();
        let able: Vec<u64> = able.into_iter().filter(|name| only.is_none_or(|only| only == *name)).collect();
        let Some(chosen) = (!able.is_empty()).then(|| able[self.draw(able.len() as u64) as usize]) else {
            return false;
        };
        let chosen = self.unless_stalled(chosen, &able);
        self.step(chosen);
        true
    }

    /// `chosen`, or another that is not held up by a slow copy.
    fn unless_stalled(&mut self, chosen: u64, able: &[u64]) -> u64 {
        let stalled = |sim: &Self, name: &u64| sim.streams.get(name).is_some_and(|stream| stream.stalled > 0);
        if !stalled(self, &chosen) {
            return chosen;
        }
        if let Some(stream) = self.streams.get_mut(&chosen) {
            stream.stalled -= 1;
        }
        able.iter().copied().find(|name| !stalled(self, name)).unwrap_or(chosen)
    }

    fn step(&mut self, name: u64) {
        let took_us = 1 + self.draw(LONGEST_US);
        let Some(work) = self.streams.get_mut(&name).and_then(|stream| stream.queue.pop_front()) else { return };
        self.counts.done += 1;
        self.note(name, &work);
        let failed = if work.is_launch() { self.fault_of_work(FaultKind::Launch) } else { None };
        let status = failed.map_or_else(|| work.run(self), |fault| fault.status);
        if status != 0 {
            self.sticky = status;
        }
        let Some(stream) = self.streams.get_mut(&name) else { return };
        match &work {
            Work::Wait(mark) => stream.now_us = stream.now_us.max(mark.at_us.load(Ordering::Relaxed)),
            Work::Record(mark) => {
                mark.at_us.store(stream.now_us, Ordering::Relaxed);
                mark.done.store(true, Ordering::Relaxed);
            }
            Work::Delay => (stream.stalled, stream.now_us) = (STALL, stream.now_us + LONGEST_US * 100),
            _ => stream.now_us += took_us,
        }
        self.bury();
    }

    /// Counts what is done into the number of this order (FNV-1a over streams and kinds of work; marks are left out).
    fn note(&mut self, name: u64, work: &Work) {
        if matches!(work, Work::Record(_) | Work::Wait(_)) {
            return;
        }
        let place = self.streams.keys().position(|other| *other == name).unwrap_or_default() as u64;
        self.counts.order = (self.counts.order ^ (place * 16 + work.kind())).wrapping_mul(0x0100_0000_01b3);
    }

    /// Puts work behind what a stream holds, or into what it captures.
    pub fn queue(&mut self, name: u64, work: Work) -> u32 {
        let slow = work.is_copy() && self.fault_of_work(FaultKind::SlowCopy).is_some();
        self.counts.copies += u64::from(work.is_copy());
        self.counts.launches += u64::from(work.is_launch());
        let Some(stream) = self.streams.get_mut(&name).filter(|stream| !stream.is_gone) else {
            return self.violation("work for a stream that is not there", crate::work::INVALID_HANDLE);
        };
        if let Some(capture) = &mut stream.capture {
            return capture.gather(work);
        }
        stream.queue.extend(slow.then_some(Work::Delay));
        stream.queue.push_back(work);
        0
    }
}
