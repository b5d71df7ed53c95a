//! Which pack runs: the built-in one, or a folder named by flag.

use std::ffi::OsString;
use std::path::PathBuf;

use visage_engines::{PackError, PackFiles, places};

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
    flags.data_dir.clone().unwrap_or_else(|| places::data_dir(&environment))
}

/// A variable of the environment, for whoever may not read it.
#[expect(clippy::disallowed_methods, reason = "the command line reads the environment")]
pub fn environment(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}
