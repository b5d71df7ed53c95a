//! What every backend promises, clause by clause.

use visage::backend::{BackendError, DType, Graph, Onnx, Slot, Tensor, Value};
use visage_kernels::Half;

/// y = tanh(x w + state), `next_state` = state + x w, with w = [[1, 0], [0, 2], [1, -1]]; any number of rows.
pub const STEP: &[u8] = include_bytes!("../assets/step.onnx");
/// Half precision, 64-bit integers and four free axes: see `tests/assets/graphs.py`.
pub const DENOISE: &[u8] = include_bytes!("../assets/denoise.onnx");
/// Every pixel of its image is four pixels of its input.
pub const DECODE: &[u8] = include_bytes!("../assets/decode.onnx");

/// Loads a graph of this name. The second argument lets the backend work on.
pub type Load<'a> = &'a dyn Fn(&mut dyn FnMut(), (&str, &[u8])) -> Result<Box<dyn Graph>, BackendError>;

/// A backend under test.
pub struct Subject<'a> {
    pub load: Load<'a>,
    /// Lets it work on.
    pub drive: &'a mut dyn FnMut(),
}

impl Subject<'_> {
    fn graph(&mut self) -> Box<dyn Graph> {
        (self.load)(self.drive, ("step", STEP)).expect("a graph")
    }

    /// The tensor of a value, however long it takes.
    pub fn take(&mut self, mut value: Value) -> Result<Tensor, BackendError> {
        value.download()?;
        while !value.is_ready() {
            (self.drive)();
        }
        value.take()
    }

    fn values(&mut self, value: Value) -> Vec<f32> {
        self.take(value).expect("a tensor").into_f32()
    }
}

