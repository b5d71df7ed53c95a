//! Cards read again and again: what the management library tells of each at one moment.
//!
//! Decides what is read. When, and what follows from it, others know. A card that stops answering stays in the list, silent.

use nvml_wrapper::enum_wrappers::device::{Clock, TemperatureSensor};
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml};
use serde::{Deserialize, Serialize};
use visage_engines::Sm;

use crate::gpus::bus_address;
use crate::nvml::slowed_by;

/// One card at one moment. What it does not tell is `None`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GpuReading {
    /// Its number in the order of the bus, from 0.
    pub index: u32,
    /// Its name, such as `NVIDIA GeForce RTX 4090`.
    pub name: String,
    /// Where it is on the bus, as [`bus_address`] writes it.
    pub bus_address: Option<String>,
    /// What the library said in its place, if it does not answer; nothing else is known then.
    pub error: Option<String>,
    /// Degrees Celsius of the chip.
    pub temperature_c: Option<u32>,
    /// All of its memory.
    pub memory_bytes: Option<u64>,
    /// Memory that somebody holds; what the driver keeps for itself is neither used nor free.
    pub memory_used_bytes: Option<u64>,
    /// Memory that nobody holds.
    pub memory_free_bytes: Option<u64>,
    /// Share of the last moments in which it reckoned.
    pub utilization_percent: Option<u32>,
    /// Share of the last moments in which its memory was read or written.
    pub memory_utilization_percent: Option<u32>,
    /// Share of the last moments in which its video encoder worked.
    pub encoder_utilization_percent: Option<u32>,
    /// What it draws, in watts.
    pub power_w: Option<f64>,
    /// What it may draw, in watts.
    pub power_limit_w: Option<f64>,
    /// Clock of what reckons.
    pub sm_clock_mhz: Option<u32>,
    /// Clock of its memory.
    pub memory_clock_mhz: Option<u32>,
    /// Why its clocks are lowered, in NVML's words; being idle is no reason.
    pub throttle_reasons: Vec<String>,
    /// Sessions of its video encoder, anybody's.
    pub encoder_sessions: Option<u32>,
}

/// The cards of this machine, asked as often as one likes.
#[derive(Debug)]
pub struct GpuWatch {
    /// None where the library, let go to be opened anew, did not open.
    nvml: Option<Nvml>,
    /// What does not change of each: number, name, place.
    known: Vec<GpuReading>,
    /// The first card's compute capability.
    first_sm: Option<Sm>,
    /// Readings in a row in which some card was silent.
    silent_readings: u32,
}

/// A card that was lost and has come back answers only to whoever opens the library anew: tried again after so many readings.
const SILENT_READINGS: u32 = 5;

impl GpuWatch {
    /// Opens the management library; none where there is no driver, or no card.
    #[must_use]
    pub fn open() -> Option<Self> {
        let nvml = Nvml::init().ok()?;
        let count = nvml.device_count().ok().filter(|count| *count > 0)?;
        let known = (0..count).map(|index| known(&nvml, index)).collect();
        let first_sm = nvml.device_by_index(0).and_then(|device| device.cuda_compute_capability()).ok();
        let first_sm = first_sm.map(|sm| Sm::new(sm.major as u8, sm.minor as u8));
        Some(Self { nvml: Some(nvml), known, first_sm, silent_readings: 0 })
    }

    /// The first card's name and compute capability, if it told them.
    #[must_use]
    pub fn first(&self) -> Option<(&str, Sm)> {
        Some((self.known.first()?.name.as_str(), self.first_sm?))
    }

    /// Every card that was there when the watch was opened. Takes milliseconds, and as long as a driver in trouble likes.
    #[must_use]
    pub fn read(&mut self) -> Vec<GpuReading> {
        if self.silent_readings >= SILENT_READINGS {
            self.open_anew();
        }
        let readings: Vec<GpuReading> = self.known.iter().map(|known| self.read_one(known)).collect();
        let is_silent = readings.iter().any(|reading| reading.error.is_some());
        self.silent_readings = if is_silent { self.silent_readings + 1 } else { 0 };
        readings
    }

    fn open_anew(&mut self) {
        self.silent_readings = 0;
        // The library counts who opened it: only the last that lets it go makes it forget.
        drop(self.nvml.take());
        self.nvml = Nvml::init().ok();
    }

    fn read_one(&self, known: &GpuReading) -> GpuReading {
        let nvml = self.nvml.as_ref().ok_or(NvmlError::Uninitialized);
        let read = nvml.and_then(|nvml| reading(known.clone(), &nvml.device_by_index(known.index)?));
        read.unwrap_or_else(|error| GpuReading { error: Some(error.to_string()), ..known.clone() })
    }
}

fn known(nvml: &Nvml, index: u32) -> GpuReading {
    let device = nvml.device_by_index(index);
    let of = |device: &Device<'_>| {
        let place = device.pci_info().ok().map(|pci| bus_address(pci.domain, pci.bus, pci.device));
        (device.name().unwrap_or_default(), place)
    };
    let (name, bus_address) = device.as_ref().map(of).unwrap_or_default();
    GpuReading { index, name, bus_address, ..GpuReading::default() }
}

fn reading(known: GpuReading, device: &Device<'_>) -> Result<GpuReading, NvmlError> {
    let memory = surely_told(device.memory_info())?;
    let busy = told(device.utilization_rates())?;
    let watts = |milliwatts: u32| f64::from(milliwatts) / 1000.0;
    Ok(GpuReading {
        temperature_c: told(device.temperature(TemperatureSensor::Gpu))?,
        memory_bytes: memory.as_ref().map(|memory| memory.total),
        memory_used_bytes: memory.as_ref().map(|memory| memory.used),
        memory_free_bytes: memory.as_ref().map(|memory| memory.free),
        utilization_percent: busy.as_ref().map(|busy| busy.gpu),
        memory_utilization_percent: busy.as_ref().map(|busy| busy.memory),
        encoder_utilization_percent: told(device.encoder_utilization())?.map(|encoder| encoder.utilization),
        power_w: told(device.power_usage())?.map(watts),
        power_limit_w: told(device.enforced_power_limit())?.map(watts),
        sm_clock_mhz: told(device.clock_info(Clock::SM))?,
        memory_clock_mhz: told(device.clock_info(Clock::Memory))?,
        throttle_reasons: told(device.current_throttle_reasons())?.map(slowed_by).unwrap_or_default(),
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
        let found = crate::find_gpus();
        let watch = GpuWatch::open();
        let readings = watch.map(|mut watch| watch.read()).unwrap_or_default();
        let names = |readings: &[GpuReading]| readings.iter().map(|card| card.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&readings), found.into_iter().map(|card| card.name).collect::<Vec<_>>());
    }

    #[test]
    fn a_place_on_the_bus_is_written_as_nvidia_smi_writes_it() {
        assert_eq!(bus_address(0, 0x0a, 0), "00000000:0A:00.0");
    }
}
