//! The GPU backend: the contract, results in every stream interleaving, and what is freed.

use std::collections::BTreeSet;

use visage::backend::{Backend, BackendError, CpuBackend, DType, Graph, Onnx, Slot, Tensor, Value};
use visage::telemetry::StepTimes;

use crate::chain::{Chain, Results, kernels, on_the_cpu};
use crate::contract::{CLAUSES, DECODE, DENOISE, STEP, Subject, TYPED_CLAUSES, rows};
use crate::fixture::{load, load_kernel, on, with, with_kernels};
use crate::stub_driver::{Counts, StubDriver};

/// Stream interleavings that each test tries.
pub const SEEDS: u64 = 500;
/// Sessions, and steps of each.
const SESSIONS: usize = 3;
const STEPS: usize = 6;

#[test]
fn a_gpu_keeps_the_contract_in_every_interleaving() {
    let stub = StubDriver::new();
    let clauses: Vec<_> = CLAUSES.iter().chain(TYPED_CLAUSES).collect();
    for seed in 0..SEEDS {
        let (clause, keep) = clauses[seed as usize % clauses.len()];
        stub.seed(seed / clauses.len() as u64 * 7 + seed);
        let (gpu, mut device) = on(&stub);
        let load = |turn: &mut dyn FnMut(), graph: (&str, &[u8])| load(&gpu, turn, graph);
        keep(&mut Subject { load: &load, drive: &mut || device.turn() });
        drop((gpu, device));
        stub.assert_obeyed();
        assert_eq!(stub.counts().living(), 0, "seed {seed}, {clause}: {:?}", stub.counts());
    }
}

/// The input of one session at one step.
pub fn x(session: usize, step: usize) -> Tensor {
    let at = |n: usize| ((session * 31 + step * 7 + n * 3) % 17) as f32 / 40.0 - 0.2;
    rows([1, 3], &[at(0), at(1), at(2)])
}

/// Submits steps of all sessions without waiting for any, then waits for every output. Returns what the sessions got, one
/// after the other.
pub fn run_sessions(graph: &dyn Graph, turn: &mut dyn FnMut()) -> Result<Vec<Vec<f32>>, BackendError> {
    let open = |_| Ok((graph.slot()?, Value::from(Tensor::zeros(DType::F32, &[1, 2]))));
    let mut sessions = (0..SESSIONS).map(open).collect::<Result<Vec<_>, BackendError>>()?;
    let mut pending: Vec<Vec<Value>> = (0..SESSIONS).map(|_| Vec::new()).collect();
    for step in 0..STEPS {
        for (session, (slot, state)) in sessions.iter_mut().enumerate() {
            let given = x(session, step).into();
            let [next, mut y] = advance(slot.as_mut(), &given, state)?;
            y.download()?;
            *state = next;
            pending[session].push(y);
        }
    }
    for ((_, mut state), pending) in sessions.into_iter().zip(&mut pending) {
        state.download()?;
        pending.push(state);
    }
    pending.into_iter().map(|pending| collect(pending, turn)).collect()
}

pub fn advance(slot: &mut dyn Slot, x: &Value, state: &Value) -> Result<[Value; 2], BackendError> {
    let outputs = slot.submit(&[("x", x), ("state", state)], &["next_state", "y"])?;
    outputs.try_into().map_err(|_count| BackendError::Busy { found: "two outputs" })
}

fn collect(pending: Vec<Value>, turn: &mut dyn FnMut()) -> Result<Vec<f32>, BackendError> {
    let mut seen = Vec::new();
    for mut value in pending {
        while !value.is_ready() {
            turn();
        }
        seen.extend(value.take()?.into_f32());
    }
    Ok(seen)
}

/// The times of a step.
pub fn times(graph: &dyn Graph, turn: &mut dyn FnMut()) -> StepTimes {
    let mut slot = graph.slot().expect("a slot");
    let zero = Value::from(Tensor::zeros(DType::F32, &[1, 2]));
    let [_, mut y] = advance(slot.as_mut(), &x(0, 0).into(), &zero).expect("a step");
    y.download().expect("room");
    while !y.is_ready() {
        turn();
    }
    y.take_timed().expect("a tensor").1
}

pub fn wanted() -> Vec<Vec<f32>> {
    let graph = CpuBackend::new().load("step", Onnx::Bytes(STEP)).expect("a graph");
    run_sessions(graph.as_ref(), &mut || ()).expect("steps")
}

