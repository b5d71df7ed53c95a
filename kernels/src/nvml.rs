//! What NVML reports about every GPU, for diagnosis.
//!
//! Decides what is queried, without a verdict. A value that a GPU does not report is omitted.

use nvml_wrapper::bitmasks::device::ThrottleReasons;
use nvml_wrapper::enum_wrappers::device::{EccCounter, MemoryError, TemperatureSensor};
use nvml_wrapper::enums::device::{PowerSource, UsedGpuMemory};
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::struct_wrappers::device::ProcessInfo;
use nvml_wrapper::{Device, Nvml};
use serde::{Deserialize, Serialize};
use visage_engines::{Sm, Version};

use crate::gpus::bus_address;

/// The result of the query.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Management {
    /// Not queried.
    #[default]
    NotAsked,
    /// NVML is not installed.
    NoLibrary,
    /// NVML reports that no driver is loaded.
    NoDriver,
    /// NVML is of another version than the driver in the kernel.
    Mismatch,
    /// NVML has no permission to access the driver.
    Refused,
    /// Another error, with its message.
    Failed(String),
    /// It responded.
    Answered,
}

/// A GPU and its state. A value that it does not report is `None` or empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GpuState {
    /// Its name, such as `NVIDIA GeForce RTX 4090`.
    pub name: String,
    /// PCI bus address in the form of [`crate::gpus::bus_address`].
    pub bus_address: Option<String>,
    /// Compute capability.
    pub sm: Option<Sm>,
    /// Total memory in bytes; 0 if it is shared with the CPU or not reported.
    pub memory_bytes: u64,
    /// Free memory.
    pub memory_free_bytes: u64,
    /// Processes that use the rest.
    pub memory_users: Vec<MemoryUser>,
    /// Degrees Celsius.
    pub temperature_c: Option<u32>,
    /// Current power limit in watts.
    pub power_limit_w: Option<u32>,
    /// Default power limit in watts.
    pub power_default_w: Option<u32>,
    /// Whether the machine runs on battery.
    pub is_on_battery: Option<bool>,
    /// Throttle reasons with NVML's names.
    pub slowed_by: Vec<String>,
    /// Uncorrectable memory errors since the driver was loaded; with ECC only.
    pub ecc_errors: Option<u64>,
    /// Whether MIG mode is on.
    pub is_mig: Option<bool>,
}

/// A process that uses memory of a GPU.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MemoryUser {
    /// Its process id.
    pub pid: u32,
    /// Its program, if reported.
    pub name: String,
    /// Memory that it uses, if reported.
    pub bytes: Option<u64>,
}

/// What NVML reported.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// The result of the query.
    pub management: Management,
    /// Version of the driver.
    pub driver: Option<Version>,
    /// The GPUs that responded.
    pub gpus: Vec<GpuState>,
}

/// Queries NVML for everything.
#[must_use]
pub fn take_inventory() -> Inventory {
    let nvml = match Nvml::init() {
        Ok(nvml) => nvml,
        Err(error) => return Inventory { management: silence(&error), ..Inventory::default() },
    };
    let driver = nvml.sys_driver_version().ok().and_then(|text| text.parse().ok());
    let devices = (0..nvml.device_count().unwrap_or(0)).filter_map(|index| nvml.device_by_index(index).ok());
    let gpus = devices.map(|device| state(&nvml, &device)).collect();
    Inventory { management: Management::Answered, driver, gpus }
}

fn silence(error: &NvmlError) -> Management {
    match error {
        NvmlError::LibloadingError(_) | NvmlError::LibraryNotFound => Management::NoLibrary,
        NvmlError::DriverNotLoaded => Management::NoDriver,
        NvmlError::LibRmVersionMismatch => Management::Mismatch,
        NvmlError::NoPermission | NvmlError::OperatingSystem => Management::Refused,
        other => Management::Failed(other.to_string()),
    }
}

fn state(nvml: &Nvml, device: &Device<'_>) -> GpuState {
    let memory = device.memory_info().ok();
    let watts = |milliwatts: Result<u32, NvmlError>| milliwatts.ok().map(|milliwatts| milliwatts / 1000);
    GpuState {
        name: device.name().unwrap_or_default(),
        bus_address: device.pci_info().ok().map(|pci| bus_address(pci.domain, pci.bus, pci.device)),
        sm: device.cuda_compute_capability().ok().map(|sm| Sm::new(sm.major as u8, sm.minor as u8)),
        memory_bytes: memory.as_ref().map_or(0, |memory| memory.total),
        memory_free_bytes: memory.as_ref().map_or(0, |memory| memory.free),
        memory_users: memory_users(nvml, device),
        temperature_c: device.temperature(TemperatureSensor::Gpu).ok(),
        power_limit_w: watts(device.enforced_power_limit()),
        power_default_w: watts(device.power_management_limit_default()),
        is_on_battery: device.power_source().ok().map(|source| source == PowerSource::Battery),
        slowed_by: device.current_throttle_reasons().map(slowed_by).unwrap_or_default(),
        ecc_errors: device.total_ecc_errors(MemoryError::Uncorrected, EccCounter::Volatile).ok(),
        is_mig: device.mig_mode().ok().map(|mode| mode.current == MIG_ON),
    }
}

/// `NVML_DEVICE_MIG_ENABLE`.
const MIG_ON: u32 = 1;

fn memory_users(nvml: &Nvml, device: &Device<'_>) -> Vec<MemoryUser> {
    let computing = device.running_compute_processes().unwrap_or_default();
    let drawing = device.running_graphics_processes().unwrap_or_default();
    let user = |process: ProcessInfo| MemoryUser {
        pid: process.pid,
        name: nvml.sys_process_name(process.pid, 80).unwrap_or_default(),
        bytes: match process.used_gpu_memory {
            UsedGpuMemory::Used(bytes) => Some(bytes),
            UsedGpuMemory::Unavailable => None,
        },
    };
    let mut users: Vec<MemoryUser> = computing.into_iter().chain(drawing).map(user).collect();
    users.sort_by_key(|user| (user.pid, user.bytes));
    users.dedup_by_key(|user| user.pid);
    users
}

/// Reasons that indicate a problem; an idle GPU lowers its clocks too.
pub(crate) fn slowed_by(reasons: ThrottleReasons) -> Vec<String> {
    let wrong = ThrottleReasons::SW_POWER_CAP
        | ThrottleReasons::HW_SLOWDOWN
        | ThrottleReasons::SW_THERMAL_SLOWDOWN
        | ThrottleReasons::HW_THERMAL_SLOWDOWN
        | ThrottleReasons::HW_POWER_BRAKE_SLOWDOWN;
    (reasons & wrong).iter_names().map(|(name, _)| name.to_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_gpu_has_no_throttle_reason() {
        assert!(slowed_by(ThrottleReasons::GPU_IDLE | ThrottleReasons::SYNC_BOOST).is_empty());
        let hot = slowed_by(ThrottleReasons::GPU_IDLE | ThrottleReasons::HW_THERMAL_SLOWDOWN);
        assert_eq!(hot, ["hw_thermal_slowdown"]);
    }

    #[test]
    fn each_nvml_error_has_its_management_state() {
        assert_eq!(silence(&NvmlError::DriverNotLoaded), Management::NoDriver);
        assert_eq!(silence(&NvmlError::LibRmVersionMismatch), Management::Mismatch);
        assert_eq!(silence(&NvmlError::GpuLost), Management::Failed(NvmlError::GpuLost.to_string()));
    }
}
