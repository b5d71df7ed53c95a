//! `visage engines parity`: every graph of a pack on the CPU and on the GPU, and whether they agree. Where there is no GPU,
//! lower-precision files of a graph are compared with the highest precision on the CPU.
//!
//! Decides which files are compared and the verdict. `backend` measures the differences.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use serde_json::{Value, json};
use visage_engines::compile::Watch;
use visage_engines::{GraphManifest, PackFiles, Precision, Tolerance};
use visage_kernels::tensorrt;

use super::engine::gpu_backend;
use super::engine_build::{EngineBuild, local_gpus_in_order, open_cache};
use super::error::CliError;
use super::flags::{Flags, ListFlags, ParityFlags};
use super::lists::print_rows;
use super::packs::pack_files;
use crate::backend::{Backend, CpuBackend, Difference, compare, run as run_once, seeded};

const COLUMNS: &[&str] =
    &["graph", "precision", "on", "output", "cosine", "psnr_db", "max_error", "mean_error", "verdict", "why"];

/// Compares all graphs.
pub fn run(flags: &Flags, wanted: &ParityFlags) -> Result<(), CliError> {
    let pack = pack_files(flags)?;
    let graphs = pack.manifest()?.graphs;
    let precisions: BTreeSet<Precision> = graphs.iter().flat_map(|graph| graph.onnx.keys().copied()).collect();
    let mut rows = Vec::new();
    for precision in precisions {
        let accelerator = accelerator(flags, wanted, &pack, precision)?;
        for graph in graphs.iter().filter(|graph| graph.onnx.contains_key(&precision)) {
            rows.extend(graph_rows(&pack, (graph, precision), &accelerator, wanted.seed));
        }
    }
    print_rows(&ListFlags { json: wanted.json }, &rows, COLUMNS);
    let count = |verdict: &str| rows.iter().filter(|row| row["verdict"] == verdict).count();
    match (count(PAST), count(FAILED)) {
        (0, 0) => Ok(()),
        (past, failed) => Err(CliError::message(
            format!("{past} outputs exceed the tolerances of the pack, {failed} graphs failed"),
            "verify the engines (visage engines verify), or use a higher precision",
        )),
    }
}

const WITHIN: &str = "within";
const PAST: &str = "exceeds its tolerance";
const FAILED: &str = "failed";
const ALONE: &str = "runs on the CPU, not compared";

/// The GPU with engines of one precision, or why there is none.
type Accelerator = Result<Box<dyn Backend>, &'static str>;

/// What the CPU is compared with; missing engines are compiled.
fn accelerator(
    flags: &Flags,
    wanted: &ParityFlags,
    pack: &PackFiles,
    precision: Precision,
) -> Result<Accelerator, CliError> {
    if !tensorrt::IS_BUILT {
        return Ok(Err("this program was built without TensorRT"));
    }
    let Some(sm) = local_gpus_in_order().first().copied() else {
        return Ok(Err("no NVIDIA GPU found"));
    };
    let cache = open_cache(flags)?;
    let build = EngineBuild::open(&wanted.library, pack, &cache)?;
    let always: Watch = Arc::new(|_| ControlFlow::Continue(()));
    let mut engines = Vec::new();
    for planned in build.plan(vec![sm], Some(precision))? {
        engines.push(build.make(&planned, &|_| (), &always)?.engine);
    }
    Ok(Ok(gpu_backend(1, engines, flags)?))
}

/// A graph that fails is a row of its own; the others are still compared.
fn graph_rows(
    pack: &PackFiles,
    (graph, precision): (&GraphManifest, Precision),
    accelerator: &Accelerator,
    seed: u64,
) -> Vec<Value> {
    let row = |(mut row, verdict): (Value, &str)| {
        row["graph"] = json!(graph.name);
        row["precision"] = json!(precision.name());
        row["verdict"] = json!(verdict);
        row
    };
    let compare_outputs = compare_outputs(pack, (graph, precision), accelerator, seed);
    compare_outputs
        .unwrap_or_else(|error| vec![(json!({ "why": error.to_string() }), FAILED)])
        .into_iter()
        .map(row)
        .collect()
}

/// A row per output, with its verdict.
fn compare_outputs(
    pack: &PackFiles,
    (graph, precision): (&GraphManifest, Precision),
    accelerator: &Accelerator,
    seed: u64,
) -> anyhow::Result<Vec<(Value, &'static str)>> {
    // The file with the highest precision is the reference.
    let Some((widest, path)) = graph.onnx.first_key_value() else { return Ok(Vec::new()) };
    let (reference, compared) = (pack.onnx(path, &graph.weights)?, pack.onnx(&graph.onnx[&precision], &graph.weights)?);
    let cpu = CpuBackend::new();
    let signature = cpu.signature(reference)?;
    let inputs = seeded(&signature, seed, &|input, axis| profile_length(graph, input, axis));
    let first = cpu.load(&graph.name, reference)?;
    let (second, on) = match accelerator {
        Ok(gpu) => (gpu.load(&graph.name, compared)?, gpu.name()),
        Err(why) if *widest == precision => {
            run_once(&*first, &signature, &inputs)?;
            return Ok(vec![(json!({ "why": why }), ALONE)]);
        }
        Err(_) => (cpu.load(&graph.name, compared)?, cpu.name()),
    };
    let row = |found: Difference| {
        let verdict = if allows(graph.tolerance, &found) { WITHIN } else { PAST };
        let mut row = json!(found);
        row["on"] = json!(on);
        (row, verdict)
    };
    Ok(compare(&*first, &*second, &signature, &inputs)?.into_iter().map(row).collect())
}

fn allows(tolerance: Tolerance, found: &Difference) -> bool {
    found.cosine >= tolerance.cosine && found.psnr_db >= tolerance.psnr_db && found.max_error <= tolerance.max_error
}

/// The length of a free axis: the one that the graph's first profile is optimised for, or one.
fn profile_length(graph: &GraphManifest, input: &str, axis: usize) -> usize {
    let range = graph.profiles.first().and_then(|profile| profile.0.get(input));
    range.and_then(|range| range.opt.get(axis)).map_or(1, |length| *length as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tolerance_can_be_passed() {
        let tolerance = Tolerance { cosine: 0.99, psnr_db: 40.0, max_error: 0.1 };
        let good = Difference { output: "y".into(), cosine: 0.999, psnr_db: 50.0, max_error: 0.01, mean_error: 0.0 };
        assert!(allows(tolerance, &good));
        assert!(!allows(tolerance, &Difference { cosine: 0.98, ..good.clone() }));
        assert!(!allows(tolerance, &Difference { psnr_db: 39.0, ..good.clone() }));
        assert!(!allows(tolerance, &Difference { max_error: 0.2, ..good }));
    }
}
