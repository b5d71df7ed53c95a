//! `visage engines`: what to compile for which cards, told while it happens, and the folder of engines in order.

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

use super::engine_build::{EngineBuild, Made, cards, check_memory, open_cache, told};
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

fn rows(stocked: &[CacheEntry]) -> Vec<Value> {
    let row = |stocked: &CacheEntry| {
        let state = match &stocked.damage {
            _ if stocked.is_being_built => "being built".to_owned(),
            Some(damage) => damage.to_string(),
            None => "whole".to_owned(),
        };
        json!({
            "engine": stocked.stem, "megabytes": megabytes(stocked.size_bytes), "state": state,
            "bytes": stocked.size_bytes, "is_damaged": is_damaged(stocked), "key": stocked.key,
        })
    };
    stocked.iter().map(row).collect()
}

fn is_damaged(stocked: &CacheEntry) -> bool {
    stocked.damage.is_some() && !stocked.is_being_built
}

fn megabytes(bytes: u64) -> u64 {
    bytes.div_ceil(1_000_000)
}

fn gigabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e9
}

fn verify(list: &ListFlags, cache: &Cache) -> Result<(), CliError> {
    let all = cache.verify(&mut |stem| eprintln!("reading {stem}"))?;
    print_rows(list, &rows(&all), COLUMNS);
    let damaged = all.iter().filter(|stocked| is_damaged(stocked)).count();
    if damaged == 0 {
        return Ok(());
    }
    Err(CliError::said(
        format!("wanted whole engines, found {damaged} damaged"),
        "they were put aside and are compiled anew when needed, or now: visage engines build",
    ))
}

fn prune(wanted: &PruneFlags, cache: &Cache) -> Result<(), CliError> {
    let pruned = cache.prune(wanted.keep.bytes())?;
    if wanted.json {
        println!("{}", json!(pruned));
        return Ok(());
    }
    pruned.removed.iter().for_each(|stem| println!("removed {stem}"));
    println!("{:.2} GB are free again, {:.2} GB stay", gigabytes(pruned.freed_bytes), gigabytes(pruned.left_bytes));
    Ok(())
}

fn build(flags: &Flags, wanted: &BuildFlags, cache: &Cache) -> Result<(), CliError> {
    let (began, sms) = (Wall.date(), cards(&wanted.card)?);
    let pack = pack_files(flags)?;
    let workshop = EngineBuild::open(&wanted.card.library, &pack, cache)?;
    let planned = workshop.plan(sms, wanted.precision)?;
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
        eprintln!("stopping; the step that runs is ended first");
    })?;
    let mut rows = Vec::new();
    for planned in &planned {
        rows.push(made_row(planned, &make_in_sight(&workshop, planned, &stop)?));
    }
    print_rows(&list, &rows, &["engine", "megabytes", "seconds", "state"]);
    let gone = cache.thin_out(wanted.card.keep.bytes(), began)?.removed;
    gone.iter().for_each(|stem| eprintln!("removed {stem}: more than {} GB", wanted.card.keep.keep_gb));
    Ok(())
}

const PLANNED: &[&str] = &["engine", "state", "seconds", "memory_megabytes"];

fn planned_row(planned: &Planned<'_>) -> Value {
    let state = match &planned.found {
        Found::Engine(_) => "there".to_owned(),
        Found::Nothing => "missing".to_owned(),
        Found::Damaged(damage) => format!("damaged: {damage}"),
    };
    json!({
        "engine": planned.key.stem(), "state": state, "seconds": planned.seconds,
        "memory_megabytes": megabytes(planned.memory_bytes), "free_megabytes": memory::free_bytes().map(megabytes),
        "key": planned.key,
    })
}

/// Compiles under a bar.
fn make_in_sight(workshop: &EngineBuild<'_>, planned: &Planned<'_>, stop: &Arc<AtomicBool>) -> Result<Made, CliError> {
    let bar = bar(planned);
    if planned.is_missing() {
        let free =
            memory::free_bytes().map_or_else(String::new, |free| format!(", {:.1} GB are free", gigabytes(free)));
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
    let made = workshop.make(
        planned,
        &|step| told(step).into_iter().for_each(|line| bar.suspend(|| eprintln!("{line}"))),
        &watch,
    );
    bar.finish_and_clear();
    made
}

/// A bar of the time that it was told to take: stages lie in one another, and what they count says nothing of the whole.
fn bar(planned: &Planned<'_>) -> ProgressBar {
    let expected_seconds = planned.seconds.max(1);
    let template = format!("{{prefix}}  {{share}} {{elapsed}} of about {expected_seconds} s  {{msg}}");
    let share = move |state: &ProgressState, out: &mut dyn fmt::Write| {
        let full = (CELLS as f64 * state.elapsed().as_secs_f64() / expected_seconds as f64) as usize;
        let full = full.min(CELLS - 1);
        // A terminal that is gone is noticed by whoever draws the rest.
        let _ = write!(out, "{}{}", "█".repeat(full), "░".repeat(CELLS - full));
    };
    let style = ProgressStyle::with_template(&template).expect("a template that is known").with_key("share", share);
    let bar = ProgressBar::no_length().with_style(style);
    bar.set_prefix(planned.key.stem());
    bar.enable_steady_tick(REDRAWN);
    bar
}

/// Width of a bar, and how often it is drawn even if nothing is told.
const CELLS: usize = 20;
const REDRAWN: Duration = Duration::from_millis(250);

fn made_row(planned: &Planned<'_>, made: &Made) -> Value {
    let sidecar = &made.engine.sidecar;
    json!({
        "engine": planned.key.stem(), "path": made.engine.path, "bytes": sidecar.size_bytes,
        "megabytes": megabytes(sidecar.size_bytes), "seconds": (made.took.as_secs_f64() * 10.0).round() / 10.0,
        "state": if made.was_built { "built" } else { "there" }, "peak_memory_bytes": sidecar.built.peak_memory_bytes,
        "activation_bytes": sidecar.built.activation_bytes,
    })
}
