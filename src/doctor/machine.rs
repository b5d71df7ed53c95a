//! A machine as the checks see it: facts from the probe or from a file.
//!
//! Decides which facts are known. Contains no checks, reads nothing.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};
use visage_engines::{Flavour, Version};
use visage_kernels::nvml::{GpuState, Management};

/// A machine. What is not given is not known.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Machine {
    /// What it runs.
    pub system: System,
    /// The kind of container that visage is in, if it is in one.
    pub container: Option<String>,
    /// Programs and files that give a container the GPUs.
    pub container_tools: Vec<String>,
    /// CPU cores.
    pub cores: usize,
    /// Available memory.
    pub memory_free_bytes: Option<u64>,
    /// Cards, driver and what stands between.
    pub gpu: Gpu,
    /// NVIDIA's libraries and what this program was built for.
    pub libraries: Libraries,
    /// The data folder.
    pub disk: Disk,
    /// Limits of the system.
    pub limits: Limits,
    /// Where `serve` would listen.
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
    /// Linux inside Windows: the driver is that of Windows, and there is no `/dev/nvidia*`.
    Wsl,
    /// Windows.
    Windows,
    /// macOS, which has no NVIDIA GPUs.
    #[serde(rename = "macos")]
    MacOs,
}

impl System {
    /// Whether drivers are counted as on Windows.
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
    /// It is missing; where it was searched for.
    Missing(String),
    /// It is present and failed; its message.
    Failed(String),
    /// It was queried and did not respond; the time waited, or how it ended.
    TimedOut(String),
    /// The value.
    Found(T),
}

impl<T> Probed<T> {
    /// The answer.
    pub fn found(&self) -> Option<&T> {
        match self {
            Self::Found(found) => Some(found),
            _ => None,
        }
    }
}

/// Cards, driver and what stands between.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Gpu {
    /// NVIDIA's display devices on the PCI bus.
    pub pci: Vec<String>,
    /// Those of the kernel's modules that drive them: `nvidia`, `nvidia_uvm`, `nouveau`.
    pub modules: Vec<String>,
    /// The driver in the kernel (`/proc/driver/nvidia/version`).
    pub kernel_driver: Option<Version>,
    /// The files through which it is reached.
    pub device_files: Vec<DeviceFile>,
    /// A setting of the environment that hides the GPUs.
    pub hidden_by_variable: Option<String>,
    /// How the management library took the question.
    pub management: Management,
    /// The driver version that the management library reports.
    pub driver: Option<Version>,
    /// The newest CUDA that the driver's library serves.
    pub cuda: Probed<Version>,
    /// What starting that library answered (`CUresult`).
    pub cuda_start_code: Option<i32>,
    /// Where the GPU is on the bus that CUDA names first: faces are drawn on it.
    pub first_device_bus_id: Option<String>,
    /// The GPUs that answered.
    pub devices: Vec<GpuState>,
}

impl Gpu {
    /// The GPU that faces would be drawn on with its number, or all where CUDA does not tell which that is.
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
    /// Why it could not be opened, if it could not.
    pub error: Option<String>,
}

/// NVIDIA's libraries and what this program was built for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Libraries {
    /// The flavour of TensorRT that this program was built with.
    pub built_for: Option<Flavour>,
    /// The version whose headers it was built with, or would be.
    pub tensorrt_wanted: Option<Version>,
    /// TensorRT's.
    pub tensorrt: Probed<Library>,
    /// The run-time compiler's.
    pub nvrtc: Probed<Library>,
    /// Engines in the cache, by their file's stem.
    pub engines: Vec<String>,
    /// Whether the H.264 encoder of this program uses SIMD assembly.
    pub h264_assembly: Option<bool>,
}

/// A library that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Library {
    /// Where.
    pub path: String,
    /// What it says it is.
    pub version: Version,
}

/// The data folder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Disk {
    /// Its path.
    pub folder: String,
    /// Room on its disk.
    pub free_bytes: Option<u64>,
    /// Why it cannot be written, if it cannot.
    pub error: Option<String>,
}

/// Limits of the system.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Open files of one program.
    pub open_files: Option<u64>,
    /// The most that a socket may keep of what came in.
    pub receive_buffer_bytes: Option<u64>,
    /// The most that a socket may keep of what goes out.
    pub send_buffer_bytes: Option<u64>,
}

/// Where `serve` would listen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ListenSettings {
    /// The address; `None` if `serve` is not checked.
    pub host: Option<IpAddr>,
    /// Whether the page would be https.
    pub is_https: bool,
    /// Sessions at once.
    pub max_sessions: u16,
    /// The TCP port of the page.
    pub tcp: Port,
    /// The UDP port of all media.
    pub udp: Port,
    /// What a STUN or TURN server answered.
    pub relay: Option<Relay>,
}

/// A port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Port {
    /// Its number; 0 for any.
    pub number: u16,
    /// Why it cannot be had, if it cannot.
    pub error: Option<BindError>,
}

/// Why a port cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BindError {
    /// Another program has it.
    InUse,
    /// Only the administrator may have it.
    PermissionDenied,
    /// The address is none of this machine's.
    AddressNotLocal,
    /// Something else, in the system's words.
    Other(String),
}

/// A STUN or TURN server that was asked where this machine is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Relay {
    /// As the user wrote it.
    pub address: String,
    /// Where it sees this machine.
    pub seen: Probed<SocketAddr>,
    /// The error that it answered, if it did: it is reached, and wants a password.
    pub error_code: Option<u16>,
    /// Milliseconds until it answered.
    pub took_ms: Option<u64>,
}
