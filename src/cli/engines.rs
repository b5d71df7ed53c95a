//! `visage engines`: compiles engines with a progress bar, and manages the folder of engines.

use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use visage_engines::cache::{Cache, CacheEntry, Found};
use visage_engines::compile::{Planned, Watch};
use visage_engines::memory;

use super::engine_build::{EngineBuild, Made, check_memory, describe, gpus, open_cache};
use super::error::CliError;
use super::flags::{BuildFlags, EnginesCommand, Flags, ListFlags, PruneFlags};
use super::lists::print_rows;
use super::packs::pack_files;
use crate::time::Wall;

/// Does what `visage engines` is asked for.
pub fn run(flags: &Flags, wanted: &EnginesCommand) -> Result<(), CliError> {
    let cache = open_cache(flags)?;
    match wanted {
        EnginesCommand::Build(wanted) => build(flags, wanted, &cache),
        EnginesCommand::Parity(wanted) => super::parity::run(flags, wanted),
        EnginesCommand::List(list) => {
            print_rows(list, &rows(&cache.list()?), COLUMNS);
            Ok(())
        }
        EnginesCommand::Verify(list) => verify(list, &cache),
        EnginesCommand::Prune(wanted) => prune(wanted, &cache),
        EnginesCommand::Path(list) => {
            let path = cache.folder().display().to_string();
            println!("{}", if list.json { json!({ "path": path }).to_string() } else { path });
            Ok(())
        }
    }
}

const COLUMNS: &[&str] = &["engine", "megabytes", "state"];

fn rows(entry: &[CacheEntry]) -> Vec<Value> {
    let row = |entry: &CacheEntry| {
        let state = match &entry.damage {
            _ if entry.is_being_built => "being built".to_owned(),
            Some(damage) => damage.to_string(),
            None => "ok".to_owned(),
        };
        json!({
            "engine": entry.stem, "megabytes": megabytes(entry.size_bytes), "state": state,
            "bytes": entry.size_bytes, "is_damaged": is_damaged(entry), "key": entry.key,
        })
    };
    entry.iter().map(row).collect()
}

fn is_damaged(entry: &CacheEntry) -> bool {
    entry.damage.is_some() && !entry.is_being_built
}

fn megabytes(bytes: u64) -> u64 {
    bytes.div_ceil(1_000_000)
}

fn gigabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e9
}

fn verify(list: &ListFlags, cache: &Cache) -> Result<(), CliError> {
    let all = cache.verify(&mut |stem| eprintln!("verifying {stem}"))?;
    print_rows(list, &rows(&all), COLUMNS);
    let damaged = all.iter().filter(|entry| is_damaged(entry)).count();
    if damaged == 0 {
        return Ok(());
    }
    Err(CliError::message(
        format!("{damaged} engines are damaged"),
        "they are in quarantine and are compiled again when needed, or now: visage engines build",
    ))
}

fn prune(wanted: &PruneFlags, cache: &Cache) -> Result<(), CliError> {
    let pruned = cache.prune(wanted.keep.bytes())?;
    if wanted.json {
        println!("{}", json!(pruned));
        return Ok(());
    }
    pruned.removed.iter().for_each(|stem| println!("removed {stem}"));
    println!("freed {:.2} GB, {:.2} GB kept", gigabytes(pruned.freed_bytes), gigabytes(pruned.left_bytes));
    Ok(())
}

fn build(flags: &Flags, wanted: &BuildFlags, cache: &Cache) -> Result<(), CliError> {
    let (began, sms) = (Wall.date(), gpus(&wanted.gpu)?);
    let pack = pack_files(flags)?;
    let build = EngineBuild::open(&wanted.gpu.library, &pack, cache)?;
    let planned = build.plan(sms, wanted.precision)?;
    let list = ListFlags { json: wanted.json };
    if wanted.dry_run {
        print_rows(&list, &planned.iter().map(planned_row).collect::<Vec<_>>(), PLANNED);
        return Ok(());
    }
    check_memory(&planned)?;
    let runtime = Runtime::new()?;
    let stop = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&stop);
    super::serve::on_signal(&runtime, move || {
        seen.store(true, Ordering::Relaxed);
        eprintln!("stopping after the current step");
    })?;
    let mut rows = Vec::new();
    for planned in &planned {
        rows.push(result_row(planned, &build_with_progress(&build, planned, &stop)?));
    }
    print_rows(&list, &rows, &["engine", "megabytes", "seconds", "state"]);
    let gone = cache.thin_out(wanted.gpu.keep.bytes(), began)?.removed;
    gone.iter().for_each(|stem| eprintln!("removed {stem}: more than {} GB", wanted.gpu.keep.keep_gb));
    Ok(())
}

