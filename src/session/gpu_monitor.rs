//! The thread that reads the graphics cards once a second, and the board that shows what it read.
//!
//! Decides when cards are read and what is said of changes; what follows from a reading, `cards` knows. Started only where
//! there is a card, and never on the way of a picture.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::admission::{Freshness, SessionRegistry};
use crate::gpu_load::{Allowance, Change, Governor, GpuReading, GpuRequirement};
use crate::time::Wall;

/// Pause between readings.
const PAUSE: Duration = Duration::from_secs(1);

/// Reads all cards; NVML in production.
pub type GpuSource = Box<dyn FnMut() -> Vec<GpuReading> + Send>;

/// What was read last, and what it led to.
#[derive(Clone, Debug)]
pub struct GpuSnapshot {
    /// The cards.
    pub readings: Vec<GpuReading>,
    /// When they were read.
    pub read_at: Instant,
    /// What the card that faces are drawn on leaves; none where none is.
    pub allowance: Option<Allowance>,
    /// How often each of [`Change::ALL`] happened.
    pub changes: [u64; Change::ALL.len()],
}

/// Where the last reading hangs. Empty where cards are not watched.
#[derive(Debug, Default)]
pub(super) struct GpuStatus {
    now: Mutex<Option<GpuSnapshot>>,
    /// As long as this is there, the thread goes on.
    going: Mutex<Option<SyncSender<()>>>,
}

impl GpuStatus {
    pub(super) fn now(&self) -> Option<GpuSnapshot> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends the thread, without waiting for it: a driver in trouble may not come back from a question.
    pub(super) fn end(&self) {
        drop(self.going.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// Starts the thread. A second one takes the place of the first.
    pub(super) fn start(&self, mut source: GpuSource, mut watcher: GpuMonitor, wall: Wall) -> io::Result<()> {
        let (going, ended) = sync_channel(0);
        let goes_on = move |ended: &Receiver<()>| ended.recv_timeout(PAUSE) == Err(RecvTimeoutError::Timeout);
        std::thread::Builder::new().name("cards".to_owned()).spawn(move || {
            loop {
                let readings = source();
                watcher.heed(readings, wall.now());
                if !goes_on(&ended) {
                    return;
                }
            }
        })?;
        *self.going.lock().unwrap_or_else(PoisonError::into_inner) = Some(going);
        Ok(())
    }

    fn show(&self, shown: GpuSnapshot) {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = Some(shown);
    }
}

/// Takes readings to the register and the board.
pub struct GpuMonitor {
    governor: Option<Governor>,
    register: Arc<SessionRegistry>,
    board: Arc<GpuStatus>,
    changes: [u64; Change::ALL.len()],
}

impl GpuMonitor {
    pub(super) fn new(
        card: Option<GpuRequirement>,
        places: usize,
        (register, board): (&Arc<SessionRegistry>, &Arc<GpuStatus>),
        now: Instant,
    ) -> Self {
        let governor = card.map(|card| Governor::new(card, places, now));
        let (register, board) = (Arc::clone(register), Arc::clone(board));
        Self { governor, register, board, changes: [0; Change::ALL.len()] }
    }

    /// Heeds what was read at `now`: admission keeps to it from this call on.
    pub fn heed(&mut self, readings: Vec<GpuReading>, now: Instant) {
        if let Some(governor) = &mut self.governor {
            let changes = governor.on_reading(&readings, self.register.tickets().len(), now);
            let freshness = if governor.is_answered(now) { Freshness::New } else { Freshness::Old };
            let allowance = governor.allowance();
            self.register.allow(allowance, freshness);
            for change in changes {
                self.changes[change as usize] += 1;
                tell(change, allowance);
            }
        }
        let allowance = self.governor.as_ref().map(Governor::allowance);
        self.board.show(GpuSnapshot { readings, read_at: now, allowance, changes: self.changes });
    }
}

fn tell(
    change: Change,
    Allowance { capacity, max_capacity, temperature_c, memory_free_bytes, session_bytes, .. }: Allowance,
) {
    match change {
        Change::Lowered => {
            tracing::warn!(
                temperature_c,
                capacity,
                max_capacity,
                "the graphics card is hot: fewer sessions are admitted"
            );
        }
        Change::Restored => {
            tracing::info!(
                temperature_c,
                capacity,
                max_capacity,
                "the graphics card has cooled: more sessions are admitted"
            );
        }
        Change::MemoryShort => {
            tracing::warn!(memory_free_bytes, session_bytes, "the graphics card's memory holds no further session");
        }
        Change::MemoryEnough => {
            tracing::info!(memory_free_bytes, session_bytes, "the graphics card's memory holds further sessions again");
        }
        Change::Silent => tracing::warn!(capacity, "the graphics card does not answer: its limit stays as it is"),
        Change::Answering => tracing::info!(capacity, "the graphics card answers again"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thread_reads_again_and_again_shows_it_and_ends_when_told() {
        let (register, board) = (Arc::<SessionRegistry>::default(), Arc::<GpuStatus>::default());
        let watcher = GpuMonitor::new(None, 8, (&register, &board), Wall.now());
        let (seen, asked) = sync_channel(0);
        let source = move || {
            // Whoever asked may be gone.
            let _ = seen.send(());
            vec![GpuReading { temperature_c: Some(41), ..GpuReading::default() }]
        };
        board.start(Box::new(source), watcher, Wall).expect("a thread");
        (0..2).for_each(|_| asked.recv().expect("a reading"));
        let shown = board.now().expect("the first reading, as the second began");
        assert_eq!((shown.readings[0].temperature_c, shown.allowance), (Some(41), None));
        board.end();
        while asked.recv().is_ok() {}
    }
}
