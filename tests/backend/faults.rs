//! What follows when the device fails: whoever was on it hears why, nobody sees wrong bytes, and the process goes on.

use visage::backend::gpu::{DeviceLoop, GpuBackend};
use visage::backend::{BackendError, Graph, Health, Onnx, Tensor, Value};

use crate::contract::STEP;
use crate::fixture::{config, on};
use crate::gpu::{SEEDS, advance, load, show, wanted, x};
use crate::stub_driver::{Fault, StubDriver};

const OUT_OF_MEMORY: u32 = 2;
const LAUNCH_FAILED: u32 = 719;
const UNKNOWN: u32 = 999;

/// Every show makes more calls than that.
const CALLS: u64 = 230;

/// A card with a graph, the first fault still to come.
struct Trial {
    stub: StubDriver,
    wanted: Vec<Vec<f32>>,
}

impl Trial {
    fn new() -> Self {
        Self { stub: StubDriver::new(), wanted: wanted() }
    }

    /// A show with a fault in it, then what `after` looks at; in the end everything must have been given back. True if the
    /// show heard of the fault.
    fn run(
        &self,
        seed: u64,
        (fault, n): (Fault, u64),
        after: impl FnOnce(&GpuBackend, &mut DeviceLoop, &dyn Graph),
    ) -> bool {
        self.stub.seed(seed);
        let (card, mut owner) = on(&self.stub);
        let graph = load(&card, &mut || owner.turn(), STEP).expect("a graph");
        self.stub.fail(fault, n);
        let seen = show(graph.as_ref(), &mut || owner.turn());
        match &seen {
            Ok(seen) => assert_eq!(*seen, self.wanted, "seed {seed}: wrong bytes with {fault:?} at {n}"),
            Err(error) => {
                assert!(matches!(error, BackendError::Device { .. }), "seed {seed}: {fault:?} at {n}: {error}");
            }
        }
        after(&card, &mut owner, graph.as_ref());
        drop((graph, card, owner));
        self.stub.assert_obeyed();
        let counts = self.stub.counts();
        assert_eq!(counts.living(), 0, "seed {seed}: {fault:?} at {n}: {counts:?}");
        seen.is_err()
    }

    /// A show that must be as if nothing had happened.
    fn goes_on(&self, card: &GpuBackend, owner: &mut DeviceLoop, graph: &dyn Graph) {
        while owner.is_busy() {
            owner.turn();
        }
        assert_eq!(card.health(), Health::Ready);
        assert_eq!(show(graph, &mut || owner.turn()).as_ref(), Ok(&self.wanted));
    }
}

#[test]
fn without_memory_a_session_ends_and_the_next_goes_on() {
    let check = Trial::new();
    let heard = (0..SEEDS).filter(|seed| {
        check.run(*seed, (Fault::Call(OUT_OF_MEMORY), 1 + seed % CALLS), |card, owner, graph| {
            check.goes_on(card, owner, graph);
            assert_eq!(card.work().reopenings, 0);
        })
    });
    assert!(heard.count() > 100);
}

#[test]
fn a_lost_device_is_opened_anew_once_and_sessions_hear_why() {
    let check = Trial::new();
    for seed in 0..SEEDS {
        let (status, n) = (if seed % 2 == 0 { UNKNOWN } else { LAUNCH_FAILED }, 1 + seed % CALLS);
        let heard = check.run(seed, (Fault::Sticky(status), n), |card, owner, graph| {
            check.goes_on(card, owner, graph);
            assert_eq!(card.work().reopenings, 1);
            check.stub.fail(Fault::Sticky(status), n);
            let error = show(graph, &mut || owner.turn()).expect_err("lost again");
            assert!(matches!(error, BackendError::Device { .. }), "{error}");
            owner.turn();
            assert!(matches!(card.health(), Health::Lost { .. }), "{:?}", card.health());
            assert!(graph.slot().is_err());
        });
        assert!(heard, "seed {seed}");
    }
}

#[test]
fn a_launch_that_fails_on_the_device_ends_what_was_on_it() {
    let check = Trial::new();
    let heard = (0..SEEDS).filter(|seed| {
        check.run(*seed, (Fault::Launch(LAUNCH_FAILED), 1 + seed % 6), |card, owner, graph| {
            check.goes_on(card, owner, graph);
        })
    });
    assert_eq!(heard.count() as u64, SEEDS);
}

#[test]
fn a_device_that_is_gone_leaves_a_process_that_says_so() {
    let check = Trial::new();
    for seed in 0..SEEDS {
        let heard = check.run(seed, (Fault::Gone(UNKNOWN), 1 + seed % CALLS), |card, owner, graph| {
            owner.turn();
            let health = card.health();
            assert!(matches!(&health, Health::Lost { found } if found.contains("answered 999")), "{health:?}");
            assert!(graph.slot().is_err());
            assert!(load(card, &mut || owner.turn(), STEP).is_err());
        });
        assert!(heard, "seed {seed}");
    }
}

#[test]
fn a_slow_copy_is_waited_for() {
    let check = Trial::new();
    for seed in 0..SEEDS {
        let heard = check.run(seed, (Fault::SlowCopy, 1 + seed % 40), |card, owner, graph| {
            check.goes_on(card, owner, graph);
        });
        assert!(!heard, "seed {seed}");
    }
}

