//! The graphics cards while shows run: what they say of themselves, and how many sessions that leaves.
//!
//! Decides when a card is too hot or too full for another session. Reads no card and no clock: readings and time are given.

mod governor;

pub use governor::{Allowance, Change, Governor, HOT_C};
pub use visage_kernels::gpu_watch::GpuReading;

/// Reasons for which clocks are lowered, as people say them, each once; `reasons` are NVML's.
#[must_use]
pub fn slowed_by(reasons: &[String]) -> String {
    let mut words: Vec<&str> = reasons.iter().map(|reason| in_words(reason)).collect();
    if words.len() > 1 {
        // It stands beside the reason that the hardware has.
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

/// The card that faces are drawn on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GpuRequirement {
    /// Its place on the bus, which tells it from others whatever numbers cards.
    pub bus_address: Option<String>,
    /// Its number among [`GpuReading`]s, where places are not told.
    pub index: u32,
    /// Memory of it that one more session takes.
    pub session_bytes: u64,
}

/// What a card was given to do since the process began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeviceCounts {
    /// Steps that were begun.
    pub steps: u64,
    /// Runs of engines; a run serves one step or several.
    pub runs: u64,
    /// Runs that replayed a captured graph.
    pub replays: u64,
    /// Outputs that were copied back.
    pub fetches: u64,
    /// Steps that failed.
    pub failures: u64,
    /// How often the device was opened anew.
    pub reopenings: u64,
    /// How often, since the last graph was loaded, the driver was asked for memory or a stream was waited for as a whole.
    /// Zero while a show runs.
    pub asked_in_loop: u64,
}

impl GpuRequirement {
    /// Whether `reading` is this card's.
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
    fn reasons_are_said_in_words_and_once() {
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
