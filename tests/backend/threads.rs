//! The card with its loop on a thread of its own, as it runs in production.

use std::sync::Arc;
use std::thread;

use visage::backend::gpu::GpuBackend;
use visage::backend::{Backend, CpuBackend, Graph, Onnx, Tensor, Value};
use visage::model::portrait::{Mouth, MouthNet};
use visage::telemetry::StepTimes;
use visage::time::SampleIndex;

use crate::contract::STEP;
use crate::fixture::{MOUTH, MOUTH_JSON, on};
use crate::gpu::{advance, x};
use crate::stub_driver::StubDriver;

/// Runs `sessions` with a card whose loop is on a thread, and sees that all is given back.
fn with_a_thread(stub: &StubDriver, sessions: impl FnOnce(GpuBackend)) {
    let (card, owner) = on(stub);
    let thread = thread::spawn(move || owner.run(|_| ()));
    sessions(card);
    thread.join().expect("the loop ends when nobody can order any more");
    stub.assert_obeyed();
    assert_eq!(stub.counts().living(), 0, "{:?}", stub.counts());
}

/// What a session sees that carries its state along and waits for each output.
fn sums(backend: &dyn Backend, session: usize) -> Vec<f32> {
    let graph = backend.load("step", Onnx::Bytes(STEP)).expect("a graph");
    let (mut slot, mut state) = (graph.slot().expect("a slot"), Value::from(Tensor::zeros(&[1, 2])));
    let mut seen = Vec::new();
    for step in 0..20 {
        let [next, y] = advance(slot.as_mut(), &x(session, step).into(), &state).expect("a step");
        seen.extend(y.take().expect("a tensor").values);
        state = next;
    }
    seen
}

/// What the mouth's network says to a row of steps, its state carried along; and the times of the last.
pub fn mouth_steps(graph: &dyn Graph) -> (Vec<f32>, StepTimes) {
    let states =
        [("conv1", vec![1, 49, 4]), ("conv2", vec![1, 112, 2]), ("conv3", vec![1, 160, 2]), ("gru", vec![1, 224])];
    let names: Vec<_> = states.iter().map(|(name, _)| (format!("state_{name}"), format!("next_{name}"))).collect();
    let mut carried: Vec<Value> = states.iter().map(|(_, shape)| Tensor::zeros(shape).into()).collect();
    let mut slot = graph.slot().expect("a slot");
    let (mut seen, mut times) = (Vec::new(), StepTimes::default());
    for step in 0..50 {
        let values = (0..4 * 48).map(|n| ((step * 7 + n * 3) % 29) as f32 / 3.0 - 12.0).collect();
        let mel = Value::from(Tensor { shape: vec![1, 4, 48], values });
        let given = names.iter().map(|(state, _)| state.as_str()).zip(&carried);
        let inputs: Vec<_> = std::iter::once(("mel", &mel)).chain(given).collect();
        let outputs: Vec<_> = std::iter::once("weights").chain(names.iter().map(|(_, next)| next.as_str())).collect();
        let mut found = slot.step(&inputs, &outputs).expect("a step").into_iter();
        let (weights, took) = found.next().expect("weights").take_timed().expect("a tensor");
        seen.extend(weights.values);
        (carried, times) = (found.collect(), took);
    }
    (seen, times)
}

#[test]
fn every_way_of_a_step_is_timed() {
    let stub = StubDriver::new();
    stub.seed(9);
    with_a_thread(&stub, |card| {
        let (on_card, times) = mouth_steps(card.load("mouth", Onnx::Bytes(MOUTH)).expect("a graph").as_ref());
        let (wanted, none) =
            mouth_steps(CpuBackend::new().load("mouth", Onnx::Bytes(MOUTH)).expect("a graph").as_ref());
        assert!(on_card == wanted && none == StepTimes::default());
        let StepTimes { up: Some(up), run: Some(run), down: Some(down) } = times else { panic!("{times:?}") };
        assert!(!up.is_zero() && !run.is_zero() && !down.is_zero(), "{times:?}");
    });
}

#[test]
fn sessions_on_threads_of_their_own_share_a_card() {
    let stub = StubDriver::new();
    for seed in 0..8 {
        stub.seed(seed);
        with_a_thread(&stub, |card| {
            thread::scope(|scope| {
                for session in 0..3 {
                    let card = &card;
                    scope.spawn(move || assert_eq!(sums(card, session), sums(&CpuBackend::new(), session)));
                }
            });
        });
    }
}

#[test]
fn the_portraits_mouth_says_the_same_through_a_card() {
    let says = |backend: &dyn Backend| {
        let net = MouthNet::load(backend, MOUTH, MOUTH_JSON, 640).expect("the network loads");
        let mut mouth = Mouth::new(Arc::new(net)).expect("a slot");
        let voice = |n: usize| (n as f32 * 0.05).sin() * (n as f32 * 0.0007).sin() * 0.4;
        let line: Vec<f32> = (0..16_000).map(voice).collect();
        let moments = line.chunks(320).enumerate().map(|(block, heard)| {
            mouth.hear(heard).expect("a step");
            mouth.at(SampleIndex(block as u64 * 320)).weights
        });
        moments.collect::<Vec<_>>()
    };
    let wanted = says(&CpuBackend::new());
    assert!(wanted.iter().flatten().any(|weight| weight.abs() > 0.01), "a mouth that moves");
    let stub = StubDriver::new();
    stub.seed(5);
    with_a_thread(&stub, |card| assert!(says(&card) == wanted, "another mouth"));
}
