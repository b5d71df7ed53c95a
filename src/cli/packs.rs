//! Which pack runs: the built-in one, or a folder named by flag.

use std::path::PathBuf;

use visage_engines::{PackError, PackFiles};

use super::complaint::Complaint;
use super::embedded;
use super::flags::Flags;
use crate::backend::{Backend, Cpu};
use crate::model::portrait::Portrait;

/// The files of the pack that the flags choose.
pub fn pack_files(flags: &Flags) -> Result<PackFiles, Complaint> {
    let Some(folder) = &flags.pack else { return Ok(PackFiles::built_in(embedded::PACK)) };
    PackFiles::read(folder).map_err(|error| {
        let hint = match &error {
            PackError::Digest(_) => "get the pack again: a file of it changed since it was made",
            _ => "--pack wants a folder with pack.toml and SHA256SUMS in it",
        };
        Complaint::new(error, hint)
    })
}

/// The pack itself, its network loaded on the CPU.
pub fn open_pack(flags: &Flags) -> Result<Portrait, Complaint> {
    open_pack_on(flags, &Cpu::new(), "the pack does not fit this visage")
}

/// The pack itself, its network loaded by `backend`; where it does not load, `hint` says what to do.
pub fn open_pack_on(flags: &Flags, backend: &dyn Backend, hint: &str) -> Result<Portrait, Complaint> {
    Portrait::open(pack_files(flags)?, backend).map_err(|error| Complaint::new(error, hint))
}

/// The folder for what must be kept.
pub fn data_dir(flags: &Flags) -> PathBuf {
    flags.data_dir.clone().unwrap_or_else(platform_data_dir)
}

/// XDG's data folder on Linux, the customary ones elsewhere, the current folder where there is no home.
#[expect(clippy::disallowed_methods, reason = "the command line reads the environment")]
fn platform_data_dir() -> PathBuf {
    let of = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = || of("HOME").unwrap_or_default();
    let base = if cfg!(windows) {
        of("LOCALAPPDATA").unwrap_or_default()
    } else if cfg!(target_os = "macos") {
        home().join("Library/Application Support")
    } else {
        of("XDG_DATA_HOME").unwrap_or_else(|| home().join(".local/share"))
    };
    base.join("visage")
}