#[test]
fn no_interleaving_changes_results_and_everything_is_freed() {
    let (stub, wanted) = (StubDriver::new(), wanted());
    let mut interleavings = BTreeSet::new();
    for seed in 0..SEEDS * 3 / 2 {
        stub.seed(seed);
        let (gpu, mut device) = on(&stub);
        let graph = load(&gpu, &mut || device.turn(), ("step", STEP)).expect("a graph");
        let before = stub.counts();
        let seen = run_sessions(graph.as_ref(), &mut || device.turn()).expect("steps");
        assert_eq!(seen, wanted, "seed {seed}");
        let after = stub.counts();
        let memory = |counts: Counts| (counts.allocations, counts.page_locks, counts.frees);
        assert_eq!(memory(before), memory(after), "seed {seed}");
        assert_eq!((before.stream_waits, before.device_waits), (after.stream_waits, after.device_waits), "seed {seed}");
        let work = gpu.work();
        assert_eq!(work.loop_stalls, 0);
        assert_eq!(work.steps, (SESSIONS * STEPS) as u64);
        // Sessions are batched, and every run is a replay.
        assert_eq!(work.runs, STEPS as u64);
        assert_eq!(work.replays, STEPS as u64);
        interleavings.insert(after.order);
        drop((graph, gpu, device));
        stub.assert_obeyed();
        assert_eq!(stub.counts().living(), 0, "seed {seed}: {:?}", stub.counts());
    }
    // Some seeds lead to the same interleaving.
    assert!(interleavings.len() as u64 >= SEEDS, "only {} interleavings differ", interleavings.len());
}

#[test]
fn a_step_overtakes_no_download_from_its_own_buffer_set() {
    let stub = StubDriver::new();
    for seed in 0..64 {
        stub.seed(seed);
        let (gpu, mut device) = on(&stub);
        let graph = load(&gpu, &mut || device.turn(), ("step", STEP)).expect("a graph");
        let [mut one, mut other] = [(); 2].map(|()| graph.slot().expect("a slot"));
        let zero = Value::from(Tensor::zeros(DType::F32, &[1, 2]));
        let step = |slot: &mut dyn Slot, n: usize| advance(slot, &x(0, n).into(), &zero).expect("a step");
        let [held, y] = step(other.as_mut(), 0);
        drop((y, step(other.as_mut(), 1)));
        device.turn();
        // The first starts a run, which the other's third step may share; the other's first outputs are in the same set.
        let _shared = step(one.as_mut(), 2);
        let mut asked = held;
        asked.download().expect("room");
        let _third = step(other.as_mut(), 3);
        let seen = collect(vec![asked], &mut || device.turn()).expect("a tensor");
        assert_eq!(seen, first_state(0), "seed {seed}");
    }
}

/// The state after step `n` from zero, on the CPU.
fn first_state(n: usize) -> Vec<f32> {
    let graph = CpuBackend::new().load("step", Onnx::Bytes(STEP)).expect("a graph");
    let mut slot = graph.slot().expect("a slot");
    let [state, _] =
        advance(slot.as_mut(), &x(0, n).into(), &Tensor::zeros(DType::F32, &[1, 2]).into()).expect("a step");
    state.take().expect("a tensor").into_f32()
}

#[test]
fn a_step_shares_no_run_with_the_one_that_computes_its_input() {
    let stub = StubDriver::new();
    for seed in 0..64 {
        stub.seed(seed);
        let (gpu, mut device) = on(&stub);
        let graph = load(&gpu, &mut || device.turn(), ("step", STEP)).expect("a graph");
        let [mut one, mut other] = [(); 2].map(|()| graph.slot().expect("a slot"));
        let [given, zero] = [x(0, 0).into(), Value::from(Tensor::zeros(DType::F32, &[1, 2]))];
        let [state, _] = advance(one.as_mut(), &given, &zero).expect("a step");
        let [mut twice, _] = advance(other.as_mut(), &given, &state).expect("a step of another session");
        twice.download().expect("room");
        let seen = collect(vec![twice], &mut || device.turn()).expect("a tensor");
        let wanted: Vec<f32> = first_state(0).iter().map(|value| value * 2.0).collect();
        assert_eq!(seen, wanted, "seed {seed}");
    }
}

#[test]
fn a_closing_gpu_waits_for_work_under_way() {
    let stub = StubDriver::new();
    for seed in 0..SEEDS {
        stub.seed(seed);
        let (gpu, mut device) = on(&stub);
        let graph = load(&gpu, &mut || device.turn(), ("step", STEP)).expect("a graph");
        let mut slot = graph.slot().expect("a slot");
        let zero = Value::from(Tensor::zeros(DType::F32, &[1, 2]));
        let [next, y] = advance(slot.as_mut(), &x(0, 0).into(), &zero).expect("a step");
        device.turn();
        drop((next, y, slot, graph, gpu, device));
        stub.assert_obeyed();
        assert_eq!(stub.counts().living(), 0, "seed {seed}: {:?}", stub.counts());
    }
}

/// Results with the `n`th wait ignored.
fn run_without_wait(stub: &StubDriver, (seed, n): (u64, u64)) -> Option<Vec<Vec<f32>>> {
    stub.seed(seed);
    stub.ignore_wait(n);
    let (gpu, mut device) = on(stub);
    let graph = load(&gpu, &mut || device.turn(), ("step", STEP)).expect("a graph");
    run_sessions(graph.as_ref(), &mut || device.turn()).ok()
}

