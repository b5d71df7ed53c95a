//! Consequences of a device fault: its sessions end with the reason, no result is wrong, and the process continues.

use visage::backend::gpu::{DeviceLoop, GpuBackend};
use visage::backend::{BackendError, DType, Graph, Health, Onnx, Tensor, Value};

use crate::contract::STEP;
use crate::fixture::{config, load, on};
use crate::gpu::{SEEDS, advance, run_sessions, wanted, x};
use crate::stub_driver::{Fault, StubDriver};

const OUT_OF_MEMORY: u32 = 2;
const LAUNCH_FAILED: u32 = 719;
const UNKNOWN: u32 = 999;

/// `run_sessions` makes more calls than this.
const CALLS: u64 = 230;

/// A stub driver, and the results without a fault.
struct Faults {
    stub: StubDriver,
    wanted: Vec<Vec<f32>>,
}

impl Faults {
    fn new() -> Self {
        Self { stub: StubDriver::new(), wanted: wanted() }
    }

    /// Sessions with a fault, then what `after` checks; at the end everything must be freed. True if the sessions saw the
    /// fault.
    fn run(
        &self,
        seed: u64,
        (fault, n): (Fault, u64),
        after: impl FnOnce(&GpuBackend, &mut DeviceLoop, &dyn Graph),
    ) -> bool {
        self.stub.seed(seed);
        let (gpu, mut device) = on(&self.stub);
        let graph = load(&gpu, &mut || device.turn(), ("step", STEP)).expect("a graph");
        self.stub.fail(fault, n);
        let seen = run_sessions(graph.as_ref(), &mut || device.turn());
        match &seen {
            Ok(seen) => assert_eq!(*seen, self.wanted, "seed {seed}: wrong results with {fault:?} at {n}"),
            Err(error) => {
                assert!(matches!(error, BackendError::Device { .. }), "seed {seed}: {fault:?} at {n}: {error}");
            }
        }
        after(&gpu, &mut device, graph.as_ref());
        drop((graph, gpu, device));
        self.stub.assert_obeyed();
        let counts = self.stub.counts();
        assert_eq!(counts.living(), 0, "seed {seed}: {fault:?} at {n}: {counts:?}");
        seen.is_err()
    }

    /// Runs sessions that must not be affected.
    fn goes_on(&self, gpu: &GpuBackend, device: &mut DeviceLoop, graph: &dyn Graph) {
        while device.is_busy() {
            device.turn();
        }
        assert_eq!(gpu.health(), Health::Ready);
        assert_eq!(run_sessions(graph, &mut || device.turn()).as_ref(), Ok(&self.wanted));
    }
}

#[test]
fn out_of_memory_ends_a_session_and_the_next_runs() {
    let faults = Faults::new();
    let seen = (0..SEEDS).filter(|seed| {
        faults.run(*seed, (Fault::Call(OUT_OF_MEMORY), 1 + seed % CALLS), |gpu, device, graph| {
            faults.goes_on(gpu, device, graph);
            assert_eq!(gpu.work().context_resets, 0);
        })
    });
    assert!(seen.count() > 100);
}

#[test]
fn a_lost_context_is_re_created_once_and_sessions_get_the_reason() {
    let faults = Faults::new();
    for seed in 0..SEEDS {
        let (status, n) = (if seed % 2 == 0 { UNKNOWN } else { LAUNCH_FAILED }, 1 + seed % CALLS);
        let seen = faults.run(seed, (Fault::Sticky(status), n), |gpu, device, graph| {
            faults.goes_on(gpu, device, graph);
            assert_eq!(gpu.work().context_resets, 1);
            faults.stub.fail(Fault::Sticky(status), n);
            let error = run_sessions(graph, &mut || device.turn()).expect_err("lost again");
            assert!(matches!(error, BackendError::Device { .. }), "{error}");
            device.turn();
            assert!(matches!(gpu.health(), Health::Lost { .. }), "{:?}", gpu.health());
            assert!(graph.slot().is_err());
        });
        assert!(seen, "seed {seed}");
    }
}

