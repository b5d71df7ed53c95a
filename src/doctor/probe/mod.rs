//! Looks at this machine: the one module of this room that reads files, opens sockets and asks libraries.
//!
//! Decides what is read. What it means, the checks say. Environment variables come from the command line.

mod files;
mod libraries;
mod ports;
pub mod relay;
mod stun;
pub mod subprocess;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::thread;

use visage_kernels::disk;

use super::Target;
use super::machine::{Disk, Machine};

/// What to look at, and what the environment says.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// The folder for what must be kept.
    pub data_dir: PathBuf,
    /// Where TensorRT is, if the user says.
    pub tensorrt_lib: Option<PathBuf>,
    /// Where NVRTC is, if the user says.
    pub nvrtc_lib: Option<PathBuf>,
    /// Where Python environments may be.
    pub python_roots: Vec<PathBuf>,
    /// This program, if children of it shall ask the driver's libraries.
    pub program: Option<PathBuf>,
    /// A setting that hides the cards.
    pub hidden_by: Option<String>,
    /// The setting that says which cards CUDA may see, whatever it says.
    pub seen_by: Option<String>,
    /// The kind of container that the environment tells of.
    pub container: Option<String>,
    /// Where `serve` would listen.
    pub door: Option<DoorAsked>,
}

/// Where `serve` would listen.
#[derive(Clone, Copy, Debug)]
pub struct DoorAsked {
    /// The address.
    pub host: IpAddr,
    /// The TCP port.
    pub port: u16,
    /// The UDP port.
    pub udp_port: u16,
    /// Whether the page would be https.
    pub is_https: bool,
    /// Sessions at once.
    pub max_sessions: u16,
}

/// Looks at everything. Takes as long as the libraries take to load.
#[must_use]
pub fn look(asked: &Asked) -> Machine {
    let mut machine = look_at_files(asked);
    machine.door = asked.door.map(ports::look_at_ports).unwrap_or_default();
    libraries::look(asked, &mut machine);
    machine
}

/// Looks at what matters before `target` begins to draw. On the CPU that is a few small files: no card is woken, no library
/// loaded, no port touched.
#[must_use]
pub fn look_before_start(asked: &Asked, target: Target) -> Machine {
    let mut machine = match target {
        Target::CpuBackend => Machine { limits: files::limits(Path::new("/")), ..Machine::default() },
        Target::Gpu => look_at_files(asked),
    };
    machine.door = asked.door.map(ports::look).unwrap_or_default();
    if target == Target::Gpu {
        libraries::look(asked, &mut machine);
    }
    machine
}

fn look_at_files(asked: &Asked) -> Machine {
    let mut machine = files::read(Path::new("/"));
    machine.cores = thread::available_parallelism().map_or(0, std::num::NonZero::get);
    machine.memory_free_bytes = visage_engines::memory::free_bytes();
    machine.gpu.hidden_by.clone_from(&asked.hidden_by);
    machine.container = machine.container.or_else(|| asked.container.clone());
    machine.disk = Disk {
        folder: asked.data_dir.display().to_string(),
        free_bytes: disk::free_bytes(files::nearest(&asked.data_dir)),
        refused: files::refused(&asked.data_dir),
    };
    machine.libraries.engines = files::engines(&asked.data_dir.join("engines"));
    machine
}
