//! `visage engines`: what to compile for which cards, told while it happens, and the folder of engines in order.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use visage_engines::cache::{Cache, Found, Step, Stocked};
use visage_engines::compile::{CompileError, Compiler, MakeError, Planned, Watch, Wish, make, plan};
use visage_engines::places::search_order;
use visage_engines::{PackFiles, Sm, listed, memory};
use visage_kernels::tensorrt;

use super::complaint::Complaint;
use super::flags::{BuildFlags, EnginesCommand, Flags, ListFlags, PruneFlags};
use super::lists::print_rows;
use super::packs::{data_dir, pack_files};
use crate::time::Wall;

/// Does what `visage engines` is asked for.
pub fn run(flags: &Flags, wanted: &EnginesCommand) -> Result<(), Complaint> {
    let cache = Cache::open(data_dir(flags).join("engines"))?;
    match wanted {
        EnginesCommand::Build(wanted) => build(flags, wanted, &cache),
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

fn rows(stocked: &[Stocked]) -> Vec<Value> {
    let row = |stocked: &Stocked| {
        let state = stocked.damage.as_ref().map_or_else(|| "whole".to_owned(), ToString::to_string);
        json!({
            "engine": stocked.stem, "megabytes": stocked.size_bytes.div_ceil(1_000_000), "state": state,
            "bytes": stocked.size_bytes, "is_damaged": stocked.damage.is_some(), "key": stocked.key,
        })
    };
    stocked.iter().map(row).collect()
}

fn verify(list: &ListFlags, cache: &Cache) -> Result<(), Complaint> {
    let all = cache.verify(&mut |stem| eprintln!("reading {stem}"))?;
    print_rows(list, &rows(&all), COLUMNS);
    let damaged = all.iter().filter(|stocked| stocked.damage.is_some()).count();
    if damaged == 0 {
        return Ok(());
    }
    Err(Complaint::said(
        format!("wanted whole engines, found {damaged} damaged"),
        "they were put aside and are compiled anew when needed, or now: visage engines build",
    ))
}

fn prune(wanted: &PruneFlags, cache: &Cache) -> Result<(), Complaint> {
    let pruned = cache.prune((wanted.keep_gb.max(0.0) * 1e9) as u64)?;
    if wanted.json {
        println!("{}", json!(pruned));
        return Ok(());
    }
    pruned.removed.iter().for_each(|stem| println!("removed {stem}"));
    println!("{:.2} GB are free again, {:.2} GB stay", pruned.freed_bytes as f64 / 1e9, pruned.left_bytes as f64 / 1e9);
    Ok(())
}

fn build(flags: &Flags, wanted: &BuildFlags, cache: &Cache) -> Result<(), Complaint> {
    let sms = if wanted.sm.is_empty() { cards_here()? } else { wanted.sm.clone() };
    let pack = pack_files(flags)?;
    let order = search_order(wanted.tensorrt_lib.as_deref(), &python_roots(), tensorrt::PYTHON_PACKAGE);
    let compiler = tensorrt::load(&order)?;
    let wish = Wish { sms, precision: wanted.precision, ..Wish::default() };
    let planned = plan(&pack, &wish, &*compiler, cache, Wall.date()).map_err(hinted)?;
    if wanted.dry_run {
        print_rows(&ListFlags { json: wanted.json }, &planned.iter().map(planned_row).collect::<Vec<_>>(), PLANNED);
        return Ok(());
    }
    let runtime = Runtime::new()?;
    let stop = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&stop);
    super::serve::on_signal(&runtime, move || seen.store(true, Ordering::Relaxed))?;
    let mut made = Vec::new();
    for planned in &planned {
        made.push(make_one(&pack, planned, &*compiler, cache, &stop)?);
    }
    print_rows(&ListFlags { json: wanted.json }, &made, &["engine", "megabytes", "seconds", "state"]);
    Ok(())
}

const PLANNED: &[&str] = &["engine", "state", "memory_megabytes"];

fn planned_row(planned: &Planned<'_>) -> Value {
    let state = match &planned.found {
        Found::Engine(_) => "there".to_owned(),
        Found::Nothing => "missing".to_owned(),
        Found::Damaged(damage) => format!("damaged: {damage}"),
    };
    json!({
        "engine": planned.key.stem(), "state": state, "memory_megabytes": planned.memory_bytes / 1_000_000,
        "free_megabytes": memory::free_bytes().map(|bytes| bytes / 1_000_000), "key": planned.key,
    })
}

fn make_one(
    pack: &PackFiles,
    planned: &Planned<'_>,
    compiler: &dyn Compiler,
    cache: &Cache,
    stop: &Arc<AtomicBool>,
) -> Result<Value, Complaint> {
    let bar = ProgressBar::new(1).with_style(
        ProgressStyle::with_template("{prefix}  {bar:30} {pos}/{len} {msg}  {eta} left").expect("a constant template"),
    );
    bar.set_prefix(planned.key.stem());
    let (shown, stop) = (bar.clone(), Arc::clone(stop));
    let watch: Watch = Arc::new(move |progress| {
        shown.set_length(progress.of.into());
        shown.set_position(progress.done.into());
        shown.set_message(progress.stage.to_owned());
        if stop.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    let mut was_built = false;
    let mut tell = |step: Step<'_>| match step {
        Step::PutAside(folder, damage) => bar.println(format!("put aside in {}: {damage}", folder.display())),
        Step::Waiting(lock) => bar.println(format!("another process builds it; waiting for {}", lock.display())),
        Step::Building => was_built = true,
    };
    let free_bytes = memory::free_bytes().unwrap_or(u64::MAX);
    let started = Wall.now();
    let made = make(pack, planned, compiler, cache, (Wall.date(), free_bytes), (&mut tell, &watch));
    bar.finish_and_clear();
    let engine = made.map_err(hinted)?;
    let seconds = Wall.now().duration_since(started).as_secs_f64();
    Ok(json!({
        "engine": planned.key.stem(), "path": engine.path, "bytes": engine.sidecar.size_bytes,
        "megabytes": engine.sidecar.size_bytes.div_ceil(1_000_000), "seconds": (seconds * 10.0).round() / 10.0,
        "state": if was_built { "built" } else { "there" },
        "peak_memory_bytes": engine.sidecar.built.peak_memory_bytes,
    }))
}

/// The capabilities of the cards in this machine.
fn cards_here() -> Result<Vec<Sm>, Complaint> {
    let mut sms: Vec<Sm> =
        visage_kernels::find_cards().iter().map(|card| Sm::new(card.sm.0 as u8, card.sm.1 as u8)).collect();
    sms.sort_unstable();
    sms.dedup();
    if sms.is_empty() {
        let known = listed(tensorrt::FLAVOUR.compiles_for());
        return Err(Complaint::said(
            "wanted cards to compile for, found none in this machine",
            format!("name them: visage engines build --sm 8.9 ({} compiles for {known})", tensorrt::FLAVOUR),
        ));
    }
    Ok(sms)
}

/// Where Python environments may be: the active one, the user's, the system's.
#[expect(clippy::disallowed_methods, reason = "the command line reads the environment")]
pub fn python_roots() -> Vec<PathBuf> {
    let of = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = of("HOME").map(|home| home.join(".local"));
    let system = ["/usr/local", "/usr"].map(PathBuf::from);
    [of("VIRTUAL_ENV"), of("CONDA_PREFIX"), home].into_iter().flatten().chain(system).collect()
}

fn hinted(error: MakeError) -> Complaint {
    let hint = match &error {
        MakeError::Precision { .. } => "name one that it has with --precision, or leave it out",
        MakeError::Memory { .. } => "engines are compiled for any card on any machine: a larger one will do",
        MakeError::Cache(error) if error.is_disk_full() => "make room: visage engines prune --keep-gb 0",
        MakeError::Compile { source: CompileError::Stopped, .. } => "nothing half done was left; run it again",
        MakeError::Compile { source: CompileError::UnknownSm { .. }, .. } => {
            "data-centre cards need classic TensorRT: cargo build --release --features tensorrt"
        }
        MakeError::Compile { source: CompileError::Write { .. }, .. } => "look at the free space and permissions",
        MakeError::Compile { .. } => "visage engines build --log debug says more",
        MakeError::Pack(_) | MakeError::Cache(_) => "visage engines path says where engines are kept",
    };
    Complaint::new(error, hint)
}
