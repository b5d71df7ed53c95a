//! Graphs on any CPU, by rten.
//!
//! Decides how tensors are lent to the engine and that it runs on one thread. Does not choose when a step runs.

use std::collections::HashMap;
use std::sync::Arc;

use rten::{Model, NodeId, RunOptions, ThreadPool, Value, ValueOrView};
use rten_tensor::prelude::*;
use rten_tensor::{Tensor as EngineTensor, TensorView};

use super::{Backend, BackendError, Graph, Tensor};

/// The engine's name in errors and reports.
const NAME: &str = "cpu";

/// The engine for any CPU. All graphs that one `Cpu` loads share one thread.
#[derive(Clone, Debug)]
pub struct Cpu {
    pool: Arc<ThreadPool>,
}

impl Cpu {
    /// An engine with a thread of its own.
    #[must_use]
    pub fn new() -> Self {
        Self { pool: Arc::new(ThreadPool::with_num_threads(1)) }
    }
}

impl Default for Cpu {
    fn default() -> Self {
        Self::new()
    }
}

impl Backend for Cpu {
    fn name(&self) -> &'static str {
        NAME
    }

    fn load(&self, onnx: &[u8]) -> Result<Box<dyn Graph>, BackendError> {
        let load_failed =
            |error: &dyn std::fmt::Display| BackendError::Load { backend: NAME, found: error.to_string() };
        let model = Model::load(onnx.to_vec()).map_err(|error| load_failed(&error))?;
        let ports = |ids: &[NodeId]| -> Ports {
            ids.iter().filter_map(|id| Some((model.node_info(*id)?.name()?.to_owned(), *id))).collect()
        };
        let (inputs, outputs) = (ports(model.input_ids()), ports(model.output_ids()));
        if outputs.is_empty() {
            return Err(load_failed(&"a graph without outputs"));
        }
        Ok(Box::new(CpuGraph { model, inputs, outputs, pool: Arc::clone(&self.pool) }))
    }
}

/// Names of inputs or outputs and what the engine calls them.
type Ports = HashMap<String, NodeId>;

struct CpuGraph {
    model: Model,
    inputs: Ports,
    outputs: Ports,
    pool: Arc<ThreadPool>,
}

impl Graph for CpuGraph {
    fn step(&self, inputs: &[(&str, &Tensor)], outputs: &[&str]) -> Result<Vec<Tensor>, BackendError> {
        let lent = inputs
            .iter()
            .map(|(name, tensor)| Ok((port(&self.inputs, name)?, lend(name, tensor)?)))
            .collect::<Result<Vec<_>, BackendError>>()?;
        let wanted = outputs.iter().map(|name| port(&self.outputs, name)).collect::<Result<Vec<_>, _>>()?;
        let options = RunOptions::default().with_thread_pool(Some(Arc::clone(&self.pool)));
        let values = self.model.run(lent, &wanted, Some(options)).map_err(|error| run_failed(&error))?;
        values.into_iter().map(take).collect()
    }
}

fn port(ports: &Ports, name: &str) -> Result<NodeId, BackendError> {
    ports.get(name).copied().ok_or_else(|| {
        let mut names: Vec<&str> = ports.keys().map(String::as_str).collect();
        names.sort_unstable();
        BackendError::NoSuchName { name: name.to_owned(), found: names.join(", ") }
    })
}

/// A view of the tensor for the engine: no copy.
fn lend<'a>(name: &str, tensor: &'a Tensor) -> Result<ValueOrView<'a>, BackendError> {
    let view = TensorView::try_from_data(tensor.shape.as_slice(), tensor.values.as_slice()).map_err(|_unsaid| {
        let (shape, count) = (&tensor.shape, tensor.values.len());
        run_failed(&format!("input \"{name}\" has the shape {shape:?} but {count} values"))
    })?;
    Ok(view.into())
}

/// The engine's own memory as a tensor: copied only if it is not in order.
fn take(value: Value) -> Result<Tensor, BackendError> {
    let tensor: EngineTensor<f32> = value.try_into().map_err(|error: rten::TryFromValueError| run_failed(&error))?;
    let shape = tensor.shape().to_vec();
    Ok(Tensor { shape, values: tensor.into_data() })
}

fn run_failed(found: &dyn std::fmt::Display) -> BackendError {
    BackendError::Run { found: found.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// y = tanh(x w + state), `next_state` = state + x w, with w = [[1, 0], [0, 2], [1, -1]]; any number of rows.
    const STEP: &[u8] = include_bytes!("../../tests/assets/step.onnx");

    fn row(values: &[f32]) -> Tensor {
        Tensor { shape: vec![1, values.len()], values: values.to_vec() }
    }

    fn step() -> Box<dyn Graph> {
        Cpu::new().load(STEP).expect("graph")
    }

    #[test]
    fn state_is_carried_from_step_to_step_by_name() {
        let graph = step();
        let (x, mut state) = (row(&[0.1, 0.2, 0.3]), Tensor::zeros(&[1, 2]));
        for n in 1..=3 {
            let inputs = [("state", &state), ("x", &x)];
            let [next, y] = graph.step(&inputs, &["next_state", "y"]).expect("run").try_into().expect("two");
            let sum = 0.4 * n as f32;
            assert!((y.values[0] - sum.tanh()).abs() < 1e-5 && (next.values[0] - sum).abs() < 1e-5);
            assert_eq!(y.shape, [1, 2]);
            state = next;
        }
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_names_there_are() {
        let error = step().step(&[("voice", &row(&[0.0; 3]))], &["y"]).expect_err("no such input");
        assert!(error.to_string().contains("state, x"), "{error}");
        let (x, state) = (row(&[0.0; 3]), row(&[0.0; 2]));
        assert!(step().step(&[("x", &x), ("state", &state)], &["z"]).is_err());
    }

    #[test]
    fn wrong_shapes_are_errors() {
        let (graph, state) = (step(), row(&[0.0; 2]));
        let lying = Tensor { shape: vec![1, 3], values: vec![0.0; 2] };
        for x in [lying, row(&[0.0; 4])] {
            let done = graph.step(&[("x", &x), ("state", &state)], &["y"]);
            assert!(done.is_err(), "{:?} of {} values", x.shape, x.values.len());
        }
        assert!(graph.step(&[("x", &row(&[0.0; 3]))], &["y"]).is_err(), "an input is missing");
    }

    #[test]
    fn bytes_that_are_no_graph_are_refused() {
        let backend = Cpu::new();
        assert!(backend.load(b"").is_err());
        assert!(backend.load(b"not a graph at all").is_err());
        assert!(backend.load(&STEP[..STEP.len() / 2]).is_err());
    }
}
