//! The worker threads, which tick the sessions, earliest deadline first.
//!
//! A session is owned by the queue or by the worker that ticks it, never by both, so no session is locked.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use super::end_reason::EndReason;
use super::outlet::SessionKey;
use super::session::Session;
use crate::time::Wall;

/// Called on the worker's thread after it dropped a session.
pub(super) type OnStop = Box<dyn Fn(SessionKey, StopCause) + Send + Sync>;

/// Why a worker dropped a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StopCause {
    /// It was requested to end.
    Asked,
    /// The inference engine lost its state.
    EngineLost,
    /// It panicked, a bug in visage. The session ends, the process does not.
    Panicked,
}

impl StopCause {
    /// The reported reason.
    pub(super) fn reason(self) -> EndReason {
        match self {
            Self::Asked => EndReason::Deleted,
            Self::EngineLost => EndReason::EngineLost,
            Self::Panicked => EndReason::Broken,
        }
    }
}

/// The threads and the queue they take from.
pub(super) struct Scheduler {
    queue: Arc<Queue>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// Bounded by admission: one entry per session.
struct Queue {
    state: Mutex<QueueState>,
    changed: Condvar,
    on_stop: OnStop,
    wall: Wall,
}

#[derive(Default)]
struct QueueState {
    due: BinaryHeap<Reverse<Due>>,
    is_closed: bool,
}

struct Due {
    at: Instant,
    key: SessionKey,
    session: Box<Session>,
}

impl Scheduler {
    /// Starts `count` threads.
    pub(super) fn start(count: usize, wall: Wall, on_stop: OnStop) -> io::Result<Self> {
        let queue = Arc::new(Queue { state: Mutex::default(), changed: Condvar::new(), on_stop, wall });
        let start = |number: usize| {
            let queue = Arc::clone(&queue);
            std::thread::Builder::new().name(format!("session-{number}")).spawn(move || queue.run())
        };
        let threads = (0..count.max(1)).map(start).collect::<io::Result<Vec<_>>>()?;
        Ok(Self { queue, threads: Mutex::new(threads) })
    }

    /// Adds a session, which is ticked until it ends.
    pub(super) fn add(&self, key: SessionKey, session: Box<Session>) {
        self.queue.push(key, session);
    }

    /// Stops the threads and waits for them.
    pub(super) fn close(&self) {
        self.queue.lock().is_closed = true;
        self.queue.changed.notify_all();
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        threads.into_iter().for_each(|thread| drop(thread.join()));
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, key: SessionKey, session: Box<Session>) {
        self.lock().due.push(Reverse(Due { at: session.next_tick(), key, session }));
        self.changed.notify_one();
    }

    fn run(&self) {
        while let Some(due) = self.next() {
            self.run_tick(due);
        }
    }

    /// Waits for the session with the earliest deadline; `None` when closed.
    fn next(&self) -> Option<Due> {
        let mut state = self.lock();
        loop {
            if state.is_closed {
                return None;
            }
            let now = self.wall.now();
            let wait = state.due.peek().map(|first| first.0.at.saturating_duration_since(now));
            match wait {
                Some(wait) if wait.is_zero() => return state.due.pop().map(|first| first.0),
                Some(wait) => {
                    state = self.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0;
                }
                None => state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    fn run_tick(&self, mut due: Due) {
        if due.session.has_ended() {
            (self.on_stop)(due.key, StopCause::Asked);
            return;
        }
        let now = self.wall.now();
        let span = due.session.span().clone();
        let _entered = span.enter();
        let tick = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| due.session.tick(now, self.wall)));
        match tick {
            Ok(()) if due.session.is_lost() => (self.on_stop)(due.key, StopCause::EngineLost),
            Ok(()) => self.push(due.key, due.session),
            Err(_panic) => (self.on_stop)(due.key, StopCause::Panicked),
        }
    }
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.key) == (other.at, other.key)
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.key).cmp(&(other.at, other.key))
    }
}
