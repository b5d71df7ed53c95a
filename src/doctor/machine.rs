//! A machine as the checks see it: facts from the probe or from a file.
//!
//! Decides which facts exist. Contains no checks and reads nothing.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};
use visage_engines::{Flavour, Version};
use visage_kernels::nvml::{GpuState, Management};

/// The facts of a machine. A missing fact is unknown.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Machine {
    /// Its operating system.
    pub system: System,
    /// The kind of container that visage runs in, if any.
    pub container: Option<String>,
    /// Installed tools that give containers access to GPUs.
    pub container_tools: Vec<String>,
    /// CPU cores.
    pub cores: usize,
    /// Available memory.
    pub memory_free_bytes: Option<u64>,
    /// GPUs, driver, and everything between them and visage.
    pub gpu: Gpu,
    /// NVIDIA's libraries, and what this program was built with.
    pub libraries: Libraries,
    /// The data folder.
    pub disk: Disk,
    /// Limits of the system.
    pub limits: Limits,
    /// The listening addresses of `serve`.
    pub listen: ListenSettings,
}

impl Machine {
    /// Whether any fact shows a GPU.
    #[must_use]
    pub fn has_gpu(&self) -> bool {
        let gpu = &self.gpu;
        !gpu.devices.is_empty() || !gpu.pci.is_empty() || !gpu.device_files.is_empty() || gpu.kernel_driver.is_some()
    }
}

/// An operating system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum System {
    /// Linux.
    #[default]
    Linux,
    /// Linux inside Windows (WSL): the driver is that of Windows, and `/dev/nvidia*` does not exist.
    Wsl,
    /// Windows.
    Windows,
    /// macOS, which has no NVIDIA GPUs.
    #[serde(rename = "macos")]
    MacOs,
}

impl System {
    /// Whether the driver is versioned as on Windows.
    #[must_use]
    pub fn has_windows_driver(self) -> bool {
        matches!(self, Self::Wsl | Self::Windows)
    }
}

/// The result of a query.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Probed<T> {
    /// It was not queried.
    #[default]
    NotQueried,
    /// It is missing; the places searched.
    Missing(String),
    /// It failed; its message.
    Failed(String),
    /// It did not respond; the time waited, or how it ended.
    TimedOut(String),
    /// The value.
    Found(T),
}

impl<T> Probed<T> {
    /// The value, if it was found.
    pub fn found(&self) -> Option<&T> {
        match self {
            Self::Found(found) => Some(found),
            _ => None,
        }
    }
}

/// GPUs, driver, and everything between them and visage.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Gpu {
    /// NVIDIA's display devices on the PCI bus.
    pub pci: Vec<String>,
    /// Loaded kernel modules for them: `nvidia`, `nvidia_uvm`, `nouveau`.
    pub modules: Vec<String>,
    /// The version of the driver in the kernel (`/proc/driver/nvidia/version`).
    pub kernel_driver: Option<Version>,
    /// The device files of GPU and driver.
    pub device_files: Vec<DeviceFile>,
    /// The environment variable that hides the GPUs, with its value.
    pub hidden_by_variable: Option<String>,
    /// The state of the management library (NVML).
    pub management: Management,
    /// The driver version that the management library reports.
    pub driver: Option<Version>,
    /// The newest CUDA version that the driver's library supports.
    pub cuda: Probed<Version>,
    /// The result of `cuInit` (`CUresult`).
    pub cuda_start_code: Option<i32>,
    /// The PCI bus id of the GPU that CUDA lists first, on which visage renders.
    pub first_device_bus_id: Option<String>,
    /// The GPUs that the management library reports.
    pub devices: Vec<GpuState>,
}

impl Gpu {
    /// The GPU that visage renders on, with its number, or all GPUs where CUDA does not report which one it lists first.
    #[must_use]
    pub fn checked_devices(&self) -> Vec<(usize, &GpuState)> {
        let is_first =
            |device: &GpuState| self.first_device_bus_id.is_some() && device.bus_address == self.first_device_bus_id;
        let all = || self.devices.iter().enumerate();
        all().find(|(_, device)| is_first(device)).map_or_else(|| all().collect(), |first| vec![first])
    }
}

/// A device file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeviceFile {
    /// Its path.
    pub path: String,
    /// Why it cannot be opened, if so.
    pub error: Option<String>,
}

/// NVIDIA's libraries, and what this program was built with.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Libraries {
    /// The flavour of TensorRT that this program was built with.
    pub built_for: Option<Flavour>,
    /// The TensorRT version whose headers it was, or would be, built with.
    pub tensorrt_wanted: Option<Version>,
    /// TensorRT.
    pub tensorrt: Probed<Library>,
    /// NVRTC.
    pub nvrtc: Probed<Library>,
    /// Stems of the engines in the cache.
    pub engines: Vec<String>,
    /// Whether the H.264 encoder of this program uses SIMD assembly.
    pub h264_assembly: Option<bool>,
}

/// A library that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Library {
    /// Its path.
    pub path: String,
    /// The version that it reports.
    pub version: Version,
}

/// The data folder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Disk {
    /// Its path.
    pub folder: String,
    /// Free space on its disk.
    pub free_bytes: Option<u64>,
    /// Why it cannot be written, if so.
    pub error: Option<String>,
}

/// Limits of the system.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Open files per process.
    pub open_files: Option<u64>,
    /// Maximum receive buffer of a socket.
    pub receive_buffer_bytes: Option<u64>,
    /// Maximum send buffer of a socket.
    pub send_buffer_bytes: Option<u64>,
}

/// The listening addresses of `serve`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ListenSettings {
    /// The address; `None` if `serve` is not checked.
    pub host: Option<IpAddr>,
    /// Whether the page is served over https.
    pub is_https: bool,
    /// Maximum number of sessions.
    pub max_sessions: u16,
    /// The TCP port of the page.
    pub tcp: Port,
    /// The UDP port of all media.
    pub udp: Port,
    /// The STUN or TURN server, if one is configured.
    pub relay: Option<Relay>,
}

/// A port to listen on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Port {
    /// Its number; 0 for any.
    pub number: u16,
    /// Why it cannot be bound, if so.
    pub error: Option<BindError>,
}

/// Why a port cannot be bound.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BindError {
    /// Another program uses it.
    InUse,
    /// It requires root.
    PermissionDenied,
    /// The address does not belong to this machine.
    AddressNotLocal,
    /// Any other error, in the system's words.
    Other(String),
}

/// A STUN or TURN server and its answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Relay {
    /// Its address as configured.
    pub address: String,
    /// This machine's address as the server reports it.
    pub seen: Probed<SocketAddr>,
    /// The error code that it answered with: it is reachable but requires credentials.
    pub error_code: Option<u16>,
    /// Response time in milliseconds.
    pub took_ms: Option<u64>,
}
