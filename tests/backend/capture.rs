//! Unusual engines: one that cannot be captured, one with a small batch, one whose only input is its own output.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use visage::backend::gpu::open;
use visage::backend::{Axis, BackendError, DType, Graph, Health, Lengths, Onnx, Signature, Slot, Tensor, TensorInfo};
use visage_kernels::cuda::{AxisRange, Device, Engine, EngineError, EngineSource, Memory, Stream};

use crate::contract::{STEP, rows};
use crate::engine::{Compute, HostEngines, HostGraph, Open};
use crate::fixture::{config, engines, load};
use crate::gpu::{advance, run_sessions, wanted, x};
use crate::stub_driver::{Fault, StubDriver};

/// The engines that compute on the host, each wrapped by a function.
struct Changed<F>(HostEngines, F);

impl<E: Engine + 'static, F: FnMut(Box<dyn Engine>, &Device) -> E + Send> EngineSource for Changed<F> {
    fn engine(&mut self, device: &Device, name: &str, source: Onnx<'_>) -> Result<Box<dyn Engine>, EngineError> {
        let engine = self.0.engine(device, name, source)?;
        Ok(Box::new((self.1)(engine, device)))
    }
}

/// Allocates whenever it runs, which no capture allows, and only says that it failed, as TensorRT does.
struct Allocating(Box<dyn Engine>, Device);

impl Engine for Allocating {
    fn signature(&self) -> &Signature {
        self.0.signature()
    }

    fn ranges(&self) -> &BTreeMap<String, AxisRange> {
        self.0.ranges()
    }

    fn enqueue(&mut self, stream: &Stream, lengths: &Lengths, addresses: &[u64]) -> Result<(), EngineError> {
        let failed = |_| EngineError::Run { found: "it did not run".to_owned() };
        Memory::take(&self.1, 64).map(drop).map_err(failed)?;
        self.0.enqueue(stream, lengths, addresses)
    }
}

/// Takes two rows at most.
struct Narrow(Box<dyn Engine>, BTreeMap<String, AxisRange>);

impl Engine for Narrow {
    fn signature(&self) -> &Signature {
        self.0.signature()
    }

    fn ranges(&self) -> &BTreeMap<String, AxisRange> {
        &self.1
    }

    fn enqueue(&mut self, stream: &Stream, lengths: &Lengths, addresses: &[u64]) -> Result<(), EngineError> {
        assert!(lengths["n"] <= 2, "{lengths:?}");
        self.0.enqueue(stream, lengths, addresses)
    }
}

#[test]
fn an_engine_that_cannot_be_captured_runs_and_the_counters_show_it() {
    let (stub, wanted) = (StubDriver::new(), wanted());
    for seed in 0..64 {
        stub.seed(seed);
        let change = |engine, device: &Device| Allocating(engine, device.clone());
        let (gpu, mut device) = open(config(stub.path()), Box::new(Changed(HostEngines(engines()), change)));
        let graph = load(&gpu, &mut || device.turn(), ("step", STEP)).expect("a graph");
        // Refused once for each batch size, and not tried again.
        assert_eq!((stub.counts().violations, stub.complaint().as_str()), (4, "a call that a capture forbids"));
        assert_eq!(run_sessions(graph.as_ref(), &mut || device.turn()), Ok(wanted.clone()), "seed {seed}");
        let work = gpu.work();
        let counts = [work.runs, work.replays, work.loop_stalls];
        assert_eq!(counts, [6, 0, 6], "seed {seed}: runs, replays, loop stalls");
        drop((graph, gpu, device));
        assert_eq!((stub.counts().living(), stub.counts().violations), (0, 4), "seed {seed}");
    }
}

/// What a test does while an engine runs.
type Meanwhile = Arc<Mutex<Option<Box<dyn FnOnce() + Send>>>>;

/// Cannot be captured; during its next run something else happens.
struct Interrupted(Allocating, Meanwhile);

impl Engine for Interrupted {
    fn signature(&self) -> &Signature {
        self.0.signature()
    }

    fn ranges(&self) -> &BTreeMap<String, AxisRange> {
        self.0.ranges()
    }

    fn enqueue(&mut self, stream: &Stream, lengths: &Lengths, addresses: &[u64]) -> Result<(), EngineError> {
        self.0.enqueue(stream, lengths, addresses)?;
        let meanwhile = self.1.lock().expect("a lock").take();
        meanwhile.into_iter().for_each(|happens| happens());
        Ok(())
    }
}

