//! Processor time and memory of server, clients and machine over the measured interval.

use std::time::{Duration, Instant};

use super::BenchError;
use super::calls::hold;
use super::client::Client;
use super::interference::Interference;
use super::measure::{ClientMetrics, Window};
use super::procfs::of_process;
use super::report::Cost;
use super::server::Server;
use super::signed_percentiles::unsigned;
use crate::telemetry::{Footprint, MachineCpu};
use crate::time::Wall;

/// Processor time and memory at one instant.
#[derive(Clone, Copy, Default)]
struct Snapshot {
    server: Option<Footprint>,
    clients: Option<Footprint>,
    machine: Option<MachineCpu>,
}

impl Snapshot {
    fn take(server: &Server) -> Self {
        Self { server: server.footprint(), clients: of_process(std::process::id()), machine: MachineCpu::read() }
    }
}

/// The measured interval and the processor time used in it.
pub struct Usage {
    before: Snapshot,
    after: Snapshot,
    /// The interval, relative to the start of the run.
    pub window: Window,
}

impl Usage {
    /// Waits for `duration` between two snapshots; times are relative to `epoch`.
    ///
    /// # Errors
    /// If the call of one of `clients` ends.
    pub async fn measure(
        server: &Server,
        clients: &[Client],
        duration: Duration,
        epoch: Instant,
    ) -> Result<Self, BenchError> {
        let before = Snapshot::take(server);
        let from = Wall.now().saturating_duration_since(epoch);
        hold(server, clients, duration).await?;
        let window = Window { from, to: Wall.now().saturating_duration_since(epoch) };
        Ok(Self { before, after: Snapshot::take(server), window })
    }

    /// Length of the interval.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        (self.window.to - self.window.from).as_secs_f64()
    }

    fn server_cpu_s(&self) -> f64 {
        cpu_seconds(self.before.server, self.after.server)
    }

    fn client_cpu_s(&self) -> f64 {
        cpu_seconds(self.before.clients, self.after.clients)
    }

    /// Cores used by the server and by the clients.
    #[must_use]
    pub fn cores(&self) -> (f64, f64) {
        (self.server_cpu_s() / self.seconds(), self.client_cpu_s() / self.seconds())
    }

    /// Resources used, compared with `idle`: memory per session.
    #[must_use]
    pub fn cost(&self, idle: Footprint, sessions: usize) -> Cost {
        let loaded = self.after.server.unwrap_or_default();
        let (server_cores, client_cores) = self.cores();
        Cost {
            server_cores,
            client_cores,
            idle_mb: idle.resident_mb(),
            per_session_mb: (loaded.resident_mb() - idle.resident_mb()) / sessions as f64,
            threads: loaded.threads,
        }
    }

    /// What disturbed the interval.
    #[must_use]
    pub fn interference(&self, metrics: &[ClientMetrics]) -> Interference {
        let own_s = self.server_cpu_s() + self.client_cpu_s();
        let wall = self.window.to - self.window.from;
        let machine = self.before.machine.zip(self.after.machine);
        let found = machine
            .map_or_else(Interference::default, |(before, after)| Interference::between(before, after, own_s, wall));
        Interference { halves_ms: median_of_halves(metrics), ..found }
    }
}

fn cpu_seconds(before: Option<Footprint>, after: Option<Footprint>) -> f64 {
    before.zip(after).map_or(0.0, |(before, after)| after.cpu_s - before.cpu_s)
}

/// Median latency in the first and in the second half of the measured interval.
fn median_of_halves(metrics: &[ClientMetrics]) -> (f64, f64) {
    let halves = metrics.iter().map(|client| client.audio_to_frame.split_at(client.audio_to_frame.len() / 2));
    let (first, second): (Vec<&[f64]>, Vec<&[f64]>) = halves.unzip();
    let median = |parts: Vec<&[f64]>| unsigned(parts.into_iter().flatten().copied()).p50;
    (median(first), median(second))
}
