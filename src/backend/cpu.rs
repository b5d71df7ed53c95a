//! Graphs on any CPU, by rten.
//!
//! Decides how tensors are lent to the engine and that it runs on one thread. Does not choose when a step runs.

use std::collections::HashMap;
use std::sync::Arc;

use rten::{Dimension, Model, NodeId, RunOptions, ThreadPool, Value as EngineValue, ValueOrView};
use rten_tensor::prelude::*;
use rten_tensor::{Tensor as EngineTensor, TensorView};

use super::value::Held;
use super::{Backend, BackendError, Graph, Onnx, Signature, Slot, Tensor, Value};

/// The engine's name in errors and reports.
const NAME: &str = "cpu";

/// The engine for any CPU. All graphs that one `CpuBackend` loads share one thread.
#[derive(Clone, Debug)]
pub struct CpuBackend {
    pool: Arc<ThreadPool>,
}

impl CpuBackend {
    /// An engine with a thread of its own.
    #[must_use]
    pub fn new() -> Self {
        Self { pool: Arc::new(ThreadPool::with_num_threads(1)) }
    }
}

impl CpuBackend {
    /// What a graph takes and gives.
    ///
    /// # Errors
    /// If it is not a graph this engine can run.
    pub fn signature(&self, onnx: Onnx<'_>) -> Result<Signature, BackendError> {
        let model = model(onnx)?;
        let name = |id: &NodeId| model.node_info(*id).and_then(|node| node.name().map(str::to_owned));
        let axes = |id: &NodeId| {
            let shape = model.node_info(*id).and_then(|node| node.shape()).unwrap_or_default();
            shape.iter().map(|axis| if let Dimension::Fixed(length) = axis { Some(*length) } else { None }).collect()
        };
        let inputs = model.input_ids().iter().filter_map(|id| Some((name(id)?, axes(id)))).collect();
        Ok(Signature { inputs, outputs: model.output_ids().iter().filter_map(name).collect() })
    }
}

impl Default for CpuBackend {
    fn default() -> Self {
        Self::new()
    }
}

impl Backend for CpuBackend {
    fn name(&self) -> &'static str {
        NAME
    }

    fn load(&self, _name: &str, onnx: Onnx<'_>) -> Result<Box<dyn Graph>, BackendError> {
        let model = model(onnx)?;
        let ports = |ids: &[NodeId]| -> Ports {
            ids.iter().filter_map(|id| Some((model.node_info(*id)?.name()?.to_owned(), *id))).collect()
        };
        let (inputs, outputs) = (ports(model.input_ids()), ports(model.output_ids()));
        if outputs.is_empty() {
            return Err(load_failed(&"a graph without outputs"));
        }
        let loaded = Loaded { model, inputs, outputs, pool: Arc::clone(&self.pool) };
        Ok(Box::new(CpuGraph(Arc::new(loaded))))
    }
}

fn model(onnx: Onnx<'_>) -> Result<Model, BackendError> {
    let model = match onnx {
        Onnx::Bytes(bytes) => Model::load(bytes.to_vec()),
        Onnx::File(path) => Model::load_file(path),
    };
    model.map_err(|error| load_failed(&error))
}

fn load_failed(error: &dyn std::fmt::Display) -> BackendError {
    BackendError::Load { backend: NAME, found: error.to_string() }
}

/// Names of inputs or outputs and what the engine calls them.
type Ports = HashMap<String, NodeId>;

struct Loaded {
    model: Model,
    inputs: Ports,
    outputs: Ports,
    pool: Arc<ThreadPool>,
}

struct CpuGraph(Arc<Loaded>);

impl Graph for CpuGraph {
    /// There are as many as are wanted: a slot owns nothing.
    fn slot(&self) -> Result<Box<dyn Slot>, BackendError> {
        Ok(Box::new(CpuSlot(Arc::clone(&self.0))))
    }
}

struct CpuSlot(Arc<Loaded>);

impl Slot for CpuSlot {
    fn step(&mut self, inputs: &[(&str, &Value)], outputs: &[&str]) -> Result<Vec<Value>, BackendError> {
        let Loaded { model, inputs: known, outputs: offered, pool } = &*self.0;
        let lent = inputs
            .iter()
            .map(|(name, value)| Ok((port(known, name)?, lend(name, value)?)))
            .collect::<Result<Vec<_>, BackendError>>()?;
        let wanted = outputs.iter().map(|name| port(offered, name)).collect::<Result<Vec<_>, _>>()?;
        let options = RunOptions::default().with_thread_pool(Some(Arc::clone(pool)));
        let values = model.run(lent, &wanted, Some(options)).map_err(|error| run_failed(&error))?;
        values.into_iter().map(|value| take(value).map(Value::from)).collect()
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
fn lend<'a>(name: &str, value: &'a Value) -> Result<ValueOrView<'a>, BackendError> {
    #[cfg_attr(not(feature = "cuda"), expect(irrefutable_let_patterns, reason = "values may be on a card"))]
    let Held::Here(tensor) = &value.0 else { return Err(run_failed(&format!("input \"{name}\" is on a card"))) };
    let view = TensorView::try_from_data(tensor.shape.as_slice(), tensor.values.as_slice()).map_err(|_unsaid| {
        let (shape, count) = (&tensor.shape, tensor.values.len());
        run_failed(&format!("input \"{name}\" has the shape {shape:?} but {count} values"))
    })?;
    Ok(view.into())
}

/// The engine's own memory as a tensor: copied only if it is not in order.
fn take(value: EngineValue) -> Result<Tensor, BackendError> {
    let tensor: EngineTensor<f32> = value.try_into().map_err(|error: rten::TryFromValueError| run_failed(&error))?;
    let shape = tensor.shape().to_vec();
    Ok(Tensor { shape, values: tensor.into_data() })
}

fn run_failed(found: &dyn std::fmt::Display) -> BackendError {
    BackendError::Run { found: found.to_string() }
}
