//! What is done before a network runs on a card: engines that are missing are compiled.
//!
//! Decides whether there is anything to do, and who hears of it.

use std::ops::ControlFlow;
use std::sync::Arc;

use visage_engines::Sm;
use visage_engines::cache::{Engine, Found};
use visage_engines::compile::{Planned, Watch};
use visage_kernels::tensorrt;

use super::engine_build::{EngineBuild, cards_here, check_memory, open_cache, told};
use super::error::CliError;
use super::flags::{BackendChoice, EngineFlags, Flags};
use super::packs::pack_files;
use crate::serve::StartupTask;
use crate::time::Wall;

/// Says whether somebody wants the program to end.
pub type IsClosing = Arc<dyn Fn() -> bool + Send + Sync>;

/// Hears how far it is.
pub type Tell = Arc<dyn Fn(StartupTask) + Send + Sync>;

/// Compiles what is missing for the cards that are named, or for those here that are to be used, and gives all of them. Ends
/// early and well, with those that are there, when it is asked to. Those that are used are in doubt until they were opened.
pub fn engines(
    flags: &Flags,
    wanted: &EngineFlags,
    tell: Tell,
    is_closing: &IsClosing,
) -> Result<Vec<Engine>, CliError> {
    let card = &wanted.card;
    let is_used = wanted.backend == BackendChoice::Tensorrt;
    let sms = if card.sm.is_empty() && is_used { usable_here() } else { card.sm.clone() };
    if sms.is_empty() {
        return Ok(Vec::new());
    }
    let (began, pack, cache) = (Wall.date(), pack_files(flags)?, open_cache(flags)?);
    let workshop = EngineBuild::open(&card.library, &pack, &cache)?;
    let planned = workshop.plan(sms, None)?;
    let mut engines: Vec<Engine> = planned.iter().filter_map(there).collect();
    let missing: Vec<_> = planned.iter().filter(|planned| planned.is_missing()).collect();
    check_memory(&planned)?;
    let expected_seconds = missing.iter().map(|planned| planned.seconds).sum();
    if !missing.is_empty() {
        tracing::info!("engines are compiled first: {} of them, in about {expected_seconds} s", missing.len());
    }
    for planned in missing {
        let watch = watch(planned, expected_seconds, &tell, is_closing);
        let made =
            workshop.make(planned, &|step| told(step).into_iter().for_each(|line| tracing::warn!("{line}")), &watch);
        if is_closing() {
            return Ok(engines);
        }
        let made = made?;
        tracing::info!("{} is there after {:.1} s", planned.key.stem(), made.took.as_secs_f64());
        engines.push(made.engine);
    }
    for stem in cache.thin_out(card.keep.bytes(), began)?.removed {
        tracing::info!("{stem} was removed: more than {} GB of engines", card.keep.keep_gb);
    }
    if is_used {
        engines.iter().for_each(Engine::doubt);
    }
    Ok(engines)
}

fn there(planned: &Planned<'_>) -> Option<Engine> {
    match &planned.found {
        Found::Engine(engine) => Some((**engine).clone()),
        _ => None,
    }
}

/// Cards here that the compiler of this program compiles for. The others are not passed over in silence.
fn usable_here() -> Vec<Sm> {
    let (usable, others): (Vec<_>, Vec<_>) =
        cards_here().into_iter().partition(|sm| tensorrt::IS_BUILT && tensorrt::FLAVOUR.knows(*sm));
    for sm in others {
        let (why, cure) = if tensorrt::IS_BUILT {
            ("TensorRT of this program does not compile for it", "visage doctor names the flavour that does")
        } else {
            ("this program was built without TensorRT", "cargo build --release --features tensorrt-rtx")
        };
        tracing::warn!("the card of compute capability {sm} is not used: {why}; {cure}");
    }
    usable
}

fn watch(planned: &Planned<'_>, expected_seconds: u64, tell: &Tell, is_closing: &IsClosing) -> Watch {
    let (stem, tell, is_closing) = (planned.key.stem(), Arc::clone(tell), Arc::clone(is_closing));
    tell(StartupTask { task: format!("compiling {stem}"), done: 0, total: 1, expected_s: expected_seconds });
    Arc::new(move |progress| {
        let task = format!("compiling {stem}: {}", progress.stage);
        tell(StartupTask { task, done: progress.done, total: progress.of, expected_s: expected_seconds });
        if is_closing() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })
}