#[test]
fn without_any_one_of_its_waits_results_are_seen_to_go_wrong() {
    let (stub, wanted) = (StubDriver::new(), wanted());
    assert_eq!(run_without_wait(&stub, (1, 0)), Some(wanted.clone()));
    let waits = stub.counts().waits;
    assert!(waits > 20, "{waits} waits");
    for n in 1..=waits {
        let seen = (0..SEEDS).any(|seed| run_without_wait(&stub, (seed, n)).as_ref() != Some(&wanted));
        assert!(seen, "wait {n} of {waits} may be ignored and no interleaving shows it");
    }
}

#[test]
fn in_every_interleaving_upload_run_and_download_are_timed() {
    let stub = StubDriver::new();
    for seed in 0..SEEDS {
        stub.seed(seed);
        let (gpu, mut device) = on(&stub);
        let graph = load(&gpu, &mut || device.turn(), ("step", STEP)).expect("a graph");
        let times = times(graph.as_ref(), &mut || device.turn());
        assert_eq!(times.parts().count(), 3, "seed {seed}: {times:?}");
    }
}

/// Sessions on the chain of graphs and kernels.
fn load_chain(stub: &StubDriver) -> (Chain, impl FnMut()) {
    let (gpu, mut device) = with(with_kernels(stub));
    let turn = &mut || device.turn();
    let graphs = [("denoise", DENOISE), ("decode", DECODE)].map(|graph| load(&gpu, turn, graph).expect("a graph"));
    let kernels = kernels().map(|spec| load_kernel(&gpu, turn, spec).expect("a kernel"));
    drop(gpu);
    (Chain::of(graphs, kernels), move || device.turn())
}

/// Submits two clips of each of two sessions without waiting in between, then waits for their results: those of the seeds 0
/// to 3.
fn run_chain(chain: &Chain, turn: &mut dyn FnMut()) -> Result<Vec<Results>, BackendError> {
    let mut sessions = [chain.session()?, chain.session()?];
    let mut pending = Vec::new();
    for seed in 0..4 {
        pending.push(sessions[seed % 2].submit(seed)?);
        turn();
    }
    let mut results = Vec::new();
    for [frame, latents] in pending {
        results.push([finish(frame, turn)?, finish(latents, turn)?]);
    }
    Ok(results)
}

/// Turns the device until a download is done; its bytes.
fn finish(mut value: Value, turn: &mut dyn FnMut()) -> Result<Vec<u8>, BackendError> {
    while !value.is_ready() {
        turn();
    }
    Ok(value.take()?.to_bytes())
}

#[test]
fn a_chain_of_kernels_and_graphs_gives_the_cpus_frames_in_every_interleaving() {
    let (stub, wanted) = (StubDriver::new(), on_the_cpu(0..4));
    for seed in 0..SEEDS / 4 {
        stub.seed(seed);
        let (chain, mut turn) = load_chain(&stub);
        let before = stub.counts();
        let results = run_chain(&chain, &mut turn).expect("a chain");
        // The stub computes as the CPU does: not a byte differs.
        assert!(results == wanted, "seed {seed}");
        let after = stub.counts();
        assert_eq!((before.allocations, before.page_locks), (after.allocations, after.page_locks), "seed {seed}");
        assert_eq!((before.stream_waits, before.device_waits), (after.stream_waits, after.device_waits), "seed {seed}");
        drop((chain, turn));
        stub.assert_obeyed();
        assert_eq!(stub.counts().living(), 0, "seed {seed}: {:?}", stub.counts());
    }
}

#[test]
fn without_any_one_of_its_waits_a_chain_is_seen_to_go_wrong() {
    let (stub, wanted) = (StubDriver::new(), on_the_cpu(0..4));
    let run = |seed, n| {
        stub.seed(seed);
        stub.ignore_wait(n);
        let (chain, mut turn) = load_chain(&stub);
        run_chain(&chain, &mut turn).is_ok_and(|results| results == wanted)
    };
    assert!(run(1, 0));
    let waits = stub.counts().waits;
    assert!(waits > 20, "{waits} waits");
    let unneeded: Vec<u64> = (1..=waits).filter(|n| (0..SEEDS).all(|seed| run(seed, *n))).collect();
    assert!(unneeded.is_empty(), "waits {unneeded:?} of {waits} may be ignored and no interleaving shows it");
}

#[test]
fn a_kernel_without_a_cubin_is_refused_with_what_to_do() {
    let stub = StubDriver::new();
    stub.seed(3);
    let (gpu, mut device) = on(&stub);
    assert!(!gpu.has_device_kernels());
    let [spec, ..] = kernels();
    let error = load_kernel(&gpu, &mut || device.turn(), spec).err().expect("no cubin").to_string();
    assert!(error.contains("window_input_f16") && error.contains("visage kernels build"), "{error}");
}