#[test]
fn a_command_for_the_context_before_a_fault_is_not_executed_in_the_new_one() {
    let stub = Arc::new(StubDriver::new());
    stub.seed(6);
    let meanwhile = Meanwhile::default();
    let hook = Arc::clone(&meanwhile);
    let change = move |engine, device: &Device| Interrupted(Allocating(engine, device.clone()), Arc::clone(&hook));
    let (gpu, mut device) = open(config(stub.path()), Box::new(Changed(HostEngines(engines()), change)));
    let graph = load(&gpu, &mut || device.turn(), ("step", STEP)).expect("a graph");
    let [mut one, mut late] = [(); 2].map(|()| graph.slot().expect("a slot"));
    let step = |slot: &mut dyn Slot| {
        advance(slot, &x(0, 0).into(), &Tensor::zeros(DType::F32, &[1, 2]).into()).expect("a command")
    };
    let refused = stub.counts().violations;
    let (breaks, kept) = (Arc::clone(&stub), Arc::new(Mutex::new(None)));
    let keep = Arc::clone(&kept);
    *meanwhile.lock().expect("a lock") = Some(Box::new(move || {
        *keep.lock().expect("a lock") = Some(step(late.as_mut()));
        breaks.fail(Fault::Sticky(999), 1);
    }));
    let lost = step(one.as_mut());
    device.turn();
    assert!(matches!(gpu.health(), Health::Recovering { .. }), "{:?}", gpu.health());
    device.turn();
    assert_eq!((gpu.health(), gpu.work().steps), (Health::Ready, 0));
    // Its pinned buffer belonged to the old context; nothing of it reached the new one. Captures were refused again.
    drop((lost, kept, one, graph, gpu, device));
    assert_eq!((stub.counts().violations, stub.counts().living()), (refused + 4, 0));
}

fn narrow(engine: Box<dyn Engine>, _device: &Device) -> Narrow {
    Narrow(engine, [("n".to_owned(), AxisRange { min: 1, opt: 1, max: 2 })].into())
}

#[test]
fn no_batch_is_larger_than_its_engine_takes() {
    let (stub, wanted) = (StubDriver::new(), wanted());
    stub.seed(4);
    let (gpu, mut device) = open(config(stub.path()), Box::new(Changed(HostEngines(engines()), narrow)));
    let graph = load(&gpu, &mut || device.turn(), ("step", STEP)).expect("a graph");
    assert_eq!(run_sessions(graph.as_ref(), &mut || device.turn()), Ok(wanted));
    // Three sessions of six steps, two steps in each run.
    assert_eq!(gpu.work().runs, 9);
    assert!(three_rows(graph.as_ref()).expect_err("three").to_string().contains("wanted 1 to 2 n, found 3"));
}

fn three_rows(graph: &dyn Graph) -> Result<(), BackendError> {
    let (x, state) = (rows([3, 3], &[0.0; 9]).into(), rows([3, 2], &[0.0; 6]).into());
    graph.slot()?.submit(&[("x", &x), ("state", &state)], &["y"]).map(drop)
}

#[test]
fn every_captured_graph_is_replayed_before_the_first_session() {
    let stub = StubDriver::new();
    stub.seed(2);
    let (gpu, mut device) = crate::fixture::on(&stub);
    let _graph = load(&gpu, &mut || device.turn(), ("step", STEP)).expect("a graph");
    // For each of four batch sizes: a run, a captured run, a replay.
    assert_eq!(stub.counts().launches, 12);
}

/// Adds one, so that each step's input is the output of the one before.
fn adding() -> Open {
    let info = |name: &str| TensorInfo {
        name: name.to_owned(),
        dtype: DType::F32,
        shape: vec![Axis::free("n"), Axis::Fixed(2)],
    };
    Box::new(move |_, _| {
        let compute: Compute = Arc::new(|given| {
            let tensor = Tensor::from_bytes(given[0].0, &given[0].1, given[0].2).expect("as long");
            let added: Vec<f32> = tensor.into_f32().iter().map(|value| value + 1.0).collect();
            vec![Tensor::vector(added).to_bytes()]
        });
        let signature = Signature { inputs: vec![info("state")], outputs: vec![info("next_state")] };
        let ranges = [("n".to_owned(), AxisRange { min: 1, opt: 1, max: 4 })].into();
        Ok(HostGraph { signature, ranges, compute })
    })
}

#[test]
fn a_step_without_an_upload_has_no_upload_time() {
    let stub = StubDriver::new();
    stub.seed(5);
    let (gpu, mut device) = open(config(stub.path()), Box::new(HostEngines(adding())));
    let graph = load(&gpu, &mut || device.turn(), ("step", STEP)).expect("a graph");
    let mut slot = graph.slot().expect("a slot");
    let mut state = rows([1, 2], &[0.0, 5.0]).into();
    for (step, has_upload) in [(1, true), (2, false), (3, false)] {
        let next = slot.submit(&[("state", &state)], &["next_state", "next_state"]).expect("a step");
        let [next, mut shown] = <[_; 2]>::try_from(next).expect("two of the same");
        shown.download().expect("room");
        while !shown.is_ready() {
            device.turn();
        }
        let (tensor, times) = shown.take_timed().expect("a tensor");
        assert_eq!(tensor.into_f32(), [step as f32, 5.0 + step as f32]);
        assert_eq!((times.up.is_some(), times.run.is_some()), (has_upload, true), "step {step}: {times:?}");
        state = next;
    }
}