const PLANNED: &[&str] = &["engine", "state", "seconds", "memory_megabytes"];

fn planned_row(planned: &Planned<'_>) -> Value {
    let state = match &planned.found {
        Found::Engine(_) => "exists".to_owned(),
        Found::Nothing => "missing".to_owned(),
        Found::Damaged(damage) => format!("damaged: {damage}"),
    };
    json!({
        "engine": planned.key.stem(), "state": state, "seconds": planned.seconds,
        "memory_megabytes": megabytes(planned.memory_bytes), "free_megabytes": memory::free_bytes().map(megabytes),
        "key": planned.key,
    })
}

/// Compiles with a progress bar.
fn build_with_progress(
    build: &EngineBuild<'_>,
    planned: &Planned<'_>,
    stop: &Arc<AtomicBool>,
) -> Result<Made, CliError> {
    let bar = bar(planned);
    if planned.is_missing() {
        let free = memory::free_bytes().map_or_else(String::new, |free| format!(", {:.1} GB free", gigabytes(free)));
        eprintln!(
            "{}: about {} s and {:.1} GB of memory{free}",
            planned.key.stem(),
            planned.seconds,
            gigabytes(planned.memory_bytes)
        );
    }
    let (shown, stop) = (bar.clone(), Arc::clone(stop));
    let watch: Watch = Arc::new(move |progress| {
        shown.set_message(format!("{}, {} of {}", progress.stage, progress.done, progress.of));
        if stop.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    let made = build.make(
        planned,
        &|step| describe(step).into_iter().for_each(|line| bar.suspend(|| eprintln!("{line}"))),
        &watch,
    );
    bar.finish_and_clear();
    made
}

/// A bar of the estimated time: phases are nested, and their counts do not add up.
fn bar(planned: &Planned<'_>) -> ProgressBar {
    let expected_seconds = planned.seconds.max(1);
    let template = format!("{{prefix}}  {{share}} {{elapsed}} of about {expected_seconds} s  {{msg}}");
    let share = move |state: &ProgressState, out: &mut dyn fmt::Write| {
        let full = (BAR_WIDTH as f64 * state.elapsed().as_secs_f64() / expected_seconds as f64) as usize;
        let full = full.min(BAR_WIDTH - 1);
        // A closed terminal is noticed when the rest is drawn.
        let _ = write!(out, "{}{}", "█".repeat(full), "░".repeat(BAR_WIDTH - full));
    };
    let style = ProgressStyle::with_template(&template).expect("a template that is known").with_key("share", share);
    let bar = ProgressBar::no_length().with_style(style);
    bar.set_prefix(planned.key.stem());
    bar.enable_steady_tick(REDRAW_INTERVAL);
    bar
}

/// Width of a bar, and its refresh interval.
const BAR_WIDTH: usize = 20;
const REDRAW_INTERVAL: Duration = Duration::from_millis(250);

fn result_row(planned: &Planned<'_>, made: &Made) -> Value {
    let sidecar = &made.engine.sidecar;
    json!({
        "engine": planned.key.stem(), "path": made.engine.path, "bytes": sidecar.size_bytes,
        "megabytes": megabytes(sidecar.size_bytes), "seconds": (made.took.as_secs_f64() * 10.0).round() / 10.0,
        "state": if made.was_built { "built" } else { "exists" }, "peak_memory_bytes": sidecar.built.peak_memory_bytes,
        "activation_bytes": sidecar.built.activation_bytes,
    })
}