#[test]
fn a_launch_that_fails_on_the_device_ends_its_sessions() {
    let faults = Faults::new();
    let seen = (0..SEEDS).filter(|seed| {
        faults.run(*seed, (Fault::Launch(LAUNCH_FAILED), 1 + seed % 6), |gpu, device, graph| {
            faults.goes_on(gpu, device, graph);
        })
    });
    assert_eq!(seen.count() as u64, SEEDS);
}

#[test]
fn a_lost_device_is_reported_and_the_process_continues() {
    let faults = Faults::new();
    for seed in 0..SEEDS {
        let seen = faults.run(seed, (Fault::Gone(UNKNOWN), 1 + seed % CALLS), |gpu, device, graph| {
            device.turn();
            let health = gpu.health();
            assert!(matches!(&health, Health::Lost { found } if found.contains("returned 999")), "{health:?}");
            assert!(graph.slot().is_err());
            assert!(load(gpu, &mut || device.turn(), ("step", STEP)).is_err());
        });
        assert!(seen, "seed {seed}");
    }
}

#[test]
fn a_slow_copy_changes_no_result() {
    let faults = Faults::new();
    for seed in 0..SEEDS {
        let seen = faults.run(seed, (Fault::SlowCopy, 1 + seed % 40), |gpu, device, graph| {
            faults.goes_on(gpu, device, graph);
        });
        assert!(!seen, "seed {seed}");
    }
}

#[test]
fn no_session_is_admitted_between_a_fault_and_recovery() {
    let stub = StubDriver::new();
    stub.seed(1);
    let (gpu, mut device) = on(&stub);
    let graph = load(&gpu, &mut || device.turn(), ("step", STEP)).expect("a graph");
    let mut old = graph.slot().expect("a slot");
    stub.fail(Fault::Sticky(UNKNOWN), 2);
    let (given, state) = (x(0, 0).into(), Value::from(Tensor::zeros(DType::F32, &[1, 2])));
    let [next, y] = advance(old.as_mut(), &given, &state).expect("a step that fails later");
    device.turn();
    let health = gpu.health();
    assert!(matches!(&health, Health::Recovering { found } if found.contains("a lost device")), "{health:?}");
    assert!(graph.slot().is_err(), "no session is admitted meanwhile");
    assert!(y.take().expect_err("lost").to_string().contains("the context is being re-created"));
    device.turn();
    assert_eq!(gpu.health(), Health::Ready);
    // Memory of the earlier context is lost: its sessions have ended.
    assert!(advance(old.as_mut(), &given, &state).is_err());
    let mut new = graph.slot().expect("a slot");
    assert!(advance(new.as_mut(), &given, &next).is_err(), "an output of the earlier context");
    assert!(advance(new.as_mut(), &given, &state).is_ok());
}

#[test]
fn out_of_memory_no_session_is_admitted_until_a_step_succeeds_or_none_is_left() {
    let stub = StubDriver::new();
    for is_left in [true, false] {
        stub.seed(1);
        let (gpu, mut device) = on(&stub);
        let graph = load(&gpu, &mut || device.turn(), ("step", STEP)).expect("a graph");
        let [mut short, mut other] = [(); 2].map(|()| graph.slot().expect("a slot"));
        let (given, state) = (x(0, 0).into(), Value::from(Tensor::zeros(DType::F32, &[1, 2])));
        stub.fail(Fault::Call(OUT_OF_MEMORY), 1);
        let [_, mut y] = advance(short.as_mut(), &given, &state).expect("a step that fails later");
        y.download().expect("room");
        device.turn();
        let health = gpu.health();
        assert!(matches!(&health, Health::Recovering { found } if found.contains("out of memory")), "{health:?}");
        assert!(graph.slot().err().expect("none is admitted").to_string().contains("out of memory"));
        assert!(y.take().expect_err("its session ends").to_string().contains("CUDA_ERROR_OUT_OF_MEMORY"));
        drop(short);
        if is_left {
            advance(other.as_mut(), &given, &state).expect("a step");
        } else {
            drop(other);
        }
        device.turn();
        assert_eq!((gpu.health(), gpu.work().context_resets), (Health::Ready, 0));
        assert!(graph.slot().is_ok());
    }
}

