//! The card: the contract, what no order of its streams may change, and what is given back.

use std::collections::BTreeSet;

use visage::backend::gpu::GpuBackend;
use visage::backend::{Backend, BackendError, CpuBackend, Graph, Onnx, Slot, Tensor, Value};
use visage::telemetry::StepTimes;

use crate::contract::{CLAUSES, STEP, Stage, rows};
use crate::fixture::on;
use crate::stub_driver::{Counts, StubDriver};

/// Orders of streams that each test tries.
pub const SEEDS: u64 = 500;
/// Sessions and steps of a show.
const SESSIONS: usize = 3;
const STEPS: usize = 6;

pub fn load(card: &GpuBackend, turn: &mut dyn FnMut(), onnx: &[u8]) -> Result<Box<dyn Graph>, BackendError> {
    let loading = card.begin_load("step", Onnx::Bytes(onnx))?;
    turn();
    loading.wait()
}

#[test]
fn a_card_keeps_the_contract_in_every_order() {
    let stub = StubDriver::new();
    for seed in 0..SEEDS {
        let (clause, keep) = CLAUSES[seed as usize % CLAUSES.len()];
        stub.seed(seed / CLAUSES.len() as u64 * 7 + seed);
        let (card, mut owner) = on(&stub);
        let open = |turn: &mut dyn FnMut(), onnx: &[u8]| load(&card, turn, onnx);
        keep(&mut Stage { open: &open, drive: &mut || owner.turn() });
        drop((card, owner));
        stub.assert_obeyed();
        assert_eq!(stub.counts().living(), 0, "seed {seed}, {clause}: {:?}", stub.counts());
    }
}

/// The voice of one session at one step.
pub fn x(session: usize, step: usize) -> Tensor {
    let at = |n: usize| ((session * 31 + step * 7 + n * 3) % 17) as f32 / 40.0 - 0.2;
    rows([1, 3], &[at(0), at(1), at(2)])
}

/// A show: steps of all sessions are handed over without waiting for any, then every output is waited for. Gives what the
/// sessions saw, one after the other.
pub fn show(graph: &dyn Graph, turn: &mut dyn FnMut()) -> Result<Vec<Vec<f32>>, BackendError> {
    let open = |_| Ok((graph.slot()?, Value::from(Tensor::zeros(&[1, 2]))));
    let mut sessions = (0..SESSIONS).map(open).collect::<Result<Vec<_>, BackendError>>()?;
    let mut coming: Vec<Vec<Value>> = (0..SESSIONS).map(|_| Vec::new()).collect();
    for step in 0..STEPS {
        for (session, (slot, state)) in sessions.iter_mut().enumerate() {
            let given = x(session, step).into();
            let [next, mut y] = advance(slot.as_mut(), &given, state)?;
            y.ask()?;
            *state = next;
            coming[session].push(y);
        }
    }
    for ((_, mut state), coming) in sessions.into_iter().zip(&mut coming) {
        state.ask()?;
        coming.push(state);
    }
    coming.into_iter().map(|coming| arrive(coming, turn)).collect()
}

pub fn advance(slot: &mut dyn Slot, x: &Value, state: &Value) -> Result<[Value; 2], BackendError> {
    let outputs = slot.step(&[("x", x), ("state", state)], &["next_state", "y"])?;
    outputs.try_into().map_err(|_count| BackendError::Busy { found: "two outputs" })
}

fn arrive(coming: Vec<Value>, turn: &mut dyn FnMut()) -> Result<Vec<f32>, BackendError> {
    let mut seen = Vec::new();
    for mut value in coming {
        while !value.is_here() {
            turn();
        }
        seen.extend(value.take()?.values);
    }
    Ok(seen)
}

/// The times of a step.
pub fn times(graph: &dyn Graph, turn: &mut dyn FnMut()) -> StepTimes {
    let mut slot = graph.slot().expect("a slot");
    let zero = Value::from(Tensor::zeros(&[1, 2]));
    let [_, mut y] = advance(slot.as_mut(), &x(0, 0).into(), &zero).expect("a step");
    y.ask().expect("room");
    while !y.is_here() {
        turn();
    }
    y.take_timed().expect("a tensor").1
}

pub fn wanted() -> Vec<Vec<f32>> {
    let graph = CpuBackend::new().load("step", Onnx::Bytes(STEP)).expect("a graph");
    show(graph.as_ref(), &mut || ()).expect("a show")
}

#[test]
fn no_order_of_streams_changes_what_is_seen_and_nothing_is_left_over() {
    let (stub, wanted) = (StubDriver::new(), wanted());
    let mut orders = BTreeSet::new();
    for seed in 0..SEEDS * 3 / 2 {
        stub.seed(seed);
        let (card, mut owner) = on(&stub);
        let graph = load(&card, &mut || owner.turn(), STEP).expect("a graph");
        let before = stub.counts();
        let seen = show(graph.as_ref(), &mut || owner.turn()).expect("a show");
        assert_eq!(seen, wanted, "seed {seed}");
        let after = stub.counts();
        let memory = |counts: Counts| (counts.allocations, counts.page_locks, counts.frees);
        assert_eq!(memory(before), memory(after), "seed {seed}");
        assert_eq!((before.stream_waits, before.device_waits), (after.stream_waits, after.device_waits), "seed {seed}");
        let work = card.work();
        assert_eq!(work.asked_in_loop, 0);
        assert_eq!(work.steps, (SESSIONS * STEPS) as u64);
        // Sessions in step share runs, and every run is a replay.
        assert_eq!(work.runs, STEPS as u64);
        assert_eq!(work.replays, STEPS as u64);
        orders.insert(after.order);
        drop((graph, card, owner));
        stub.assert_obeyed();
        assert_eq!(stub.counts().living(), 0, "seed {seed}: {:?}", stub.counts());
    }
    // Some seeds come to the same order.
    assert!(orders.len() as u64 >= SEEDS, "only {} orders differ", orders.len());
}

