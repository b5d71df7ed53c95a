//! Cards read again and again: what the management library tells of each at one moment.
//!
//! Decides what is read. When, and what follows from it, others know. A card that stops answering stays in the list, silent.

use nvml_wrapper::enum_wrappers::device::{Clock, TemperatureSensor};
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml};
use serde::{Deserialize, Serialize};

use crate::inventory::slowed_by;

/// One card at one moment. What it does not tell is `None`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CardReading {
    /// Its number in the order of the bus, from 0.
    pub index: u32,
    /// Its name, such as `NVIDIA GeForce RTX 4090`.
    pub name: String,
    /// What the library said in its place, if it does not answer; nothing else is known then.
    pub silence: Option<String>,
    /// Degrees Celsius of the chip.
    pub temperature_c: Option<u32>,
    /// All of its memory.
    pub memory_bytes: Option<u64>,
    /// Memory that somebody holds; what the driver keeps for itself is neither used nor free.
    pub memory_used_bytes: Option<u64>,
    /// Memory that nobody holds.
    pub memory_free_bytes: Option<u64>,
    /// Share of the last moments in which it reckoned.
    pub busy_percent: Option<u32>,
    /// Share of the last moments in which its memory was read or written.
    pub memory_busy_percent: Option<u32>,
    /// Share of the last moments in which its video encoder worked.
    pub encoder_busy_percent: Option<u32>,
    /// What it draws, in watts.
    pub power_w: Option<f64>,
    /// What it may draw, in watts.
    pub power_limit_w: Option<f64>,
    /// Clock of what reckons.
    pub sm_clock_mhz: Option<u32>,
    /// Clock of its memory.
    pub memory_clock_mhz: Option<u32>,
    /// Why its clocks are lowered, in NVML's words; being idle is no reason.
    pub slowed_by: Vec<String>,
    /// Sessions of its video encoder, anybody's.
    pub encoder_sessions: Option<u32>,
}

/// The cards of this machine, asked as often as one likes.
#[derive(Debug)]
pub struct CardWatch {
    nvml: Nvml,
    names: Vec<String>,
}

impl CardWatch {
    /// Opens the management library; none where there is no driver, or no card.
    #[must_use]
    pub fn open() -> Option<Self> {
        let nvml = Nvml::init().ok()?;
        let count = nvml.device_count().ok().filter(|count| *count > 0)?;
        let name = |index| nvml.device_by_index(index).and_then(|device| device.name()).unwrap_or_default();
        let names = (0..count).map(name).collect();
        Some(Self { nvml, names })
    }

    /// Every card that was there when the watch was opened. Takes milliseconds, and as long as a driver in trouble likes.
    #[must_use]
    pub fn read(&self) -> Vec<CardReading> {
        (0..).zip(&self.names).map(|(index, name)| self.read_one(index, name)).collect()
    }

    fn read_one(&self, index: u32, name: &str) -> CardReading {
        let known = CardReading { index, name: name.to_owned(), ..CardReading::default() };
        match self.nvml.device_by_index(index).and_then(|device| reading(known.clone(), &device)) {
            Ok(reading) => reading,
            Err(error) => CardReading { silence: Some(error.to_string()), ..known },
        }
    }
}

fn reading(known: CardReading, device: &Device<'_>) -> Result<CardReading, NvmlError> {
    let memory = surely_told(device.memory_info())?;
    let busy = told(device.utilization_rates())?;
    let watts = |milliwatts: u32| f64::from(milliwatts) / 1000.0;
    Ok(CardReading {
        temperature_c: told(device.temperature(TemperatureSensor::Gpu))?,
        memory_bytes: memory.as_ref().map(|memory| memory.total),
        memory_used_bytes: memory.as_ref().map(|memory| memory.used),
        memory_free_bytes: memory.as_ref().map(|memory| memory.free),
        busy_percent: busy.as_ref().map(|busy| busy.gpu),
        memory_busy_percent: busy.as_ref().map(|busy| busy.memory),
        encoder_busy_percent: told(device.encoder_utilization())?.map(|encoder| encoder.utilization),
        power_w: told(device.power_usage())?.map(watts),
        power_limit_w: told(device.enforced_power_limit())?.map(watts),
        sm_clock_mhz: told(device.clock_info(Clock::SM))?,
        memory_clock_mhz: told(device.clock_info(Clock::Memory))?,
        slowed_by: told(device.current_throttle_reasons())?.map(slowed_by).unwrap_or_default(),
        encoder_sessions: told(device.encoder_sessions())?.map(|sessions| sessions.len() as u32),
        ..known
    })
}

/// What a card cannot tell is left out; one that is gone, or whose driver is, is an error.
fn told<T>(answer: Result<T, NvmlError>) -> Result<Option<T>, NvmlError> {
    use NvmlError::{DriverNotLoaded, GpuLost, ResetRequired, Uninitialized};
    match answer {
        Ok(told) => Ok(Some(told)),
        Err(error @ (GpuLost | ResetRequired | Uninitialized | DriverNotLoaded)) => Err(error),
        Err(_not_told) => Ok(None),
    }
}

/// As [`told`], of what every card tells that is allowed to and has it: any other answer is as good as none.
fn surely_told<T>(answer: Result<T, NvmlError>) -> Result<Option<T>, NvmlError> {
    use NvmlError::{FailedToLoadSymbol, NoPermission, NotSupported};
    match answer {
        Ok(told) => Ok(Some(told)),
        Err(NotSupported | NoPermission | FailedToLoadSymbol(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_that_a_card_cannot_answer_is_left_out_and_a_lost_card_is_silent() {
        assert!(matches!(told::<u32>(Err(NvmlError::NotSupported)), Ok(None)));
        assert!(matches!(told::<u32>(Err(NvmlError::Unknown)), Ok(None)));
        assert!(matches!(surely_told::<u32>(Err(NvmlError::NotSupported)), Ok(None)));
        assert!(matches!(surely_told::<u32>(Err(NvmlError::Unknown)), Err(NvmlError::Unknown)));
        assert!(matches!(told::<u32>(Err(NvmlError::GpuLost)), Err(NvmlError::GpuLost)));
        assert!(matches!(told(Ok(71)), Ok(Some(71))));
    }

    #[test]
    fn a_watch_opens_where_cards_are_and_nowhere_else() {
        let found = crate::find_cards();
        let watch = CardWatch::open();
        assert_eq!(watch.as_ref().map_or(0, |watch| watch.names.len()), found.len());
        for (reading, card) in watch.iter().flat_map(CardWatch::read).zip(&found) {
            assert_eq!((reading.silence, reading.memory_bytes), (None, Some(card.memory_bytes)));
        }
    }
}
