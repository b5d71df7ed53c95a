//! Periodic readings of all GPUs through NVML.
//!
//! Decides what is read. Callers decide when, and what follows. A GPU that stops answering stays in the list with an error.

use nvml_wrapper::enum_wrappers::device::{Clock, TemperatureSensor};
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml};
use serde::{Deserialize, Serialize};
use visage_engines::Sm;

use crate::gpus::bus_address;
use crate::nvml::slowed_by;

/// One GPU at one moment. A value that it does not report is `None`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GpuReading {
    /// Its number in the order of the bus, from 0.
    pub index: u32,
    /// Its name, such as `NVIDIA GeForce RTX 4090`.
    pub name: String,
    /// PCI bus address in the form of [`bus_address`].
    pub bus_address: Option<String>,
    /// NVML's error if the GPU does not answer; every other value is `None` then.
    pub error: Option<String>,
    /// Degrees Celsius of the chip.
    pub temperature_c: Option<u32>,
    /// Total memory in bytes.
    pub memory_bytes: Option<u64>,
    /// Memory in use; what the driver reserves is neither used nor free.
    pub memory_used_bytes: Option<u64>,
    /// Free memory.
    pub memory_free_bytes: Option<u64>,
    /// Share of the last sampling period in which a kernel ran.
    pub utilization_percent: Option<u32>,
    /// Share of the last sampling period in which memory was read or written.
    pub memory_utilization_percent: Option<u32>,
    /// Share of the last sampling period in which the video encoder ran.
    pub encoder_utilization_percent: Option<u32>,
    /// Power draw in watts.
    pub power_w: Option<f64>,
    /// Power limit in watts.
    pub power_limit_w: Option<f64>,
    /// Clock of the streaming multiprocessors.
    pub sm_clock_mhz: Option<u32>,
    /// Clock of its memory.
    pub memory_clock_mhz: Option<u32>,
    /// Throttle reasons with NVML's names, without idle.
    pub throttle_reasons: Vec<String>,
    /// Video encoder sessions of all processes.
    pub encoder_sessions: Option<u32>,
}

/// The GPUs of this machine, read on demand.
#[derive(Debug)]
pub struct GpuWatch {
    /// `None` if the library was closed to be reopened and did not open.
    nvml: Option<Nvml>,
    /// Constant values of each GPU: index, name, bus address.
    known: Vec<GpuReading>,
    /// The first GPU's compute capability.
    first_sm: Option<Sm>,
    /// Consecutive readings in which a GPU did not answer.
    silent_readings: u32,
}

/// A GPU that was lost and came back answers only after NVML is reopened: it is reopened after this many failed readings.
const SILENT_READINGS: u32 = 5;

impl GpuWatch {
    /// Opens NVML. `None` without a driver or a GPU.
    #[must_use]
    pub fn open() -> Option<Self> {
        let nvml = Nvml::init().ok()?;
        let count = nvml.device_count().ok().filter(|count| *count > 0)?;
        let known = (0..count).map(|index| known(&nvml, index)).collect();
        let first_sm = nvml.device_by_index(0).and_then(|device| device.cuda_compute_capability()).ok();
        let first_sm = first_sm.map(|sm| Sm::new(sm.major as u8, sm.minor as u8));
        Some(Self { nvml: Some(nvml), known, first_sm, silent_readings: 0 })
    }

    /// Name and compute capability of the first GPU, if it reported them.
    #[must_use]
    pub fn first(&self) -> Option<(&str, Sm)> {
        Some((self.known.first()?.name.as_str(), self.first_sm?))
    }

    /// Reads every GPU that was present when the watch was opened. Takes milliseconds; a faulty driver can block much longer.
    #[must_use]
    pub fn read(&mut self) -> Vec<GpuReading> {
        if self.silent_readings >= SILENT_READINGS {
            self.reopen();
        }
        let readings: Vec<GpuReading> = self.known.iter().map(|known| self.read_one(known)).collect();
        let is_silent = readings.iter().any(|reading| reading.error.is_some());
        self.silent_readings = if is_silent { self.silent_readings + 1 } else { 0 };
        readings
    }

    fn reopen(&mut self) {
        self.silent_readings = 0;
        // NVML counts its users: only closing the last handle unloads it.
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
    let memory = required(device.memory_info())?;
    let busy = optional(device.utilization_rates())?;
    let watts = |milliwatts: u32| f64::from(milliwatts) / 1000.0;
    Ok(GpuReading {
        temperature_c: optional(device.temperature(TemperatureSensor::Gpu))?,
        memory_bytes: memory.as_ref().map(|memory| memory.total),
        memory_used_bytes: memory.as_ref().map(|memory| memory.used),
        memory_free_bytes: memory.as_ref().map(|memory| memory.free),
        utilization_percent: busy.as_ref().map(|busy| busy.gpu),
        memory_utilization_percent: busy.as_ref().map(|busy| busy.memory),
        encoder_utilization_percent: optional(device.encoder_utilization())?.map(|encoder| encoder.utilization),
        power_w: optional(device.power_usage())?.map(watts),
        power_limit_w: optional(device.enforced_power_limit())?.map(watts),
        sm_clock_mhz: optional(device.clock_info(Clock::SM))?,
        memory_clock_mhz: optional(device.clock_info(Clock::Memory))?,
        throttle_reasons: optional(device.current_throttle_reasons())?.map(slowed_by).unwrap_or_default(),
        encoder_sessions: optional(device.encoder_sessions())?.map(|sessions| sessions.len() as u32),
        ..known
    })
}

/// A value that the GPU cannot report is `None`; a lost GPU or driver is an error.
fn optional<T>(answer: Result<T, NvmlError>) -> Result<Option<T>, NvmlError> {
    use NvmlError::{DriverNotLoaded, GpuLost, ResetRequired, Uninitialized};
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(error @ (GpuLost | ResetRequired | Uninitialized | DriverNotLoaded)) => Err(error),
        Err(_not_reported) => Ok(None),
    }
}

/// As [`optional`], for a value that every healthy GPU reports: any error other than "not supported" means a lost GPU.
fn required<T>(answer: Result<T, NvmlError>) -> Result<Option<T>, NvmlError> {
    use NvmlError::{FailedToLoadSymbol, NoPermission, NotSupported};
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(NotSupported | NoPermission | FailedToLoadSymbol(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unsupported_value_is_none_and_a_lost_gpu_is_an_error() {
        assert!(matches!(optional::<u32>(Err(NvmlError::NotSupported)), Ok(None)));
        assert!(matches!(optional::<u32>(Err(NvmlError::Unknown)), Ok(None)));
        assert!(matches!(required::<u32>(Err(NvmlError::NotSupported)), Ok(None)));
        assert!(matches!(required::<u32>(Err(NvmlError::Unknown)), Err(NvmlError::Unknown)));
        assert!(matches!(optional::<u32>(Err(NvmlError::GpuLost)), Err(NvmlError::GpuLost)));
        assert!(matches!(optional(Ok(71)), Ok(Some(71))));
    }

    #[test]
    fn a_watch_opens_only_on_machines_with_gpus() {
        let found = crate::find_gpus();
        let watch = GpuWatch::open();
        let readings = watch.map(|mut watch| watch.read()).unwrap_or_default();
        let names = |readings: &[GpuReading]| readings.iter().map(|reading| reading.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&readings), found.into_iter().map(|reading| reading.name).collect::<Vec<_>>());
    }

    #[test]
    fn bus_addresses_have_the_format_of_nvidia_smi() {
        assert_eq!(bus_address(0, 0x0a, 0), "00000000:0A:00.0");
    }
}
