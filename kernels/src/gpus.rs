//! Which NVIDIA cards there are, as the driver's management library tells. Loads it at run time; needs no toolkit.

use nvml_wrapper::Nvml;
use nvml_wrapper::error::NvmlError;
use serde::Serialize;
use visage_engines::Sm;

/// An NVIDIA graphics card.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Card {
    /// Its name, such as `NVIDIA GeForce RTX 4090`.
    pub name: String,
    /// Compute capability.
    pub sm: Sm,
    /// Memory in bytes; 0 where it is the machine's own, or not told.
    pub memory_bytes: u64,
    /// Version of the driver.
    pub driver: String,
}

/// A place on the PCI bus as nvidia-smi writes it. CUDA and NVML number cards each in their own order, and one of them may be
/// shown fewer; the address is the same for both.
#[must_use]
pub fn bus_address(domain: u32, bus: u32, device: u32) -> String {
    format!("{domain:08X}:{bus:02X}:{device:02X}.0")
}

/// The cards of this machine; none where there is no driver, or one that does not answer.
#[must_use]
pub fn find_gpus() -> Vec<Card> {
    read_cards().unwrap_or_default()
}

fn read_cards() -> Result<Vec<Card>, NvmlError> {
    let nvml = Nvml::init()?;
    let driver = nvml.sys_driver_version()?;
    let card = |index| -> Result<Card, NvmlError> {
        let device = nvml.device_by_index(index)?;
        let sm = device.cuda_compute_capability()?;
        Ok(Card {
            name: device.name()?,
            sm: Sm::new(sm.major as u8, sm.minor as u8),
            memory_bytes: device.memory_info().map_or(0, |memory| memory.total),
            driver: driver.clone(),
        })
    };
    // One that does not answer hides none of the others.
    Ok((0..nvml.device_count()?).filter_map(|index| card(index).ok()).collect())
}
