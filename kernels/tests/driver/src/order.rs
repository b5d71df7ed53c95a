//! The schedule: which work executes when, among everything that streams and events allow, as the seed decides.
//!
//! Decides nothing about what work does.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::sim::{FaultKind, Sim};
use crate::work::{Mark, Work};

/// How often a slow copy is passed over, unless something waits for it.
const STALL: u32 = 64;
/// The longest duration of one piece of work; a slow copy takes a hundred times as long.
const LONGEST_US: u64 = 400;

/// Seeds below this one follow their policy strictly; others deviate now and then.
const STRICT_SEEDS: u64 = 64;
/// One in so many decisions deviates, for at most so many calls.
const DEVIATION: u64 = 12;
const LONGEST_DEVIATION: u64 = 24;

/// The priorities that three streams may have.
const PRIORITIES: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

/// How a seed schedules work.
enum Policy {
    /// Everything that may execute does at once.
    Eager,
    /// Nothing executes until something waits, and then only what that needs.
    Lazy,
    /// One piece of work, on one in `of` calls.
    Now { of: u64 },
    /// One stream executes as far as it can, the others when something waits.
    Partial { favourite: usize },
    /// Streams have priorities; the last executes only when something waits for it.
    Ranked { streams: [usize; 3] },
}

impl Sim {
    fn policy(&self) -> Policy {
        let (kind, which) = (self.seed() % 8, (self.seed() / 8) as usize);
        match kind {
            0 => Policy::Eager,
            1 => Policy::Lazy,
            2 => Policy::Now { of: 2 },
            3 => Policy::Now { of: 8 },
            4 | 5 => Policy::Partial { favourite: which % 3 },
            _ => Policy::Ranked { streams: PRIORITIES[which % PRIORITIES.len()] },
        }
    }

    /// The `n`th stream.
    fn stream(&self, n: usize) -> Option<u64> {
        self.streams.keys().nth(n).copied()
    }

    /// Whether the schedule deviates from its policy now.
    fn deviates(&mut self) -> bool {
        self.seed() >= STRICT_SEEDS && self.draw(DEVIATION) == 0
    }

    /// After a call: executes work as the policy says.
    pub fn go_on(&mut self) {
        if self.idle_calls > 0 {
            self.idle_calls -= 1;
            return;
        }
        if self.deviates() {
            self.step_any(None);
            self.idle_calls = self.draw(LONGEST_DEVIATION);
            return;
        }
        match self.policy() {
            Policy::Eager => while !self.deviates() && self.step_any(None) {},
            Policy::Lazy => (),
            Policy::Now { of } => {
                if self.draw(of) == 0 {
                    self.step_any(None);
                }
            }
            Policy::Partial { favourite } => while !self.deviates() && self.step_of(favourite) {},
            Policy::Ranked { streams: [first, second, _] } => {
                while !self.deviates() && (self.step_of(first) || self.step_of(second)) {}
            }
        }
    }

    fn step_of(&mut self, n: usize) -> bool {
        self.stream(n).is_some_and(|stream| self.step_any(Some(stream)))
    }

    /// One piece of work before a wait is over.
    fn step_towards(&mut self, mark: &Arc<Mark>) -> bool {
        if self.deviates() {
            return false;
        }
        match self.policy() {
            Policy::Lazy => {
                let needed = self.stream_towards(mark);
                needed.is_some() && self.step_any(needed)
            }
            Policy::Ranked { streams } => streams.into_iter().any(|n| self.step_of(n)),
            _ => false,
        }
    }

    /// Executes what must be done before `mark`, and what the policy adds.
    pub fn run_until(&mut self, mark: &Arc<Mark>) -> u32 {
        while !mark.done.load(Ordering::Relaxed) && self.sticky == 0 {
            if !self.step_towards(mark) && !self.step_any(None) {
                self.sticky = self.violation("a deadlock between streams", 999);
            }
        }
        self.sticky
    }

    /// Executes everything in a stream.
    pub fn run_stream(&mut self, stream: u64) -> u32 {
        let mark = Arc::new(Mark::default());
        let Some(found) = self.streams.get_mut(&stream) else { return crate::work::INVALID_HANDLE };
        found.queue.push_back(Work::Record(Arc::clone(&mark)));
        self.run_until(&mark)
    }

    /// Executes everything.
    pub fn run_all(&mut self) -> u32 {
        while self.sticky == 0 && self.step_any(None) {}
        self.sticky
    }

    /// The stream whose head must execute before `mark` is done.
    fn stream_towards(&self, mark: &Arc<Mark>) -> Option<u64> {
        let records = |work: &Work| matches!(work, Work::Record(found) if Arc::ptr_eq(found, mark));
        let (name, stream) = self.streams.iter().find(|(_, stream)| stream.queue.iter().any(records))?;
        match stream.queue.front()? {
            Work::Wait(other) if !other.done.load(Ordering::Relaxed) => self.stream_towards(other),
            _ => Some(*name),
        }
    }

    /// Executes one piece of work: of `only`, or of any stream. False if none may execute.
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

    /// `chosen`, or another stream that is not stalled by a slow copy.
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
        self.remove_destroyed();
    }

    /// Adds executed work to the hash of this interleaving (FNV-1a over streams and kinds of work, without events).
    fn note(&mut self, name: u64, work: &Work) {
        if matches!(work, Work::Record(_) | Work::Wait(_)) {
            return;
        }
        let place = self.streams.keys().position(|other| *other == name).unwrap_or_default() as u64;
        self.counts.order = (self.counts.order ^ (place * 16 + work.kind())).wrapping_mul(0x0100_0000_01b3);
    }

    /// Appends work to a stream, or to its capture.
    pub fn queue(&mut self, name: u64, work: Work) -> u32 {
        let slow = work.is_copy() && self.fault_of_work(FaultKind::SlowCopy).is_some();
        self.counts.copies += u64::from(work.is_copy());
        self.counts.launches += u64::from(work.is_launch());
        let Some(stream) = self.streams.get_mut(&name).filter(|stream| !stream.is_gone) else {
            return self.violation("work for an unknown stream", crate::work::INVALID_HANDLE);
        };
        if let Some(capture) = &mut stream.capture {
            return capture.gather(work);
        }
        stream.queue.extend(slow.then_some(Work::Delay));
        stream.queue.push_back(work);
        0
    }
}