#[test]
fn a_step_overtakes_no_question_for_what_its_set_holds() {
    let stub = StubDriver::new();
    for seed in 0..64 {
        stub.seed(seed);
        let (card, mut owner) = on(&stub);
        let graph = load(&card, &mut || owner.turn(), STEP).expect("a graph");
        let [mut one, mut other] = [(); 2].map(|()| graph.slot().expect("a slot"));
        let zero = Value::from(Tensor::zeros(&[1, 2]));
        let step = |slot: &mut dyn Slot, n: usize| advance(slot, &x(0, n).into(), &zero).expect("a step");
        let [held, y] = step(other.as_mut(), 0);
        drop((y, step(other.as_mut(), 1)));
        owner.turn();
        // One begins a run, which the other's third step may share; what the other's first step left lies in the same set.
        let _shared = step(one.as_mut(), 2);
        let mut asked = held;
        asked.ask().expect("room");
        let _third = step(other.as_mut(), 3);
        let seen = arrive(vec![asked], &mut || owner.turn()).expect("a tensor");
        assert_eq!(seen, first_state(0), "seed {seed}");
    }
}

/// The state after the step `n` from nothing, as the CPU has it.
fn first_state(n: usize) -> Vec<f32> {
    let graph = CpuBackend::new().load("step", Onnx::Bytes(STEP)).expect("a graph");
    let mut slot = graph.slot().expect("a slot");
    let [state, _] = advance(slot.as_mut(), &x(0, n).into(), &Tensor::zeros(&[1, 2]).into()).expect("a step");
    state.take().expect("a tensor").values
}

#[test]
fn a_step_shares_no_run_with_the_one_that_it_is_fed_by() {
    let stub = StubDriver::new();
    for seed in 0..64 {
        stub.seed(seed);
        let (card, mut owner) = on(&stub);
        let graph = load(&card, &mut || owner.turn(), STEP).expect("a graph");
        let [mut one, mut other] = [(); 2].map(|()| graph.slot().expect("a slot"));
        let [given, zero] = [x(0, 0).into(), Value::from(Tensor::zeros(&[1, 2]))];
        let [state, _] = advance(one.as_mut(), &given, &zero).expect("a step");
        let [mut twice, _] = advance(other.as_mut(), &given, &state).expect("a step of another session");
        twice.ask().expect("room");
        let seen = arrive(vec![twice], &mut || owner.turn()).expect("a tensor");
        let wanted: Vec<f32> = first_state(0).iter().map(|value| value * 2.0).collect();
        assert_eq!(seen, wanted, "seed {seed}");
    }
}

#[test]
fn a_card_that_is_closed_waits_for_what_is_under_way() {
    let stub = StubDriver::new();
    for seed in 0..SEEDS {
        stub.seed(seed);
        let (card, mut owner) = on(&stub);
        let graph = load(&card, &mut || owner.turn(), STEP).expect("a graph");
        let mut slot = graph.slot().expect("a slot");
        let zero = Value::from(Tensor::zeros(&[1, 2]));
        let [next, y] = advance(slot.as_mut(), &x(0, 0).into(), &zero).expect("a step");
        owner.turn();
        drop((next, y, slot, graph, card, owner));
        stub.assert_obeyed();
        assert_eq!(stub.counts().living(), 0, "seed {seed}: {:?}", stub.counts());
    }
}

/// What a show sees with the `n`th wait forgotten.
fn show_without(stub: &StubDriver, (seed, n): (u64, u64)) -> Option<Vec<Vec<f32>>> {
    stub.seed(seed);
    stub.ignore_wait(n);
    let (card, mut owner) = on(stub);
    let graph = load(&card, &mut || owner.turn(), STEP).expect("a graph");
    show(graph.as_ref(), &mut || owner.turn()).ok()
}

#[test]
fn without_any_one_of_its_waits_a_show_is_seen_to_go_wrong() {
    let (stub, wanted) = (StubDriver::new(), wanted());
    assert_eq!(show_without(&stub, (1, 0)), Some(wanted.clone()));
    let waits = stub.counts().waits;
    assert!(waits > 20, "{waits} waits");
    for n in 1..=waits {
        let seen = (0..SEEDS).any(|seed| show_without(&stub, (seed, n)).as_ref() != Some(&wanted));
        assert!(seen, "wait {n} of {waits} may be left out and no order shows it");
    }
}

#[test]
fn in_every_order_a_step_is_timed_up_on_and_down() {
    let stub = StubDriver::new();
    for seed in 0..SEEDS {
        stub.seed(seed);
        let (card, mut owner) = on(&stub);
        let graph = load(&card, &mut || owner.turn(), STEP).expect("a graph");
        let times = times(graph.as_ref(), &mut || owner.turn());
        assert_eq!(times.parts().count(), 3, "seed {seed}: {times:?}");
    }
}
