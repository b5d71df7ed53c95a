//! The GPU backend with a kernel in place of an engine: on the stub driver, and on a real GPU where `VISAGE_CUDA=1` is set
//! (`tests/gpu/backend.sh`).

#![expect(clippy::disallowed_methods, reason = "the environment says whether there is a GPU")]

use std::path::Path;

use visage::backend::gpu::{DeviceLoop, GpuBackend, open};
use visage::backend::{Backend, BackendError, CpuBackend, Graph, Health, Onnx};
use visage::telemetry::StepTimes;
use visage_kernels::cuda::{Driver, LIBRARY};

use crate::contract::{CLAUSES, STEP, Subject};
use crate::fixture::{config, load};
use crate::gpu::{SEEDS, run_sessions, times, wanted};
use crate::step::{ARGUMENT_BYTES, NAME, StepEngines, break_context, step_reference};
use crate::stub_driver::{Fault, StubDriver};

fn on(driver: &Path) -> (GpuBackend, DeviceLoop) {
    open(config(driver), Box::new(StepEngines { onnx: STEP, max_rows: 8 }))
}

fn keep_the_contract(driver: &Path) {
    for (_, keep) in CLAUSES {
        let (gpu, mut device) = on(driver);
        let load = |turn: &mut dyn FnMut(), graph: (&str, &[u8])| load(&gpu, turn, graph);
        keep(&mut Subject { load: &load, drive: &mut || device.turn() });
    }
}

/// Sessions whose results are the CPU's, but for rounding.
fn run_and_compare(graph: &dyn Graph, device: &mut DeviceLoop, wanted: &[Vec<f32>]) {
    let seen = run_sessions(graph, &mut || device.turn()).expect("steps");
    let pairs = seen.iter().flatten().zip(wanted.iter().flatten());
    let apart = pairs.map(|(seen, wanted)| (seen - wanted).abs()).fold(0.0, f32::max);
    assert!(seen.iter().flatten().count() == wanted.iter().flatten().count() && apart < 1e-5, "{apart}");
}

/// Sessions, a fault, sessions in the re-created context, and the last fault. Returns the times of a step.
fn run_and_survive_a_fault(driver: &Path, break_it: impl Fn()) -> StepTimes {
    let wanted = wanted();
    let (gpu, mut device) = on(driver);
    let graph = load(&gpu, &mut || device.turn(), ("step", STEP)).expect("a graph");
    run_and_compare(graph.as_ref(), &mut device, &wanted);
    let work = gpu.work();
    assert_eq!([work.runs, work.replays, work.loop_stalls], [6, 6, 0], "runs, replays, loop stalls");
    let times = times(graph.as_ref(), &mut || device.turn());
    break_it();
    let error = run_sessions(graph.as_ref(), &mut || device.turn()).expect_err("a failed kernel");
    assert!(matches!(error, BackendError::Device { .. }), "{error}");
    while matches!(gpu.health(), Health::Recovering { .. }) {
        device.turn();
    }
    assert_eq!((gpu.health(), gpu.work().context_resets), (Health::Ready, 1));
    run_and_compare(graph.as_ref(), &mut device, &wanted);
    break_it();
    run_sessions(graph.as_ref(), &mut || device.turn()).expect_err("a failed kernel");
    device.turn();
    assert!(matches!(gpu.health(), Health::Lost { .. }), "{:?}", gpu.health());
    times
}

#[test]
fn a_kernel_in_place_of_an_engine_is_captured_replayed_and_survives_a_fault() {
    let stub = StubDriver::new();
    stub.register_kernel(NAME, step_reference, &ARGUMENT_BYTES);
    for seed in 0..SEEDS / 4 {
        stub.seed(seed);
        keep_the_contract(stub.path());
        let times = run_and_survive_a_fault(stub.path(), || stub.fail(Fault::Launch(719), 1));
        assert!(matches!(times, StepTimes { up: Some(_), run: Some(_), down: Some(_) }), "seed {seed}: {times:?}");
        stub.assert_obeyed();
        assert_eq!(stub.counts().living(), 0, "seed {seed}: {:?}", stub.counts());
    }
}

#[test]
fn the_fault_used_on_a_real_gpu_is_one_on_the_stub_too() {
    let stub = StubDriver::new();
    stub.register_kernel(NAME, step_reference, &ARGUMENT_BYTES);
    stub.seed(3);
    let driver = stub.driver();
    run_and_survive_a_fault(stub.path(), || {
        stub.fail(Fault::Launch(719), 1);
        break_context(&driver);
    });
    stub.assert_obeyed();
}

#[test]
fn on_a_real_gpu_the_backend_keeps_its_contract_and_survives_a_fault() {
    if std::env::var_os("VISAGE_CUDA").is_none() {
        println!("skipped: backend on a GPU: VISAGE_CUDA is not set; tests/gpu/backend.sh sets it");
        return;
    }
    let driver = Driver::open(Path::new(LIBRARY)).expect("VISAGE_CUDA says that there is a GPU");
    keep_the_contract(Path::new(LIBRARY));
    let times = run_and_survive_a_fault(Path::new(LIBRARY), || break_context(&driver));
    println!("times of a step {times:?}");
    let StepTimes { up: Some(up), run: Some(run), down: Some(down) } = times else { panic!("{times:?}") };
    assert!(!up.is_zero() && !run.is_zero() && !down.is_zero(), "{times:?}");
    // The process goes on, and so does the CPU backend.
    assert!(CpuBackend::new().load("step", Onnx::Bytes(STEP)).is_ok());
}
