//! The GPU backend with its loop on a thread, as in production.

use std::sync::Arc;
use std::thread;

use visage::backend::gpu::GpuBackend;
use visage::backend::{Backend, CpuBackend, DType, Graph, Onnx, Tensor, Value};
use visage::model::portrait::{Mouth, MouthNet};
use visage::telemetry::StepTimes;
use visage::time::SampleIndex;

use crate::contract::STEP;
use crate::fixture::{MOUTH, MOUTH_JSON, on, with, with_kernels};
use crate::gpu::{advance, x};
use crate::stub_driver::StubDriver;

/// Runs `sessions` with a GPU whose loop is on a thread, and checks that everything is freed.
fn with_a_thread(stub: &StubDriver, sessions: impl FnOnce(GpuBackend)) {
    let (gpu, device) = on(stub);
    let thread = thread::spawn(move || device.run(|_| ()));
    sessions(gpu);
    thread.join().expect("the loop ends when every sender is gone");
    stub.assert_obeyed();
    assert_eq!(stub.counts().living(), 0, "{:?}", stub.counts());
}

/// The outputs of a session that carries its state and waits for each output.
fn sums(backend: &dyn Backend, session: usize) -> Vec<f32> {
    let graph = backend.load("step", Onnx::Bytes(STEP)).expect("a graph");
    let (mut slot, mut state) = (graph.slot().expect("a slot"), Value::from(Tensor::zeros(DType::F32, &[1, 2])));
    let mut seen = Vec::new();
    for step in 0..20 {
        let [next, y] = advance(slot.as_mut(), &x(session, step).into(), &state).expect("a step");
        seen.extend(y.take().expect("a tensor").into_f32());
        state = next;
    }
    seen
}

/// The mouth network's weights over 50 steps, with its state carried; and the times of the last step.
pub fn mouth_steps(graph: &dyn Graph) -> (Vec<f32>, StepTimes) {
    let states =
        [("conv1", vec![1, 49, 4]), ("conv2", vec![1, 112, 2]), ("conv3", vec![1, 160, 2]), ("gru", vec![1, 224])];
    let names: Vec<_> = states.iter().map(|(name, _)| (format!("state_{name}"), format!("next_{name}"))).collect();
    let mut carried: Vec<Value> = states.iter().map(|(_, shape)| Tensor::zeros(DType::F32, shape).into()).collect();
    let mut slot = graph.slot().expect("a slot");
    let (mut seen, mut times) = (Vec::new(), StepTimes::default());
    for step in 0..50 {
        let values: Vec<f32> = (0..4 * 48).map(|n| ((step * 7 + n * 3) % 29) as f32 / 3.0 - 12.0).collect();
        let mel = Value::from(Tensor::new(&[1, 4, 48], values).expect("as many"));
        let given = names.iter().map(|(state, _)| state.as_str()).zip(&carried);
        let inputs: Vec<_> = std::iter::once(("mel", &mel)).chain(given).collect();
        let outputs: Vec<_> = std::iter::once("weights").chain(names.iter().map(|(_, next)| next.as_str())).collect();
        let mut found = slot.submit(&inputs, &outputs).expect("a step").into_iter();
        let (weights, took) = found.next().expect("weights").take_timed().expect("a tensor");
        seen.extend(weights.into_f32());
        (carried, times) = (found.collect(), took);
    }
    (seen, times)
}

#[test]
fn upload_run_and_download_of_a_step_are_timed() {
    let stub = StubDriver::new();
    stub.seed(9);
    with_a_thread(&stub, |gpu| {
        let (on_gpu, times) = mouth_steps(gpu.load("mouth", Onnx::Bytes(MOUTH)).expect("a graph").as_ref());
        let (wanted, none) =
            mouth_steps(CpuBackend::new().load("mouth", Onnx::Bytes(MOUTH)).expect("a graph").as_ref());
        assert!(on_gpu == wanted && none == StepTimes::default());
        let StepTimes { up: Some(up), run: Some(run), down: Some(down) } = times else { panic!("{times:?}") };
        assert!(!up.is_zero() && !run.is_zero() && !down.is_zero(), "{times:?}");
    });
}

#[test]
fn sessions_on_several_threads_share_a_gpu() {
    let stub = StubDriver::new();
    for seed in 0..8 {
        stub.seed(seed);
        with_a_thread(&stub, |gpu| {
            thread::scope(|scope| {
                for session in 0..3 {
                    let gpu = &gpu;
                    scope.spawn(move || assert_eq!(sums(gpu, session), sums(&CpuBackend::new(), session)));
                }
            });
        });
    }
}

/// The mouth's weights over a second of audio, polled for each block as a session does.
fn mouth_weights(backend: &dyn Backend) -> Vec<[f32; 52]> {
    let net = MouthNet::load(backend, MOUTH, MOUTH_JSON, 640).expect("the network loads");
    let mut mouth = Mouth::new(Arc::new(net)).expect("a slot");
    let sample = |n: usize| (n as f32 * 0.05).sin() * (n as f32 * 0.0007).sin() * 0.4;
    let audio: Vec<f32> = (0..16_000).map(sample).collect();
    let moments = audio.chunks(320).enumerate().map(|(block, samples)| {
        mouth.push_audio(samples).expect("a step");
        let at = SampleIndex(block as u64 * 320);
        let mut polls = std::iter::repeat_with(|| mouth.poll(at).expect("a step"));
        polls.find_map(|moment| moment.map(|moment| moment.weights)).expect("polls do not end")
    });
    moments.collect()
}

#[test]
fn the_portraits_mouth_on_a_gpu_matches_the_cpu() {
    let wanted = mouth_weights(&CpuBackend::new());
    assert!(wanted.iter().flatten().any(|weight| weight.abs() > 0.01), "a mouth that moves");
    let stub = StubDriver::new();
    stub.seed(5);
    with_a_thread(&stub, |gpu| assert!(mouth_weights(&gpu) == wanted, "another mouth"));
}

#[test]
fn with_log_mel_on_the_gpu_the_portraits_mouth_matches_within_tolerance() {
    let (wanted, stub) = (mouth_weights(&CpuBackend::new()), StubDriver::new());
    for seed in 0..8 {
        stub.seed(seed);
        let (gpu, device) = with(with_kernels(&stub));
        let thread = thread::spawn(move || device.run(|_| ()));
        let found = mouth_weights(&gpu);
        let error = found.iter().flatten().zip(wanted.iter().flatten()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(found.len() == wanted.len() && error < 1e-3, "seed {seed}: {error}");
        // A second of audio is 25 steps; each is two kernels and a run, and nothing that must not happen in the loop.
        let work = gpu.work();
        assert_eq!((work.kernels, work.runs, work.loop_stalls), (50, 25, 0), "seed {seed}: {work:?}");
        drop(gpu);
        thread.join().expect("the loop ends");
        stub.assert_obeyed();
        assert_eq!(stub.counts().living(), 0, "{:?}", stub.counts());
    }
}
