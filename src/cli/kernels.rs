//! `visage kernels`: compiles CUDA kernels ahead of time, lists them, and compares them with their CPU references on a GPU.

use serde_json::{Value, json};
use visage_engines::Sm;
use visage_engines::cubins::Cubins;
use visage_engines::search_paths::python_roots;
use visage_kernels::Kernels;
use visage_kernels::cuda::{Device, Driver, LIBRARY};
use visage_kernels::libraries::nvrtc_places;
use visage_kernels::nvrtc::{self, CompileError, Nvrtc, NvrtcError, Obtained};
use visage_kernels::reference;

use super::engine_build::local_sms;
use super::error::CliError;
use super::flags::{Flags, KernelBuildFlags, KernelsCommand, ListFlags, NvrtcFlags};
use super::lists::print_rows;
use super::packs::{data_dir, environment};
use crate::time::Wall;

/// Does what `visage kernels` is asked for.
pub fn run(flags: &Flags, wanted: &KernelsCommand) -> Result<(), CliError> {
    let cubins = Cubins::open(data_dir(flags).join("kernels"))
        .map_err(|error| CliError::new(error, "--data-dir names another folder"))?;
    match wanted {
        KernelsCommand::Build(wanted) => build(wanted, &cubins),
        KernelsCommand::List(list) => {
            list_kernels(list, &cubins);
            Ok(())
        }
        KernelsCommand::Check(wanted) => check(wanted, &cubins),
    }
}

fn load(wanted: &NvrtcFlags) -> Result<Nvrtc, NvrtcError> {
    Nvrtc::load(&nvrtc_places(wanted.library.nvrtc_lib.as_deref(), &python_roots(&environment)))
}

fn build(wanted: &KernelBuildFlags, cubins: &Cubins) -> Result<(), CliError> {
    let sms = if wanted.sm.is_empty() { local_sms() } else { wanted.sm.clone() };
    if sms.is_empty() {
        return Err(CliError::message(
            "no GPU in this machine to compile for",
            "name them: visage kernels build --sm 8.9",
        ));
    }
    let compiler = load(&wanted.nvrtc)?;
    let mut made = Vec::new();
    for sm in sms {
        for source in reference::Source::ALL {
            let started = Wall.now();
            let obtained = nvrtc::obtain(source, sm, &compiler, cubins).map_err(with_hint)?;
            let seconds = Wall.now().duration_since(started).as_secs_f64();
            made.push(row(source, sm, &obtained, seconds));
        }
    }
    print_rows(&ListFlags { json: wanted.nvrtc.json }, &made, &["source", "sm", "kilobytes", "seconds", "state"]);
    Ok(())
}

fn row(source: reference::Source, sm: Sm, obtained: &Obtained, seconds: f64) -> Value {
    if let Some(damage) = &obtained.damage {
        eprintln!("compiled again: {}: {damage}", obtained.stored.path.display());
    }
    let bytes = obtained.cubin.bytes().len();
    json!({
        "source": source.name(), "sm": sm.to_string(), "path": obtained.stored.path, "bytes": bytes,
        "kilobytes": bytes.div_ceil(1000), "seconds": (seconds * 1000.0).round() / 1000.0,
        "state": if obtained.was_compiled { "compiled" } else { "exists" },
        "nvrtc": obtained.stored.sidecar.key.version.to_string(),
    })
}

fn list_kernels(list: &ListFlags, cubins: &Cubins) {
    let compiled = |source: reference::Source| {
        let is_there = |sm: &Sm| nvrtc::kept(source, *sm, cubins).is_some();
        Sm::KNOWN.into_iter().filter(is_there).map(|sm| sm.to_string()).collect::<Vec<_>>().join(",")
    };
    let by_source = reference::Source::ALL.map(|source| (source, compiled(source)));
    let rows = reference::kernels().map(|kernel| {
        let sms = by_source.iter().find(|(source, _)| *source == kernel.source).map_or("", |(_, sms)| sms);
        json!({ "kernel": kernel.name, "source": kernel.source.name(), "compiled_for": if sms.is_empty() { "-" } else { sms } })
    });
    print_rows(list, &rows.collect::<Vec<_>>(), &["kernel", "source", "compiled_for"]);
}

/// Runs every check of every kernel on the first GPU.
fn check(wanted: &NvrtcFlags, cubins: &Cubins) -> Result<(), CliError> {
    let device = Device::open(&Driver::open(LIBRARY.as_ref())?, 0)?;
    let all = nvrtc::obtain_all(device.sm()?, || load(wanted), cubins).map_err(with_hint)?;
    let kernels = Kernels::load(&device, &all)?;
    let mut rows: Vec<Value> = Vec::new();
    for check in reference::check::checks()? {
        let name = check.launch.kernel().name;
        for verdict in kernels.run_check(&device, &check)? {
            let before = rows.iter_mut().find(|row| row["kernel"] == name);
            let worst = before.as_ref().map_or(0.0, |row| row["error"].as_f64().unwrap_or(f64::INFINITY));
            let is_passed = verdict.is_passed() && before.as_ref().is_none_or(|row| row["state"] == "passed");
            let state = if is_passed { "passed" } else { "failed" };
            let row = json!({ "kernel": name, "error": worst.max(verdict.error), "state": state });
            match before {
                Some(before) => *before = row,
                None => rows.push(row),
            }
        }
    }
    print_rows(&ListFlags { json: wanted.json }, &rows, &["kernel", "error", "state"]);
    if rows.iter().all(|row| row["state"] == "passed") {
        return Ok(());
    }
    Err(CliError::message(
        "some kernels differ from their CPU reference implementations",
        "a GPU that computes wrongly is faulty or overclocked: try its default clocks, then report it",
    ))
}

fn with_hint(error: CompileError) -> CliError {
    let hint = match &error {
        CompileError::UnknownSm { .. } => "GPUs from 7.5 on are served; 10.0 and newer need NVRTC 12.8 or newer",
        CompileError::Cache(_) => "make room, or name another folder with --data-dir",
        CompileError::NoCompiler { .. } => "or compile them on another machine: visage kernels build --sm 8.9",
        CompileError::Source { .. } | CompileError::Cubin { .. } => {
            "another NVRTC may do: visage kernels build --nvrtc-lib"
        }
    };
    CliError::new(error, hint)
}
