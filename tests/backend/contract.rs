//! What every engine promises, clause by clause.

use visage::backend::{BackendError, Graph, Slot, Tensor, Value};

/// y = tanh(x w + state), `next_state` = state + x w, with w = [[1, 0], [0, 2], [1, -1]]; any number of rows.
pub const STEP: &[u8] = include_bytes!("../assets/step.onnx");

/// Loads graphs; told how to let the engine work on.
pub type Open<'a> = &'a dyn Fn(&mut dyn FnMut(), &[u8]) -> Result<Box<dyn Graph>, BackendError>;

/// An engine on check.
pub struct Stage<'a> {
    pub open: Open<'a>,
    /// Lets it work on.
    pub drive: &'a mut dyn FnMut(),
}

impl Stage<'_> {
    fn graph(&mut self) -> Box<dyn Graph> {
        (self.open)(self.drive, STEP).expect("a graph")
    }

    /// The tensor of a value, however long it takes.
    pub fn take(&mut self, mut value: Value) -> Result<Tensor, BackendError> {
        value.ask()?;
        while !value.is_here() {
            (self.drive)();
        }
        value.take()
    }

    fn values(&mut self, value: Value) -> Vec<f32> {
        self.take(value).expect("a tensor").values
    }
}

/// A clause.
pub type Clause = fn(&mut Stage<'_>);

pub const CLAUSES: &[(&str, Clause)] = &[
    ("state is carried from step to step by name", state_is_carried),
    ("a step may have several rows", several_rows),
    ("outputs do not change while they are held", outputs_are_kept),
    ("sessions do not see each other", sessions_are_apart),
    ("an output goes into a step of another graph", graphs_are_joined),
    ("an unknown name is answered with the names there are", unknown_names),
    ("wrong shapes are errors, and the slot goes on", wrong_shapes),
    ("bytes that are no graph are refused", no_graph),
    ("a slot that is given back is another session's", slots_return),
];

pub fn rows(shape: [usize; 2], values: &[f32]) -> Tensor {
    Tensor { shape: shape.to_vec(), values: values.to_vec() }
}

fn x(values: [f32; 3]) -> Value {
    rows([1, 3], &values).into()
}

fn zero_state() -> Value {
    Tensor::zeros(&[1, 2]).into()
}

fn step(slot: &mut dyn Slot, x: &Value, state: &Value) -> [Value; 2] {
    let outputs = slot.step(&[("state", state), ("x", x)], &["next_state", "y"]).expect("a step");
    outputs.try_into().expect("two outputs")
}

fn near(found: &[f32], wanted: &[f32]) {
    let apart = found.iter().zip(wanted).map(|(found, wanted)| (found - wanted).abs()).fold(0.0, f32::max);
    assert!(found.len() == wanted.len() && apart < 1e-5, "{found:?} instead of {wanted:?}");
}

fn state_is_carried(stage: &mut Stage<'_>) {
    let graph = stage.graph();
    let (mut slot, mut state) = (graph.slot().expect("a slot"), zero_state());
    for n in 1..=5 {
        let [next, y] = step(slot.as_mut(), &x([0.1, 0.2, 0.3]), &state);
        assert_eq!(y.shape(), [1, 2]);
        let sum = n as f32 * 0.4;
        let other = n as f32 * 0.1;
        near(&stage.values(y), &[sum.tanh(), other.tanh()]);
        state = next;
    }
    near(&stage.values(state), &[2.0, 0.5]);
}

fn several_rows(stage: &mut Stage<'_>) {
    let graph = stage.graph();
    let mut slot = graph.slot().expect("a slot");
    for many in [1, 3, 2] {
        let values: Vec<f32> = (0..many * 3).map(|n| n as f32 / 10.0).collect();
        let [next, y] = step(slot.as_mut(), &rows([many, 3], &values).into(), &Tensor::zeros(&[many, 2]).into());
        let sums: Vec<f32> = values.chunks(3).flat_map(|x| [x[0] + x[2], 2.0 * x[1] - x[2]]).collect();
        assert_eq!((y.shape(), next.shape()), (&[many, 2][..], &[many, 2][..]));
        drop(y);
        near(&stage.values(next), &sums);
    }
}

fn outputs_are_kept(stage: &mut Stage<'_>) {
    let graph = stage.graph();
    let mut slot = graph.slot().expect("a slot");
    let [first, _] = step(slot.as_mut(), &x([1.0, 0.0, 0.0]), &zero_state());
    (stage.drive)();
    let [second, _] = step(slot.as_mut(), &x([0.0, 1.0, 0.0]), &zero_state());
    // A third may be refused while both are held, and then nothing has happened.
    let third = slot.step(&[("state", &zero_state()), ("x", &x([0.0, 0.0, 1.0]))], &["next_state"]);
    assert!(matches!(third, Ok(_) | Err(BackendError::Busy { .. })), "{third:?}");
    drop(third);
    near(&stage.values(first), &[1.0, 0.0]);
    near(&stage.values(second), &[0.0, 2.0]);
    let [third, _] = step(slot.as_mut(), &x([0.0, 0.0, 1.0]), &zero_state());
    near(&stage.values(third), &[1.0, -1.0]);
}

fn sessions_are_apart(stage: &mut Stage<'_>) {
    let graph = stage.graph();
    let mut sessions: Vec<_> = (0..3).map(|_| (graph.slot().expect("a slot"), zero_state())).collect();
    for _ in 0..3 {
        let mut shown = Vec::new();
        for (n, (slot, state)) in sessions.iter_mut().enumerate() {
            let [next, y] = step(slot.as_mut(), &x([n as f32, 0.0, 0.0]), state);
            *state = next;
            shown.push(y);
        }
        shown.into_iter().for_each(|y| drop(stage.values(y)));
    }
    for (n, (_, state)) in sessions.into_iter().enumerate() {
        near(&stage.values(state), &[n as f32 * 3.0, 0.0]);
    }
}

fn graphs_are_joined(stage: &mut Stage<'_>) {
    let (first, second) = (stage.graph(), stage.graph());
    let (mut first, mut second) = (first.slot().expect("a slot"), second.slot().expect("a slot"));
    let [state, _] = step(first.as_mut(), &x([1.0, 2.0, 3.0]), &zero_state());
    let [sum, _] = step(second.as_mut(), &x([1.0, 1.0, 1.0]), &state);
    drop(state);
    near(&stage.values(sum), &[6.0, 2.0]);
}

fn unknown_names(stage: &mut Stage<'_>) {
    let graph = stage.graph();
    let mut slot = graph.slot().expect("a slot");
    let error = slot.step(&[("voice", &x([0.0; 3]))], &["y"]).expect_err("no such input");
    assert!(error.to_string().contains("state, x"), "{error}");
    assert!(slot.step(&[("x", &x([0.0; 3])), ("state", &zero_state())], &["z"]).is_err());
}

fn wrong_shapes(stage: &mut Stage<'_>) {
    let graph = stage.graph();
    let mut slot = graph.slot().expect("a slot");
    let lying = Tensor { shape: vec![1, 3], values: vec![0.0; 2] };
    for x in [lying, rows([1, 4], &[0.0; 4]), Tensor { shape: vec![3], values: vec![0.0; 3] }] {
        let done = slot.step(&[("x", &x.clone().into()), ("state", &zero_state())], &["y"]);
        assert!(done.is_err(), "{:?} of {} values", x.shape, x.values.len());
    }
    assert!(slot.step(&[("x", &x([0.0; 3]))], &["y"]).is_err(), "an input is missing");
    let [next, _] = step(slot.as_mut(), &x([0.5, 0.0, 0.0]), &zero_state());
    near(&stage.values(next), &[0.5, 0.0]);
}

fn no_graph(stage: &mut Stage<'_>) {
    for bytes in [b"".as_slice(), b"not a graph at all", &STEP[..STEP.len() / 2]] {
        assert!((stage.open)(stage.drive, bytes).is_err());
    }
}

fn slots_return(stage: &mut Stage<'_>) {
    let graph = stage.graph();
    for n in 0..8 {
        let mut slot = graph.slot().expect("a slot");
        let [next, _] = step(slot.as_mut(), &x([n as f32, 0.0, 0.0]), &zero_state());
        near(&stage.values(next), &[n as f32, 0.0]);
    }
}
