//! The workers: a few threads that move the shows on, the one that is due first first.
//!
//! A show is owned by the queue or by the worker that moves it, never by both, so nothing locks a show.

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

/// Called on a worker's thread when a show is over.
pub(super) type OnEnd = Box<dyn Fn(SessionKey, Ending) + Send + Sync>;

/// How a show came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// It was ended from outside.
    Asked,
    /// The engine lost what it had on it.
    EngineLost,
    /// It panicked: our bug. The session ends, the process does not.
    Broken,
}

impl Ending {
    /// What it is to whoever counts.
    pub(super) fn reason(self) -> EndReason {
        match self {
            Self::Asked => EndReason::Deleted,
            Self::EngineLost => EndReason::EngineLost,
            Self::Broken => EndReason::Broken,
        }
    }
}

/// The threads and the queue they take from.
pub(super) struct Scheduler {
    queue: Arc<Queue>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// Bounded by admission: one entry for each session.
struct Queue {
    state: Mutex<QueueState>,
    changed: Condvar,
    on_end: OnEnd,
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
    show: Box<Session>,
}

impl Scheduler {
    /// Starts `count` threads.
    pub(super) fn start(count: usize, wall: Wall, on_end: OnEnd) -> io::Result<Self> {
        let queue = Arc::new(Queue { state: Mutex::default(), changed: Condvar::new(), on_end, wall });
        let start = |number: usize| {
            let queue = Arc::clone(&queue);
            std::thread::Builder::new().name(format!("show-{number}")).spawn(move || queue.work())
        };
        let threads = (0..count.max(1)).map(start).collect::<io::Result<Vec<_>>>()?;
        Ok(Self { queue, threads: Mutex::new(threads) })
    }

    /// Puts a show on; it is moved on from now until it ends.
    pub(super) fn put(&self, key: SessionKey, show: Box<Session>) {
        self.queue.put(key, show);
    }

    /// Ends the threads and waits for them.
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

    fn put(&self, key: SessionKey, show: Box<Session>) {
        self.lock().due.push(Reverse(Due { at: show.next_tick(), key, show }));
        self.changed.notify_one();
    }

    fn work(&self) {
        while let Some(due) = self.next() {
            self.move_on(due);
        }
    }

    /// Waits for the show that is due first; none when closed.
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

    fn move_on(&self, mut due: Due) {
        if due.show.has_ended() {
            (self.on_end)(due.key, Ending::Asked);
            return;
        }
        let now = self.wall.now();
        let span = due.show.span().clone();
        let _entered = span.enter();
        let tick = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| due.show.tick(now, self.wall)));
        match tick {
            Ok(()) if due.show.is_lost() => (self.on_end)(due.key, Ending::EngineLost),
            Ok(()) => self.put(due.key, due.show),
            Err(_panic) => (self.on_end)(due.key, Ending::Broken),
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
