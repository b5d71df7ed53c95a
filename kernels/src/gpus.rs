//! Lists the NVIDIA GPUs through NVML, which is loaded at run time. Needs no CUDA toolkit.

use nvml_wrapper::Nvml;
use nvml_wrapper::error::NvmlError;
use serde::Serialize;
use visage_engines::Sm;

/// An NVIDIA GPU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Gpu {
    /// Its name, such as `NVIDIA GeForce RTX 4090`.
    pub name: String,
    /// Compute capability.
    pub sm: Sm,
    /// Memory in bytes; 0 if it is shared with the CPU or not reported.
    pub memory_bytes: u64,
    /// Version of the driver.
    pub driver: String,
}

/// A PCI bus address in the form of nvidia-smi. CUDA and NVML enumerate GPUs in different orders and may see different
/// subsets; the address is the same for both.
#[must_use]
pub fn bus_address(domain: u32, bus: u32, device: u32) -> String {
    format!("{domain:08X}:{bus:02X}:{device:02X}.0")
}

/// The GPUs of this machine; empty without a driver that responds.
#[must_use]
pub fn find_gpus() -> Vec<Gpu> {
    read_gpus().unwrap_or_default()
}

fn read_gpus() -> Result<Vec<Gpu>, NvmlError> {
    let nvml = Nvml::init()?;
    let driver = nvml.sys_driver_version()?;
    let gpu = |index| -> Result<Gpu, NvmlError> {
        let device = nvml.device_by_index(index)?;
        let sm = device.cuda_compute_capability()?;
        Ok(Gpu {
            name: device.name()?,
            sm: Sm::new(sm.major as u8, sm.minor as u8),
            memory_bytes: device.memory_info().map_or(0, |memory| memory.total),
            driver: driver.clone(),
        })
    };
    // A GPU that does not answer does not hide the others.
    Ok((0..nvml.device_count()?).filter_map(|index| gpu(index).ok()).collect())
}
