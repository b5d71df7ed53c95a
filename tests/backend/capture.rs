//! Engines that are not as usual: one that no graph can be captured of, one that takes few rows, one that is fed by itself alone.

use std::sync::{Arc, Mutex};

use visage::backend::gpu::card;
use visage::backend::{BackendError, Graph, Health, Onnx, Slot, Tensor};
use visage_kernels::cuda::{Device, Engine, EngineError, EngineSource, Memory, Port, Side, Stream};

use crate::contract::{STEP, rows};
use crate::engine::{HostEngines, Open, Compute};
use crate::fixture::{config, engines};
use crate::gpu::{advance, load, show, wanted, x};
use crate::stub_driver::{Fault, StubDriver};

/// The engines that reckon on the host, each made another by `change`.
struct Changed<F>(HostEngines, F);

impl<E: Engine + 'static, F: FnMut(Box<dyn Engine>, &Device) -> E + Send> EngineSource for Changed<F> {
    fn engine(&mut self, device: &Device, name: &str, source: Onnx<'_>) -> Result<Box<dyn Engine>, EngineError> {
        let engine = self.0.engine(device, name, source)?;
        Ok(Box::new((self.1)(engine, device)))
    }
}

/// Takes memory whenever it runs, which no capture allows, and says no more than that it failed, as TensorRT does.
struct Taking(Box<dyn Engine>, Device);

impl Engine for Taking {
    fn ports(&self) -> &[Port] {
        self.0.ports()
    }

    fn enqueue(&mut self, stream: &Stream, rows: usize, addresses: &[u64]) -> Result<(), EngineError> {
        let failed = |_| EngineError::Run { found: "it did not run".to_owned() };
        Memory::take(&self.1, 64).map(drop).map_err(failed)?;
        self.0.enqueue(stream, rows, addresses)
    }
}

/// Takes two rows at most.
struct Narrow(Box<dyn Engine>);

impl Engine for Narrow {
    fn ports(&self) -> &[Port] {
        self.0.ports()
    }

    fn most_rows(&self) -> usize {
        2
    }

    fn enqueue(&mut self, stream: &Stream, rows: usize, addresses: &[u64]) -> Result<(), EngineError> {
        assert!(rows <= 2, "{rows} rows");
        self.0.enqueue(stream, rows, addresses)
    }
}

#[test]
fn an_engine_that_cannot_be_captured_runs_all_the_same_and_the_counts_show_it() {
    let (stub, wanted) = (StubDriver::new(), wanted());
    for seed in 0..64 {
        stub.seed(seed);
        let change = |engine, device: &Device| Taking(engine, device.clone());
        let (card, mut owner) = card(config(stub.path()), Box::new(Changed(HostEngines(engines()), change)));
        let graph = load(&card, &mut || owner.turn(), STEP).expect("a graph");
        // Refused once for each number of rows, and not tried again.
        assert_eq!((stub.counts().violations, stub.complaint().as_str()), (4, "a call that a capture forbids"));
        assert_eq!(show(graph.as_ref(), &mut || owner.turn()), Ok(wanted.clone()), "seed {seed}");
        let work = card.work();
        let counts = [work.runs, work.replays, work.asked_in_loop];
        assert_eq!(counts, [6, 0, 6], "seed {seed}: runs, replays, asked in the loop");
        drop((graph, card, owner));
        assert_eq!((stub.counts().living(), stub.counts().violations), (0, 4), "seed {seed}");
    }
}

/// What a test does while an engine is run.
type Meanwhile = Arc<Mutex<Option<Box<dyn FnOnce() + Send>>>>;

/// Cannot be captured; while it is run the next time, something else happens.
struct Slow(Taking, Meanwhile);

impl Engine for Slow {
    fn ports(&self) -> &[Port] {
        self.0.ports()
    }

    fn enqueue(&mut self, stream: &Stream, rows: usize, addresses: &[u64]) -> Result<(), EngineError> {
        self.0.enqueue(stream, rows, addresses)?;
        let meanwhile = self.1.lock().expect("a lock").take();
        meanwhile.into_iter().for_each(|happens| happens());
        Ok(())
    }
}

