//! The backend over a kernel in place of an engine: against the stand-in for the driver, and on a real one where `VISAGE_CUDA=1`
//! says that there is a card (`tests/gpu/backend.sh`).

#![expect(clippy::disallowed_methods, reason = "a test is told by its environment whether there is a card")]

use std::path::Path;

use visage::backend::gpu::{DeviceLoop, GpuBackend, card};
use visage::backend::{Backend, BackendError, CpuBackend, Graph, Health, Onnx};
use visage::telemetry::StepTimes;
use visage_kernels::cuda::{Driver, LIBRARY};

use crate::contract::{CLAUSES, STEP, Stage};
use crate::fixture::{config, step_ports};
use crate::gpu::{SEEDS, load, show, times, wanted};
use crate::step::{ARGUMENT_BYTES, NAME, StepEngines, break_context, step_reference};
use crate::stub_driver::{Fault, StubDriver};

fn on(driver: &Path) -> (GpuBackend, DeviceLoop) {
    card(config(driver), Box::new(StepEngines { onnx: STEP, ports: step_ports() }))
}

fn keep_the_contract(driver: &Path) {
    for (_, keep) in CLAUSES {
        let (card, mut owner) = on(driver);
        let open = |turn: &mut dyn FnMut(), onnx: &[u8]| load(&card, turn, onnx);
        keep(&mut Stage { open: &open, drive: &mut || owner.turn() });
    }
}

/// A show that says what the CPU does, but for rounding.
fn show_well(graph: &dyn Graph, owner: &mut DeviceLoop, wanted: &[Vec<f32>]) {
    let seen = show(graph, &mut || owner.turn()).expect("a show");
    let pairs = seen.iter().flatten().zip(wanted.iter().flatten());
    let apart = pairs.map(|(seen, wanted)| (seen - wanted).abs()).fold(0.0, f32::max);
    assert!(seen.iter().flatten().count() == wanted.iter().flatten().count() && apart < 1e-5, "{apart}");
}

/// A show, a fault, a show on the device opened anew, and the fault that is the last. Gives the times of a step.
fn show_and_outlive_a_fault(driver: &Path, break_it: impl Fn()) -> StepTimes {
    let wanted = wanted();
    let (card, mut owner) = on(driver);
    let graph = load(&card, &mut || owner.turn(), STEP).expect("a graph");
    show_well(graph.as_ref(), &mut owner, &wanted);
    let work = card.work();
    assert_eq!([work.runs, work.replays, work.asked_in_loop], [6, 6, 0], "runs, replays, asked in the loop");
    let times = times(graph.as_ref(), &mut || owner.turn());
    break_it();
    let error = show(graph.as_ref(), &mut || owner.turn()).expect_err("a failed kernel");
    assert!(matches!(error, BackendError::Device { .. }), "{error}");
    while matches!(card.health(), Health::Recovering { .. }) {
        owner.turn();
    }
    assert_eq!((card.health(), card.work().reopenings), (Health::Ready, 1));
    show_well(graph.as_ref(), &mut owner, &wanted);
    break_it();
    show(graph.as_ref(), &mut || owner.turn()).expect_err("a failed kernel");
    owner.turn();
    assert!(matches!(card.health(), Health::Lost { .. }), "{:?}", card.health());
    times
}

#[test]
fn a_kernel_in_place_of_an_engine_is_captured_replayed_and_outlives_a_fault() {
    let stub = StubDriver::new();
    stub.register_kernel(NAME, step_reference, &ARGUMENT_BYTES);
    for seed in 0..SEEDS / 4 {
        stub.seed(seed);
        keep_the_contract(stub.path());
        let times = show_and_outlive_a_fault(stub.path(), || stub.fail(Fault::Launch(719), 1));
        assert!(matches!(times, StepTimes { up: Some(_), run: Some(_), down: Some(_) }), "seed {seed}: {times:?}");
        stub.assert_obeyed();
        assert_eq!(stub.counts().living(), 0, "seed {seed}: {:?}", stub.counts());
    }
}

#[test]
fn the_fault_that_is_tried_on_a_card_is_one_for_the_standin_too() {
    let stub = StubDriver::new();
    stub.register_kernel(NAME, step_reference, &ARGUMENT_BYTES);
    stub.seed(3);
    let driver = stub.driver();
    show_and_outlive_a_fault(stub.path(), || {
        stub.fail(Fault::Launch(719), 1);
        break_context(&driver);
    });
    stub.assert_obeyed();
}

#[test]
fn on_a_card_the_backend_keeps_its_contract_and_outlives_a_fault() {
    if std::env::var_os("VISAGE_CUDA").is_none() {
        println!("skipped: backend on a card: VISAGE_CUDA is not set; tests/gpu/backend.sh does it");
        return;
    }
    let driver = Driver::open(Path::new(LIBRARY)).expect("VISAGE_CUDA says that there is a card");
    keep_the_contract(Path::new(LIBRARY));
    let times = show_and_outlive_a_fault(Path::new(LIBRARY), || break_context(&driver));
    println!("times of a step {times:?}");
    let StepTimes { up: Some(up), run: Some(run), down: Some(down) } = times else { panic!("{times:?}") };
    assert!(!up.is_zero() && !run.is_zero() && !down.is_zero(), "{times:?}");
    // The process lives, and so does the CPU's engine beside.
    assert!(CpuBackend::new().load("step", Onnx::Bytes(STEP)).is_ok());
}
