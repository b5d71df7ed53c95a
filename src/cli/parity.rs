//! `visage engines parity`: every graph of a pack on the CPU and on the card, and whether they agree.
//!
//! Decides which files are compared with which, and what the verdict is. How a distance is measured, backend knows.

use serde_json::{Value, json};
use visage_engines::compile::Onnx as Stored;
use visage_engines::{GraphManifest, PackFiles, Precision, Tolerance};

use super::complaint::Complaint;
use super::flags::{Flags, ListFlags, ParityFlags};
use super::lists::print_rows;
use super::packs::pack_files;
use crate::backend::{Backend, Cpu, Difference, Onnx, compare, seeded};

/// The other engine, or why there is none.
type Rival = Result<Box<dyn Backend>, String>;

const COLUMNS: &[&str] = &["graph", "precision", "output", "cosine", "psnr_db", "max_error", "mean_error", "verdict"];

/// Compares all graphs.
pub fn run(flags: &Flags, wanted: &ParityFlags) -> Result<(), Complaint> {
    let pack = pack_files(flags)?;
    let (cpu, rival) = (Cpu::new(), rival());
    let mut rows = Vec::new();
    for graph in &pack.manifest()?.graphs {
        rows.extend(graph_rows(&pack, graph, &cpu, &rival, wanted.seed)?);
    }
    print_rows(&ListFlags { json: wanted.json }, &rows, COLUMNS);
    if let Err(why) = &rival {
        eprintln!("{why}; the graphs were loaded on the CPU only");
    }
    let past = rows.iter().filter(|row| row["verdict"] == PAST).count();
    if past > 0 {
        return Err(Complaint::said(
            format!("wanted every output within the pack's tolerances, found {past} past them"),
            "compile the engines anew (visage engines verify), or run the pack in a wider precision",
        ));
    }
    Ok(())
}

const WITHIN: &str = "within";
const PAST: &str = "past its tolerance";

/// What there is to compare the CPU with.
fn rival() -> Rival {
    if visage_kernels::find_cards().is_empty() {
        return Err("not compared: no NVIDIA GPU found".to_owned());
    }
    Err("not compared: this program was built without TensorRT".to_owned())
}

fn graph_rows(
    pack: &PackFiles,
    graph: &GraphManifest,
    cpu: &Cpu,
    rival: &Rival,
    seed: u64,
) -> Result<Vec<Value>, Complaint> {
    // The widest file that the pack has says what is right.
    let Some(reference) = graph.onnx.values().next() else { return Ok(Vec::new()) };
    let onnx = pack.onnx(reference, &graph.weights)?;
    let signature = cpu.signature(borrowed(&onnx))?;
    let inputs = seeded(&signature, seed, &|input, axis| profiled(graph, input, axis));
    let first = cpu.load(&graph.name, borrowed(&onnx))?;
    let mut rows = Vec::new();
    for (precision, path) in &graph.onnx {
        let onnx = pack.onnx(path, &graph.weights)?;
        let second = match rival {
            Ok(rival) => rival.load(&graph.name, borrowed(&onnx))?,
            Err(why) => {
                rows.push(json!({ "graph": graph.name, "precision": precision.name(), "verdict": why }));
                continue;
            }
        };
        let differences = compare(&*first, &*second, &signature, &inputs)?;
        rows.extend(differences.iter().map(|found| row(graph, *precision, found)));
    }
    Ok(rows)
}

fn row(graph: &GraphManifest, precision: Precision, found: &Difference) -> Value {
    let mut row = json!(found);
    row["graph"] = json!(graph.name);
    row["precision"] = json!(precision.name());
    row["verdict"] = json!(if allows(graph.tolerance, found) { WITHIN } else { PAST });
    row
}

fn allows(tolerance: Tolerance, found: &Difference) -> bool {
    found.cosine >= tolerance.cosine && found.psnr_db >= tolerance.psnr_db && found.max_error <= tolerance.max_error
}

/// The length of an axis that may have any: what the graph's first profile is fast for, or one.
fn profiled(graph: &GraphManifest, input: &str, axis: usize) -> usize {
    let range = graph.profiles.first().and_then(|profile| profile.0.get(input));
    range.and_then(|range| range.opt.get(axis)).map_or(1, |length| *length as usize)
}

fn borrowed<'a>(onnx: &'a Stored<'_>) -> Onnx<'a> {
    match onnx {
        Stored::Bytes(bytes) => Onnx::Bytes(bytes),
        Stored::File(path) => Onnx::File(path),
    }
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