#[test]
fn an_order_for_the_device_as_it_was_before_a_fault_is_not_begun_on_the_new_one() {
    let stub = Arc::new(StubDriver::new());
    stub.seed(6);
    let meanwhile = Meanwhile::default();
    let hook = Arc::clone(&meanwhile);
    let change = move |engine, device: &Device| Slow(Taking(engine, device.clone()), Arc::clone(&hook));
    let (card, mut owner) = card(config(stub.path()), Box::new(Changed(HostEngines(engines()), change)));
    let graph = load(&card, &mut || owner.turn(), STEP).expect("a graph");
    let [mut one, mut late] = [(); 2].map(|()| graph.slot().expect("a slot"));
    let step = |slot: &mut dyn Slot| advance(slot, &x(0, 0).into(), &Tensor::zeros(&[1, 2]).into()).expect("an order");
    let refused = stub.counts().violations;
    let (breaks, kept) = (Arc::clone(&stub), Arc::new(Mutex::new(None)));
    let keep = Arc::clone(&kept);
    *meanwhile.lock().expect("a lock") = Some(Box::new(move || {
        *keep.lock().expect("a lock") = Some(step(late.as_mut()));
        breaks.fail(Fault::Sticky(999), 1);
    }));
    let lost = step(one.as_mut());
    owner.turn();
    assert!(matches!(card.health(), Health::Recovering { .. }), "{:?}", card.health());
    owner.turn();
    assert_eq!((card.health(), card.work().steps), (Health::Ready, 0));
    // Its block of locked memory went with the old context; nothing of it reached the new one. Captures were refused anew.
    drop((lost, kept, one, graph, card, owner));
    assert_eq!((stub.counts().violations, stub.counts().living()), (refused + 4, 0));
}

#[test]
fn no_run_has_more_rows_than_its_engine_takes() {
    let (stub, wanted) = (StubDriver::new(), wanted());
    stub.seed(4);
    let (card, mut owner) =
        card(config(stub.path()), Box::new(Changed(HostEngines(engines()), |engine, _: &Device| Narrow(engine))));
    let graph = load(&card, &mut || owner.turn(), STEP).expect("a graph");
    assert_eq!(show(graph.as_ref(), &mut || owner.turn()), Ok(wanted));
    // Three sessions of six steps, two steps in each run.
    assert_eq!(card.work().runs, 9);
    assert!(three_rows(graph.as_ref()).expect_err("three").to_string().contains("3 rows, 1 to 2 fit"));
}

fn three_rows(graph: &dyn Graph) -> Result<(), BackendError> {
    let (x, state) = (rows([3, 3], &[0.0; 9]).into(), rows([3, 2], &[0.0; 6]).into());
    graph.slot()?.step(&[("x", &x), ("state", &state)], &["y"]).map(drop)
}

#[test]
fn every_captured_graph_has_been_replayed_before_a_session_comes() {
    let stub = StubDriver::new();
    stub.seed(2);
    let (card, mut owner) = crate::fixture::on(&stub);
    let _graph = load(&card, &mut || owner.turn(), STEP).expect("a graph");
    // For each of four numbers of rows: a run, a run that is captured, a replay.
    assert_eq!(stub.counts().launches, 12);
}

/// Adds one, so that each step can be fed by the one before.
fn adding() -> Open {
    let port = |name: &str, side| Port { name: name.to_owned(), side, shape: vec![None, Some(2)] };
    Box::new(move |_, _| {
        let ports = vec![port("state", Side::Input), port("next_state", Side::Output)];
        let compute: Compute = Arc::new(|given| vec![given[0].1.iter().map(|value| value + 1.0).collect()]);
        Ok((ports, compute))
    })
}

#[test]
fn a_step_that_sends_nothing_up_has_no_time_of_doing_so() {
    let stub = StubDriver::new();
    stub.seed(5);
    let (card, mut owner) = card(config(stub.path()), Box::new(HostEngines(adding())));
    let graph = load(&card, &mut || owner.turn(), STEP).expect("a graph");
    let mut slot = graph.slot().expect("a slot");
    let mut state = rows([1, 2], &[0.0, 5.0]).into();
    for (step, goes_up) in [(1, true), (2, false), (3, false)] {
        let next = slot.step(&[("state", &state)], &["next_state", "next_state"]).expect("a step");
        let [next, mut shown] = <[_; 2]>::try_from(next).expect("two of the same");
        shown.ask().expect("room");
        while !shown.is_here() {
            owner.turn();
        }
        let (tensor, times) = shown.take_timed().expect("a tensor");
        assert_eq!(tensor.values, [step as f32, 5.0 + step as f32]);
        assert_eq!((times.up.is_some(), times.run.is_some()), (goes_up, true), "step {step}: {times:?}");
        state = next;
    }
}
