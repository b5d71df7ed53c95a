//! Which pack runs: the built-in one, or a folder named by flag.

use std::ffi::OsString;
use std::path::PathBuf;

use visage_engines::cache::Engine;
use visage_engines::{PackError, PackFiles, search_paths};

use super::error::CliError;
use super::flags::{BackendChoice, Flags};
use super::{embedded, engine};
use crate::model::portrait::Portrait;

/// The files of the selected pack.
pub fn pack_files(flags: &Flags) -> Result<PackFiles, CliError> {
    let Some(folder) = &flags.pack else { return Ok(PackFiles::built_in(embedded::PACK)) };
    PackFiles::read(folder).map_err(|error| {
        let hint = match &error {
            PackError::Digest(_) => "get the pack again: one of its files has changed",
            _ => "--pack needs a folder with pack.toml and SHA256SUMS",
        };
        CliError::new(error, hint)
    })
}

/// Opens the pack, with its network loaded by the selected backend for up to this many sessions; `engines` are
/// those compiled for the GPUs named or present, and are marked verified once they were opened.
pub fn open_pack(
    flags: &Flags,
    backend: BackendChoice,
    sessions: usize,
    engines: Vec<Engine>,
) -> Result<Portrait, CliError> {
    let hint = match backend {
        BackendChoice::Cpu => "this version of visage does not support the pack",
        BackendChoice::Tensorrt => "visage doctor shows what is wrong with the GPU; --backend cpu needs none",
    };
    let opened = Portrait::open(pack_files(flags)?, &*engine::open_backend(backend, sessions, engines.clone(), flags)?);
    let pack = opened.map_err(|error| CliError::new(error, hint))?;
    engines.iter().for_each(Engine::mark_verified);
    Ok(pack)
}

/// The data folder.
pub fn data_dir(flags: &Flags) -> PathBuf {
    flags.data_dir.clone().unwrap_or_else(|| search_paths::data_dir(&environment))
}

/// A variable of the environment, for modules that may not read it.
#[expect(clippy::disallowed_methods, reason = "the command line reads the environment")]
pub fn environment(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}
