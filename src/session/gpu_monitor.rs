//! Reads the GPUs once a second, keeps the last reading, and passes the resulting allowance to admission.
//!
//! Decides when GPUs are read and which changes are logged; `gpu_load` decides what follows from a reading. Runs only on machines
//! with a GPU, and never on the media path.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::admission::Freshness;
use super::registry::SessionRegistry;
use crate::gpu_load::{Allowance, Change, DeviceCounts, Governor, GpuReading, GpuRequirement};
use crate::model::Pack;
use crate::time::Wall;

/// Interval between readings.
const INTERVAL: Duration = Duration::from_secs(1);

/// Reads all GPUs; NVML in production.
pub type GpuSource = Box<dyn FnMut() -> Vec<GpuReading> + Send>;

/// The last reading and its consequences.
#[derive(Clone, Debug)]
pub struct GpuSnapshot {
    /// The GPUs.
    pub readings: Vec<GpuReading>,
    /// When they were read.
    pub read_at: Instant,
    /// The allowance of the GPU that runs the avatars; `None` if they run on the CPU.
    pub allowance: Option<Allowance>,
    /// How often each of [`Change::ALL`] happened.
    pub changes: [u64; Change::ALL.len()],
}

/// The GPU behind the avatars: its readings and its work.
pub struct GpuMonitoring {
    pack: Arc<dyn Pack>,
    max_sessions: usize,
    registry: Arc<SessionRegistry>,
    status: Arc<GpuStatus>,
    wall: Wall,
}

impl GpuMonitoring {
    pub(super) fn new(pack: Arc<dyn Pack>, max_sessions: usize, registry: Arc<SessionRegistry>, wall: Wall) -> Self {
        Self { pack, max_sessions, registry, status: Arc::default(), wall }
    }

    /// Starts to read the GPUs once a second on a thread, and applies the allowance to admission.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn start(&self, source: GpuSource) -> io::Result<()> {
        self.status.start(source, self.monitor(self.wall.now()), self.wall)
    }

    /// As [`GpuMonitoring::start`], with readings from `now` on that the caller provides.
    #[must_use]
    pub fn monitor(&self, now: Instant) -> GpuMonitor {
        GpuMonitor::new(self.pack.gpu(), self.max_sessions, (&self.registry, &self.status), now)
    }

    /// The last reading; `None` if GPUs are not read.
    #[must_use]
    pub fn latest(&self) -> Option<GpuSnapshot> {
        self.status.latest()
    }

    /// Counters of the GPU's work; `None` if the avatars run on the CPU.
    #[must_use]
    pub fn device_counts(&self) -> Option<DeviceCounts> {
        self.pack.device_counts()
    }

    /// Stops the thread without waiting for it.
    pub(super) fn stop(&self) {
        self.status.stop();
    }
}

/// The last reading. Empty if GPUs are not read.
#[derive(Debug, Default)]
struct GpuStatus {
    latest: Mutex<Option<GpuSnapshot>>,
    /// Dropping it stops the thread.
    running: Mutex<Option<SyncSender<()>>>,
}

impl GpuStatus {
    fn latest(&self) -> Option<GpuSnapshot> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Stops the thread without waiting for it: a faulty driver may never return from a call.
    fn stop(&self) {
        drop(self.running.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// Starts the thread. A second one replaces the first.
    fn start(&self, mut source: GpuSource, mut monitor: GpuMonitor, wall: Wall) -> io::Result<()> {
        let (running, stopped) = sync_channel(0);
        let goes_on = move |stopped: &Receiver<()>| stopped.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout);
        std::thread::Builder::new().name("gpu-monitor".to_owned()).spawn(move || {
            loop {
                let readings = source();
                monitor.on_reading(readings, wall.now());
                if !goes_on(&stopped) {
                    return;
                }
            }
        })?;
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = Some(running);
        Ok(())
    }

    fn set(&self, snapshot: GpuSnapshot) {
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = Some(snapshot);
    }
}

/// Passes readings to admission and to [`GpuMonitoring::latest`].
pub struct GpuMonitor {
    governor: Option<Governor>,
    registry: Arc<SessionRegistry>,
    status: Arc<GpuStatus>,
    changes: [u64; Change::ALL.len()],
}

impl GpuMonitor {
    fn new(
        gpu: Option<GpuRequirement>,
        max_sessions: usize,
        (registry, status): (&Arc<SessionRegistry>, &Arc<GpuStatus>),
        now: Instant,
    ) -> Self {
        let governor = gpu.map(|gpu| Governor::new(gpu, max_sessions, now));
        let (registry, status) = (Arc::clone(registry), Arc::clone(status));
        Self { governor, registry, status, changes: [0; Change::ALL.len()] }
    }

    /// Applies a reading of `now`, which admission uses from this call on.
    pub fn on_reading(&mut self, readings: Vec<GpuReading>, now: Instant) {
        if let Some(governor) = &mut self.governor {
            let changes = governor.on_reading(&readings, self.registry.count(), now);
            let freshness = if governor.is_answered(now) { Freshness::New } else { Freshness::Old };
            let allowance = governor.allowance();
            self.registry.allow(allowance, freshness);
            for change in changes {
                self.changes[change as usize] += 1;
                log(change, allowance);
            }
        }
        let allowance = self.governor.as_ref().map(Governor::allowance);
        self.status.set(GpuSnapshot { readings, read_at: now, allowance, changes: self.changes });
    }
}

fn log(
    change: Change,
    Allowance { capacity, max_capacity, temperature_c, memory_free_bytes, session_bytes, .. }: Allowance,
) {
    match change {
        Change::Lowered => {
            tracing::warn!(temperature_c, capacity, max_capacity, "the GPU is hot: fewer sessions are admitted");
        }
        Change::Restored => {
            tracing::info!(temperature_c, capacity, max_capacity, "the GPU has cooled: more sessions are admitted");
        }
        Change::MemoryShort => {
            tracing::warn!(memory_free_bytes, session_bytes, "GPU memory is too low for another session");
        }
        Change::MemoryEnough => {
            tracing::info!(memory_free_bytes, session_bytes, "GPU memory is enough for further sessions again");
        }
        Change::Silent => tracing::warn!(capacity, "the GPU does not answer NVML: its session limit stays as it is"),
        Change::Answering => tracing::info!(capacity, "the GPU answers NVML again"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thread_reads_repeatedly_and_ends_when_stopped() {
        let (registry, status) = (Arc::<SessionRegistry>::default(), Arc::<GpuStatus>::default());
        let monitor = GpuMonitor::new(None, 8, (&registry, &status), Wall.now());
        let (reading, read) = sync_channel(0);
        let source = move || {
            // The receiver may be gone.
            let _ = reading.send(());
            vec![GpuReading { temperature_c: Some(41), ..GpuReading::default() }]
        };
        status.start(Box::new(source), monitor, Wall).expect("a thread");
        (0..2).for_each(|_| read.recv().expect("a reading"));
        let latest = status.latest().expect("the first reading, as the second began");
        assert_eq!((latest.readings[0].temperature_c, latest.allowance), (Some(41), None));
        status.stop();
        while read.recv().is_ok() {}
    }
}
