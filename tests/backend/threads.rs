//! The card with its loop on a thread of its own, as it runs in production.

use std::sync::Arc;
use std::thread;

use visage::backend::card::Card;
use visage::backend::{Backend, Cpu, Onnx, Tensor, Value};
use visage::model::portrait::{Mouth, MouthNet};
use visage::time::SampleIndex;

use crate::card::{advance, x};
use crate::contract::STEP;
use crate::standin::StandIn;
use crate::world::{MOUTH, MOUTH_JSON, on};

/// Runs `sessions` with a card whose loop is on a thread, and sees that all is given back.
fn with_a_thread(standin: &StandIn, sessions: impl FnOnce(Card)) {
    let (card, owner) = on(standin);
    let thread = thread::spawn(move || owner.run());
    sessions(card);
    thread.join().expect("the loop ends when nobody can order any more");
    standin.assert_obeyed();
    assert_eq!(standin.counts().living(), 0, "{:?}", standin.counts());
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

#[test]
fn sessions_on_threads_of_their_own_share_a_card() {
    let standin = StandIn::new();
    for seed in 0..8 {
        standin.seed(seed);
        with_a_thread(&standin, |card| {
            thread::scope(|scope| {
                for session in 0..3 {
                    let card = &card;
                    scope.spawn(move || assert_eq!(sums(card, session), sums(&Cpu::new(), session)));
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
    let wanted = says(&Cpu::new());
    assert!(wanted.iter().flatten().any(|weight| weight.abs() > 0.01), "a mouth that moves");
    let standin = StandIn::new();
    standin.seed(5);
    with_a_thread(&standin, |card| assert!(says(&card) == wanted, "another mouth"));
}