#[test]
fn admission_is_closed_from_the_fault_until_the_device_is_open_again() {
    let stub = StubDriver::new();
    stub.seed(1);
    let (card, mut owner) = on(&stub);
    let graph = load(&card, &mut || owner.turn(), STEP).expect("a graph");
    let mut old = graph.slot().expect("a slot");
    stub.fail(Fault::Sticky(UNKNOWN), 2);
    let (given, state) = (x(0, 0).into(), Value::from(Tensor::zeros(&[1, 2])));
    let [next, y] = advance(old.as_mut(), &given, &state).expect("a step that fails later");
    owner.turn();
    let health = card.health();
    assert!(matches!(&health, Health::Recovering { found } if found.contains("a lost device")), "{health:?}");
    assert!(graph.slot().is_err(), "no session is admitted meanwhile");
    assert!(y.take().expect_err("lost").to_string().contains("it is being opened anew"));
    owner.turn();
    assert_eq!(card.health(), Health::Ready);
    // What was on the device before is not on it now: sessions of before are over.
    assert!(advance(old.as_mut(), &given, &state).is_err());
    let mut new = graph.slot().expect("a slot");
    assert!(advance(new.as_mut(), &given, &next).is_err(), "an output of before");
    assert!(advance(new.as_mut(), &given, &state).is_ok());
}

#[test]
fn without_memory_no_session_is_admitted_until_a_step_has_some_again_or_nobody_is_left() {
    let stub = StubDriver::new();
    for is_left in [true, false] {
        stub.seed(1);
        let (card, mut owner) = on(&stub);
        let graph = load(&card, &mut || owner.turn(), STEP).expect("a graph");
        let [mut short, mut other] = [(); 2].map(|()| graph.slot().expect("a slot"));
        let (given, state) = (x(0, 0).into(), Value::from(Tensor::zeros(&[1, 2])));
        stub.fail(Fault::Call(OUT_OF_MEMORY), 1);
        let [_, mut y] = advance(short.as_mut(), &given, &state).expect("a step that fails later");
        y.ask().expect("room");
        owner.turn();
        let health = card.health();
        assert!(matches!(&health, Health::Recovering { found } if found.contains("out of memory")), "{health:?}");
        assert!(graph.slot().err().expect("nobody is admitted").to_string().contains("out of memory"));
        assert!(y.take().expect_err("its session ends").to_string().contains("CUDA_ERROR_OUT_OF_MEMORY"));
        drop(short);
        if is_left {
            advance(other.as_mut(), &given, &state).expect("a step");
        } else {
            drop(other);
        }
        owner.turn();
        assert_eq!((card.health(), card.work().reopenings), (Health::Ready, 0));
        assert!(graph.slot().is_ok());
    }
}

#[test]
fn a_graph_for_which_there_is_no_memory_is_refused_and_nothing_is_kept() {
    let stub = StubDriver::new();
    for n in 1..400 {
        stub.seed(n);
        stub.fail(Fault::Call(OUT_OF_MEMORY), n);
        let (card, mut owner) = on(&stub);
        if let Err(error) = load(&card, &mut || owner.turn(), STEP) {
            assert!(error.to_string().contains("CUDA_ERROR_OUT_OF_MEMORY"), "call {n}: {error}");
        }
        drop((card, owner));
        stub.assert_obeyed();
        assert_eq!(stub.counts().living(), 0, "call {n}: {:?}", stub.counts());
    }
}

#[test]
fn a_step_without_room_is_not_begun_and_may_be_tried_again() {
    let stub = StubDriver::new();
    stub.seed(3);
    let mut few = config(stub.path());
    few.blocks = 2;
    let (card, mut owner) = crate::fixture::with(few);
    let graph = load(&card, &mut || owner.turn(), STEP).expect("a graph");
    let mut slots: Vec<_> = (0..3).map(|_| graph.slot().expect("a slot")).collect();
    assert!(matches!(graph.slot().err(), Some(BackendError::Full { slots: 3, .. })));
    let (given, state) = (x(0, 0).into(), Value::from(Tensor::zeros(&[1, 2])));
    let first = advance(slots[0].as_mut(), &given, &state).expect("a block");
    let second = advance(slots[1].as_mut(), &given, &state).expect("a block");
    let third = advance(slots[2].as_mut(), &given, &state);
    assert!(matches!(third, Err(BackendError::Busy { .. })), "{third:?}");
    while advance(slots[2].as_mut(), &given, &state).is_err() {
        owner.turn();
    }
    drop((first, second));
}

#[test]
fn an_output_of_one_card_is_no_input_for_another() {
    let (first, second) = (StubDriver::new(), StubDriver::new());
    let [(here, mut owner), (there, mut other)] = [on(&first), on(&second)];
    let graph = load(&here, &mut || owner.turn(), STEP).expect("a graph");
    let another = load(&there, &mut || other.turn(), STEP).expect("a graph");
    let (mut slot, mut stranger) = (graph.slot().expect("a slot"), another.slot().expect("a slot"));
    let (given, state) = (x(0, 0).into(), Value::from(Tensor::zeros(&[1, 2])));
    let [next, _] = advance(slot.as_mut(), &given, &state).expect("a step");
    let error = advance(stranger.as_mut(), &given, &next).expect_err("another card");
    assert!(error.to_string().contains("on another card"), "{error}");
    drop((owner, next));
    assert!(matches!(here.health(), Health::Lost { .. }), "a loop that has ended is seen");
}

#[test]
fn without_a_driver_a_card_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().expect("a folder");
    let (card, mut owner) = crate::fixture::with(config(&folder.path().join("libcuda.so.1")));
    let error = load(&card, &mut || owner.turn(), STEP).err().expect("no driver").to_string();
    assert!(error.contains("NVIDIA's driver") && error.contains("run on the CPU"), "{error}");
    let refused = card.begin_load("step", Onnx::Bytes(STEP)).expect("an order");
    owner.turn();
    assert!(refused.wait().is_err(), "and again");
}