/// A clause.
pub type Clause = fn(&mut Subject<'_>);

pub const CLAUSES: &[(&str, Clause)] = &[
    ("state is carried from step to step by name", state_is_carried),
    ("a step may have several rows", several_rows),
    ("outputs do not change while they are held", outputs_are_kept),
    ("sessions do not see each other", sessions_are_isolated),
    ("an output is an input of another graph", graphs_are_chained),
    ("an unknown name is refused with the known ones", unknown_names),
    ("wrong shapes and types are errors, and the slot stays usable", wrong_shapes),
    ("bytes that are not a graph are refused", no_graph),
    ("a dropped slot is free for another session", slots_return),
    ("an output keeps its elements in another shape", values_are_reshaped),
];

/// Clauses about element types and several free axes, which need [`DENOISE`] and [`DECODE`].
pub const TYPED_CLAUSES: &[(&str, Clause)] = &[
    ("halves, 64-bit integers and four free axes go in and out", typed_tensors),
    ("shapes of outputs follow from those of inputs", output_shapes),
];

pub fn rows(shape: [usize; 2], values: &[f32]) -> Tensor {
    Tensor::new(&shape, values.to_vec()).expect("as many values")
}

fn x(values: [f32; 3]) -> Value {
    rows([1, 3], &values).into()
}

pub fn zero_state() -> Value {
    Tensor::zeros(DType::F32, &[1, 2]).into()
}

fn step(slot: &mut dyn Slot, x: &Value, state: &Value) -> [Value; 2] {
    let outputs = slot.submit(&[("state", state), ("x", x)], &["next_state", "y"]).expect("a step");
    outputs.try_into().expect("two outputs")
}

fn near(found: &[f32], wanted: &[f32]) {
    let error = found.iter().zip(wanted).map(|(found, wanted)| (found - wanted).abs()).fold(0.0, f32::max);
    assert!(found.len() == wanted.len() && error < 1e-5, "{found:?} instead of {wanted:?}");
}

fn state_is_carried(subject: &mut Subject<'_>) {
    let graph = subject.graph();
    let (mut slot, mut state) = (graph.slot().expect("a slot"), zero_state());
    for n in 1..=5 {
        let [next, y] = step(slot.as_mut(), &x([0.1, 0.2, 0.3]), &state);
        assert_eq!((y.shape(), y.dtype()), (&[1, 2][..], DType::F32));
        let sum = n as f32 * 0.4;
        let other = n as f32 * 0.1;
        near(&subject.values(y), &[sum.tanh(), other.tanh()]);
        state = next;
    }
    near(&subject.values(state), &[2.0, 0.5]);
}

fn several_rows(subject: &mut Subject<'_>) {
    let graph = subject.graph();
    let mut slot = graph.slot().expect("a slot");
    for many in [1, 3, 2] {
        let values: Vec<f32> = (0..many * 3).map(|n| n as f32 / 10.0).collect();
        let state = Tensor::zeros(DType::F32, &[many, 2]).into();
        let [next, y] = step(slot.as_mut(), &rows([many, 3], &values).into(), &state);
        let sums: Vec<f32> = values.chunks(3).flat_map(|x| [x[0] + x[2], 2.0 * x[1] - x[2]]).collect();
        assert_eq!((y.shape(), next.shape()), (&[many, 2][..], &[many, 2][..]));
        drop(y);
        near(&subject.values(next), &sums);
    }
}

fn outputs_are_kept(subject: &mut Subject<'_>) {
    let graph = subject.graph();
    let mut slot = graph.slot().expect("a slot");
    let [first, _] = step(slot.as_mut(), &x([1.0, 0.0, 0.0]), &zero_state());
    (subject.drive)();
    let [second, _] = step(slot.as_mut(), &x([0.0, 1.0, 0.0]), &zero_state());
    // A third may be refused while both are held; its submission then has no effect.
    let third = slot.submit(&[("state", &zero_state()), ("x", &x([0.0, 0.0, 1.0]))], &["next_state"]);
    assert!(matches!(third, Ok(_) | Err(BackendError::Busy { .. })), "{third:?}");
    drop(third);
    near(&subject.values(first), &[1.0, 0.0]);
    near(&subject.values(second), &[0.0, 2.0]);
    let [third, _] = step(slot.as_mut(), &x([0.0, 0.0, 1.0]), &zero_state());
    near(&subject.values(third), &[1.0, -1.0]);
}

fn sessions_are_isolated(subject: &mut Subject<'_>) {
    let graph = subject.graph();
    let mut sessions: Vec<_> = (0..3).map(|_| (graph.slot().expect("a slot"), zero_state())).collect();
    for _ in 0..3 {
        let mut outputs = Vec::new();
        for (n, (slot, state)) in sessions.iter_mut().enumerate() {
            let [next, y] = step(slot.as_mut(), &x([n as f32, 0.0, 0.0]), state);
            *state = next;
            outputs.push(y);
        }
        outputs.into_iter().for_each(|y| drop(subject.values(y)));
    }
    for (n, (_, state)) in sessions.into_iter().enumerate() {
        near(&subject.values(state), &[n as f32 * 3.0, 0.0]);
    }
}

fn graphs_are_chained(subject: &mut Subject<'_>) {
    let (first, second) = (subject.graph(), subject.graph());
    let (mut first, mut second) = (first.slot().expect("a slot"), second.slot().expect("a slot"));
    let [state, _] = step(first.as_mut(), &x([1.0, 2.0, 3.0]), &zero_state());
    let [sum, _] = step(second.as_mut(), &x([1.0, 1.0, 1.0]), &state);
    drop(state);
    near(&subject.values(sum), &[6.0, 2.0]);
}

fn unknown_names(subject: &mut Subject<'_>) {
    let graph = subject.graph();
    let mut slot = graph.slot().expect("a slot");
    let error = slot.submit(&[("voice", &x([0.0; 3]))], &["y"]).expect_err("no such input");
    assert!(error.to_string().contains("state, x"), "{error}");
    let error = slot.submit(&[("x", &x([0.0; 3])), ("state", &zero_state())], &["z"]).expect_err("no such output");
    assert!(error.to_string().contains("next_state, y"), "{error}");
}

fn wrong_shapes(subject: &mut Subject<'_>) {
    let graph = subject.graph();
    let mut slot = graph.slot().expect("a slot");
    let halves = Tensor::zeros(DType::F16, &[1, 3]);
    let two_rows = Tensor::zeros(DType::F32, &[2, 3]);
    for x in [rows([1, 4], &[0.0; 4]), Tensor::vector(vec![0.0_f32; 3]), halves, two_rows] {
        let refused = slot.submit(&[("x", &x.clone().into()), ("state", &zero_state())], &["y"]).expect_err("refused");
        assert!(refused.to_string().contains("wanted \""), "{x:?}: {refused}");
    }
    assert!(slot.submit(&[("x", &x([0.0; 3]))], &["y"]).is_err(), "an input is missing");
    let [next, _] = step(slot.as_mut(), &x([0.5, 0.0, 0.0]), &zero_state());
    near(&subject.values(next), &[0.5, 0.0]);
}

fn no_graph(subject: &mut Subject<'_>) {
    for bytes in [b"".as_slice(), b"not a graph at all", &STEP[..STEP.len() / 2]] {
        assert!((subject.load)(subject.drive, ("step", bytes)).is_err());
    }
}

fn slots_return(subject: &mut Subject<'_>) {
    let graph = subject.graph();
    for n in 0..8 {
        let mut slot = graph.slot().expect("a slot");
        let [next, _] = step(slot.as_mut(), &x([n as f32, 0.0, 0.0]), &zero_state());
        near(&subject.values(next), &[n as f32, 0.0]);
    }
}

fn values_are_reshaped(subject: &mut Subject<'_>) {
    let graph = subject.graph();
    let mut slot = graph.slot().expect("a slot");
    let [next, y] = step(slot.as_mut(), &x([1.0, 2.0, 3.0]), &zero_state());
    assert!(y.reshaped(&[3]).is_err(), "another number of elements");
    let column = next.reshaped(&[2, 1]).expect("as many elements");
    assert_eq!(column.shape(), [2, 1]);
    let tensor = subject.take(column).expect("a tensor");
    assert_eq!(tensor.shape(), [2, 1]);
    near(&tensor.into_f32(), &[4.0, 1.0]);
}

/// Inputs of [`DENOISE`] of these lengths, and what comes out, in f32.
fn denoise_case([batch, frames, height, width]: [usize; 4]) -> ([Value; 3], Vec<f32>) {
    let (size, at) = (height * width, |n: usize| (n * 7 % 23) as f32 / 16.0 - 0.5);
    let sample: Vec<f32> = (0..batch * frames * 2 * size).map(at).collect();
    let ids: Vec<i64> = (0..frames as i64).map(|n| (n + 1) % 4).collect();
    let shade = [0.0, 0.125, -0.25, 0.5];
    let pixel = |(n, pair): (usize, &[f32])| {
        let id = ids[n % frames] as usize;
        (0..size).map(|at| (0.5 * pair[at] + 0.25 * pair[size + at] + 0.1 * 0.5 + shade[id]).tanh()).collect::<Vec<_>>()
    };
    let wanted = sample.chunks(2 * size).enumerate().flat_map(pixel).collect();
    let halves: Vec<Half> = sample.iter().map(|value| Half::of(*value)).collect();
    let sample = Tensor::new(&[batch, frames, 2, height, width], halves).expect("as many");
    ([sample.into(), Tensor::vector(vec![0.5_f32]).into(), Tensor::vector(ids).into()], wanted)
}

fn typed_tensors(subject: &mut Subject<'_>) {
    let graph = (subject.load)(subject.drive, ("denoise", DENOISE)).expect("a graph");
    let mut slot = graph.slot().expect("a slot");
    for lengths in [[3, 2, 4, 6], [1, 1, 2, 2], [3, 4, 2, 6]] {
        let ([sample, timestep, ids], wanted) = denoise_case(lengths);
        let inputs = [("ids", &ids), ("sample", &sample), ("timestep", &timestep)];
        let mut outputs = slot.submit(&inputs, &["v"]).expect("a step");
        let tensor = subject.take(outputs.remove(0)).expect("a tensor");
        assert_eq!((tensor.dtype(), tensor.shape()), (DType::F16, &lengths[..]));
        let visage::backend::Elements::F16(found) = tensor.into_elements() else { unreachable!("the dtype is F16") };
        let error = found.iter().zip(&wanted).map(|(a, b)| (a.value() - b).abs()).fold(0.0, f32::max);
        assert!(found.len() == wanted.len() && error < 2e-3, "{lengths:?}: {error}");
    }
    let ([sample, timestep, _], _) = denoise_case([1, 2, 2, 2]);
    let long = Tensor::vector(vec![0_i64; 3]).into();
    let refused = slot.submit(&[("ids", &long), ("sample", &sample), ("timestep", &timestep)], &["v"]);
    assert!(refused.expect_err("two frames and three ids").to_string().contains("frames"));
}

fn output_shapes(subject: &mut Subject<'_>) {
    let graph = (subject.load)(subject.drive, ("decode", DECODE)).expect("a graph");
    let mut slot = graph.slot().expect("a slot");
    let latents = Tensor::new(&[2, 2, 3], vec![0.25_f32; 12]).expect("as many").into();
    let image = slot.submit(&[("latents", &latents)], &["image"]).expect("a step").remove(0);
    assert_eq!((image.shape(), image.bytes()), (&[2, 3, 4, 6][..], 2 * 3 * 4 * 6 * 4));
    let values = subject.values(image);
    for (plane, values) in values.chunks(4 * 6).enumerate() {
        let wanted = ([0.5, -0.75, 1.25][plane % 3] * 0.25_f32).tanh();
        near(values, &[wanted; 24]);
    }
}

/// Loads by the name that the graph has in these tests.
pub fn onnx_of(name: &str) -> Onnx<'static> {
    Onnx::Bytes(match name {
        "denoise" => DENOISE,
        "decode" => DECODE,
        _ => STEP,
    })
}
