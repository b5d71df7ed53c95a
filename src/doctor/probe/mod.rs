//! Probes this machine: the only part of `doctor` that reads files, opens sockets and queries libraries.
//!
//! Decides what is read; the checks decide what it means. The caller passes the environment variables.

mod files;
mod libraries;
mod ports;
pub mod relay;
mod stun;
pub mod subprocess;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::thread;

use visage_kernels::{disk, h264};

use super::Target;
use super::machine::{Disk, Machine};

/// What to probe, and facts from the environment.
#[derive(Clone, Debug, Default)]
pub struct ProbeOptions {
    /// The data folder.
    pub data_dir: PathBuf,
    /// The path of TensorRT, if the user named one.
    pub tensorrt_lib: Option<PathBuf>,
    /// The path of NVRTC, if the user named one.
    pub nvrtc_lib: Option<PathBuf>,
    /// Where Python environments may be.
    pub python_roots: Vec<PathBuf>,
    /// This program's executable, to query the driver's libraries in subprocesses.
    pub program: Option<PathBuf>,
    /// The environment variable that hides the GPUs, with its value.
    pub hidden_by_variable: Option<String>,
    /// The environment variable that selects the GPUs for CUDA, with its value.
    pub visible_devices_variable: Option<String>,
    /// The kind of container that the environment shows.
    pub container: Option<String>,
    /// The listening addresses of `serve`, if they are checked.
    pub listen: Option<ListenOptions>,
}

/// The listening addresses of `serve`.
#[derive(Clone, Copy, Debug)]
pub struct ListenOptions {
    /// The address.
    pub host: IpAddr,
    /// The TCP port.
    pub port: u16,
    /// The UDP port.
    pub udp_port: u16,
    /// Whether the page is served over https.
    pub is_https: bool,
    /// Maximum number of sessions.
    pub max_sessions: u16,
}

/// Probes everything. Takes as long as the libraries take to load.
#[must_use]
pub fn look(options: &ProbeOptions) -> Machine {
    let mut machine = probe_files(options);
    machine.listen = options.listen.map(ports::try_ports).unwrap_or_default();
    libraries::look(options, &mut machine);
    machine
}

/// Probes what must work before `target` starts. For the CPU that is a few small files: no GPU is woken, no library
/// loaded, no port bound.
#[must_use]
pub fn probe_before_start(options: &ProbeOptions, target: Target) -> Machine {
    let mut machine = match target {
        Target::Cpu => Machine { limits: files::limits(Path::new("/")), ..Machine::default() },
        Target::Gpu => probe_files(options),
    };
    machine.listen = options.listen.map(ports::look).unwrap_or_default();
    machine.libraries.h264_assembly = Some(h264::has_assembly());
    if target == Target::Gpu {
        libraries::look(options, &mut machine);
    }
    machine
}

fn probe_files(options: &ProbeOptions) -> Machine {
    let mut machine = files::read(Path::new("/"));
    machine.cores = thread::available_parallelism().map_or(0, std::num::NonZero::get);
    machine.memory_free_bytes = visage_engines::memory::free_bytes();
    machine.gpu.hidden_by_variable.clone_from(&options.hidden_by_variable);
    machine.container = machine.container.or_else(|| options.container.clone());
    machine.disk = Disk {
        folder: options.data_dir.display().to_string(),
        free_bytes: disk::free_bytes(files::nearest(&options.data_dir)),
        error: files::error(&options.data_dir),
    };
    machine.libraries.h264_assembly = Some(h264::has_assembly());
    machine.libraries.engines = files::engines(&options.data_dir.join("engines"));
    machine
}