#[test]
fn a_graph_too_large_for_the_memory_is_refused_and_everything_is_freed() {
    let stub = StubDriver::new();
    for n in 1..400 {
        stub.seed(n);
        stub.fail(Fault::Call(OUT_OF_MEMORY), n);
        let (gpu, mut device) = on(&stub);
        if let Err(error) = load(&gpu, &mut || device.turn(), ("step", STEP)) {
            assert!(error.to_string().contains("CUDA_ERROR_OUT_OF_MEMORY"), "call {n}: {error}");
        }
        drop((gpu, device));
        stub.assert_obeyed();
        assert_eq!(stub.counts().living(), 0, "call {n}: {:?}", stub.counts());
    }
}

#[test]
fn a_step_without_a_pinned_buffer_is_refused_and_may_be_submitted_again() {
    let stub = StubDriver::new();
    stub.seed(3);
    let mut few = config(stub.path());
    few.pinned_buffers = 2;
    let (gpu, mut device) = crate::fixture::with(few);
    let graph = load(&gpu, &mut || device.turn(), ("step", STEP)).expect("a graph");
    let mut slots: Vec<_> = (0..3).map(|_| graph.slot().expect("a slot")).collect();
    assert!(matches!(graph.slot().err(), Some(BackendError::Full { slots: 3, .. })));
    let (given, state) = (x(0, 0).into(), Value::from(Tensor::zeros(DType::F32, &[1, 2])));
    let first = advance(slots[0].as_mut(), &given, &state).expect("a pinned buffer");
    let second = advance(slots[1].as_mut(), &given, &state).expect("a pinned buffer");
    let third = advance(slots[2].as_mut(), &given, &state);
    assert!(matches!(third, Err(BackendError::Busy { .. })), "{third:?}");
    while advance(slots[2].as_mut(), &given, &state).is_err() {
        device.turn();
    }
    drop((first, second));
}

#[test]
fn an_output_of_one_gpu_is_refused_as_an_input_on_another() {
    let (first, second) = (StubDriver::new(), StubDriver::new());
    let [(here, mut device), (there, mut other)] = [on(&first), on(&second)];
    let graph = load(&here, &mut || device.turn(), ("step", STEP)).expect("a graph");
    let another = load(&there, &mut || other.turn(), ("step", STEP)).expect("a graph");
    let (mut slot, mut foreign) = (graph.slot().expect("a slot"), another.slot().expect("a slot"));
    let (given, state) = (x(0, 0).into(), Value::from(Tensor::zeros(DType::F32, &[1, 2])));
    let [next, _] = advance(slot.as_mut(), &given, &state).expect("a step");
    let error = advance(foreign.as_mut(), &given, &next).expect_err("another GPU");
    assert!(error.to_string().contains("on another GPU"), "{error}");
    drop((device, next));
    assert!(matches!(here.health(), Health::Lost { .. }), "an ended loop is reported");
}

#[test]
fn without_a_driver_a_gpu_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().expect("a folder");
    let (gpu, mut device) = crate::fixture::with(config(&folder.path().join("libcuda.so.1")));
    let error = load(&gpu, &mut || device.turn(), ("step", STEP)).err().expect("no driver").to_string();
    assert!(error.contains("NVIDIA's driver") && error.contains("run on the CPU"), "{error}");
    let refused = gpu.begin_load("step", Onnx::Bytes(STEP)).expect("a command");
    device.turn();
    assert!(refused.wait().is_err(), "and again");
}
