//! GPU load: readings of the GPUs, and how many sessions they allow.
//!
//! Decides when a GPU is too hot or too full for another session. Reads no GPU and no clock: readings and time are passed in.

mod governor;

pub use governor::{Allowance, Change, Governor, HOT_C};
pub use visage_kernels::gpu_watch::GpuReading;

/// NVML's reasons for lowered clocks in plain words, each once.
#[must_use]
pub fn slowed_by(reasons: &[String]) -> String {
    let mut words: Vec<&str> = reasons.iter().map(|reason| in_words(reason)).collect();
    if words.len() > 1 {
        // NVML reports it together with the actual reason.
        words.retain(|word| *word != HARDWARE);
    }
    words.dedup();
    words.join(", ")
}

const HARDWARE: &str = "the hardware";

fn in_words(reason: &str) -> &str {
    match reason {
        "sw_power_cap" => "its power limit",
        "hw_power_brake_slowdown" => "the power supply",
        "sw_thermal_slowdown" | "hw_thermal_slowdown" => "heat",
        "hw_slowdown" => HARDWARE,
        other => other,
    }
}

/// The GPU that a backend computes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GpuRequirement {
    /// Its PCI bus address, which identifies it however GPUs are numbered.
    pub bus_address: Option<String>,
    /// Its index among [`GpuReading`]s, for when addresses are unknown.
    pub index: u32,
    /// Device memory that another session takes.
    pub session_bytes: u64,
}

/// Counters of a GPU's work since the process started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeviceCounts {
    /// Steps queued.
    pub steps: u64,
    /// Runs of engines; one run serves one step or a batch of several.
    pub runs: u64,
    /// Runs that replayed a captured CUDA graph.
    pub replays: u64,
    /// Launches of visage's own kernels.
    pub kernels: u64,
    /// Outputs downloaded.
    pub downloads: u64,
    /// Steps that failed.
    pub failures: u64,
    /// How often the context was re-created after a fault.
    pub context_resets: u64,
    /// Allocations, page locks and stream synchronisations since the last graph or kernel was loaded. Zero in the loop.
    pub loop_stalls: u64,
}

impl GpuRequirement {
    /// Whether `reading` is of this GPU.
    fn is_of(&self, reading: &GpuReading) -> bool {
        match (&self.bus_address, &reading.bus_address) {
            (Some(own), Some(read)) => own == read,
            _ => self.index == reading.index,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_given_in_words_and_once() {
        let said = |reasons: &[&str]| slowed_by(&reasons.iter().map(|reason| (*reason).to_owned()).collect::<Vec<_>>());
        assert_eq!(said(&["hw_slowdown", "sw_thermal_slowdown", "hw_thermal_slowdown"]), "heat");
        assert_eq!(
            said(&["sw_power_cap", "hw_slowdown", "hw_power_brake_slowdown"]),
            "its power limit, the power supply"
        );
        assert_eq!(said(&["hw_slowdown"]), "the hardware");
        assert_eq!(said(&["a_new_reason"]), "a_new_reason");
    }
}
