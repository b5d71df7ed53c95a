//! The CPU backend: graphs by rten, kernels by their reference implementations.
//!
//! Decides which thread a step runs on, and how element types map to rten's. rten runs a graph on the threads of a rayon pool
//! and cannot run on the caller's thread. One pool of one thread per core keeps a step on one core, and lets
//! as many sessions infer at once as there are cores; a pool of several threads would split the small matrices of one step and
//! wake all threads for it. A pool is created when all others are busy, so that one session has one thread; a session costs
//! none.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};

use rten::{Model, NodeId, RunOptions, ThreadPool, Value as EngineValue, ValueOrView};
use rten_tensor::prelude::*;
use rten_tensor::{Tensor as EngineTensor, TensorView};
use visage_kernels::reference::HostBuffer;
use visage_kernels::{DType, Half};

use super::value::Placement;
use super::{
    Backend, BackendError, Elements, Graph, Kernel, KernelSlot, KernelSpec, Launch, Onnx, Signature, Slot, Tensor,
    Value, check_launch,
};

/// The backend's name in errors and reports.
const NAME: &str = "cpu";

/// The backend for any CPU. All graphs that one `CpuBackend` loads share its threads.
#[derive(Clone, Debug, Default)]
pub struct CpuBackend {
    threads: Arc<Threads>,
}

/// One slot for each core, whose pool of one thread is created when it is first needed.
#[derive(Debug)]
struct Threads(Vec<Mutex<OnceLock<Arc<ThreadPool>>>>);

impl Default for Threads {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self((0..cores).map(|_| Mutex::default()).collect())
    }
}

impl Threads {
    /// Runs `step` with a pool of its own. If all pools are busy it waits for the first.
    fn with_pool<T>(&self, step: impl FnOnce(Arc<ThreadPool>) -> T) -> T {
        let free = self.0.iter().find_map(|pool| match pool.try_lock() {
            Ok(free) => Some(free),
            Err(TryLockError::Poisoned(free)) => Some(free.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        });
        let pool: MutexGuard<'_, _> = free.unwrap_or_else(|| self.0[0].lock().unwrap_or_else(PoisonError::into_inner));
        step(Arc::clone(pool.get_or_init(|| Arc::new(ThreadPool::with_num_threads(1)))))
    }
}

impl CpuBackend {
    /// A backend whose threads start when they are needed.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The inputs and outputs of a graph.
    ///
    /// # Errors
    /// If it is not a graph that this backend can run.
    pub fn signature(&self, onnx: Onnx<'_>) -> Result<Signature, BackendError> {
        signature(onnx)
    }
}

/// Reads the signature from the model's bytes: rten widens types (f16 to f32, i64 to i32) when it loads a model.
fn signature(onnx: Onnx<'_>) -> Result<Signature, BackendError> {
    let read = match onnx {
        Onnx::Bytes(bytes) => Signature::read(bytes),
        Onnx::File(path) => Signature::read(&std::fs::read(path).map_err(|error| load_failed(&error))?),
    };
    read.map_err(|error| load_failed(&error))
}

impl Backend for CpuBackend {
    fn name(&self) -> &'static str {
        NAME
    }

    fn load(&self, _name: &str, onnx: Onnx<'_>) -> Result<Box<dyn Graph>, BackendError> {
        let model = match onnx {
            Onnx::Bytes(bytes) => Model::load(bytes.to_vec()),
            Onnx::File(path) => Model::load_file(path),
        };
        let model = model.map_err(|error| load_failed(&error))?;
        let signature = signature(onnx)?;
        if signature.outputs.is_empty() {
            return Err(load_failed(&"a graph without outputs"));
        }
        let ids = |ids: &[NodeId]| -> Ids {
            ids.iter().filter_map(|id| Some((model.node_info(*id)?.name()?.to_owned(), *id))).collect()
        };
        let (inputs, outputs) = (ids(model.input_ids()), ids(model.output_ids()));
        let threads = Arc::clone(&self.threads);
        Ok(Box::new(CpuGraph(Arc::new(Loaded { model, signature, inputs, outputs, threads }))))
    }

    fn load_kernel(&self, spec: KernelSpec) -> Result<Box<dyn Kernel>, BackendError> {
        Ok(Box::new(CpuKernel(Arc::new(spec))))
    }
}

fn load_failed(error: &dyn std::fmt::Display) -> BackendError {
    BackendError::Load { backend: NAME, found: error.to_string() }
}

/// rten's ids of inputs or outputs by name.
type Ids = HashMap<String, NodeId>;

struct Loaded {
    model: Model,
    signature: Signature,
    inputs: Ids,
    outputs: Ids,
    threads: Arc<Threads>,
}

struct CpuGraph(Arc<Loaded>);

impl Graph for CpuGraph {
    fn signature(&self) -> &Signature {
        &self.0.signature
    }

    /// Slots are unlimited: they own nothing.
    fn slot(&self) -> Result<Box<dyn Slot>, BackendError> {
        Ok(Box::new(CpuSlot(Arc::clone(&self.0))))
    }
}

struct CpuSlot(Arc<Loaded>);

impl Slot for CpuSlot {
    fn submit(&mut self, inputs: &[(&str, &Value)], outputs: &[&str]) -> Result<Vec<Value>, BackendError> {
        let loaded = &*self.0;
        let wanted = outputs.iter().map(|name| loaded.output(name)).collect::<Result<Vec<_>, _>>()?;
        let tensors =
            inputs.iter().map(|(name, value)| Ok((*name, host(name, value)?))).collect::<Result<Vec<_>, _>>()?;
        loaded.check_names(inputs)?;
        let given: Vec<_> = tensors.iter().map(|(name, tensor)| (*name, tensor.dtype(), tensor.shape())).collect();
        loaded.signature.lengths(&given).map_err(|error| run_failed(&error))?;
        let views = tensors
            .iter()
            .map(|(name, tensor)| Ok((loaded.inputs[*name], view(name, tensor)?)))
            .collect::<Result<Vec<_>, BackendError>>()?;
        let ids: Vec<NodeId> = wanted.iter().map(|(id, _)| *id).collect();
        let run = |pool| loaded.model.run(views, &ids, Some(RunOptions::default().with_thread_pool(Some(pool))));
        let values = loaded.threads.with_pool(run).map_err(|error| run_failed(&error))?;
        values.into_iter().zip(wanted).map(|(value, (_, dtype))| tensor(value, dtype).map(Value::from)).collect()
    }
}

impl Loaded {
    fn output(&self, name: &str) -> Result<(NodeId, DType), BackendError> {
        let info = self.signature.outputs.iter().find(|output| output.name == name);
        let found = info.and_then(|info| Some((*self.outputs.get(name)?, info.dtype)));
        found.ok_or_else(|| unknown(name, self.signature.outputs.iter().map(|output| output.name.as_str())))
    }

    fn check_names(&self, inputs: &[(&str, &Value)]) -> Result<(), BackendError> {
        let unknown_input = inputs.iter().find(|(name, _)| !self.inputs.contains_key(*name));
        let names = || self.signature.inputs.iter().map(|input| input.name.as_str());
        unknown_input.map_or(Ok(()), |(name, _)| Err(unknown(name, names())))
    }
}

/// The error for a name that is not among `names`.
pub(super) fn unknown<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> BackendError {
    let mut names: Vec<&str> = names.collect();
    names.sort_unstable();
    BackendError::NoSuchName { name: name.to_owned(), found: names.join(", ") }
}

fn host<'a>(name: &str, value: &'a Value) -> Result<&'a Tensor, BackendError> {
    match value.placement() {
        Placement::Host(tensor) => Ok(tensor),
        _ => Err(run_failed(&format!("input \"{name}\" is on a device"))),
    }
}

/// The tensor for rten: borrowed where rten has its type, else widened.
fn view<'a>(name: &str, tensor: &'a Tensor) -> Result<ValueOrView<'a>, BackendError> {
    let shape = tensor.shape();
    let failed = || run_failed(&format!("input \"{name}\" of the shape {shape:?}"));
    macro_rules! borrowed {
        ($values:expr) => {
            TensorView::try_from_data(shape, $values.as_slice()).map_err(|_unsaid| failed())?.into()
        };
    }
    macro_rules! owned {
        ($values:expr) => {
            EngineValue::from(EngineTensor::try_from_data(shape, $values).map_err(|_unsaid| failed())?).into()
        };
    }
    Ok(match tensor.elements() {
        Elements::F32(values) => borrowed!(values),
        Elements::I32(values) => borrowed!(values),
        Elements::U8(values) => borrowed!(values),
        Elements::F16(values) => owned!(values.iter().map(|half| half.value()).collect::<Vec<f32>>()),
        Elements::I16(values) => owned!(values.iter().map(|value| i32::from(*value)).collect::<Vec<i32>>()),
        Elements::I64(values) => {
            let narrow = values.iter().map(|value| i32::try_from(*value)).collect::<Result<Vec<i32>, _>>();
            owned!(narrow.map_err(|_wide| run_failed(&format!("input \"{name}\" has integers beyond 32 bits")))?)
        }
    })
}

/// rten's output as a tensor of the type that the graph declares. `f32`, `i32` and `u8` move; others are converted.
fn tensor(value: EngineValue, dtype: DType) -> Result<Tensor, BackendError> {
    let failed = |error: rten::TryFromValueError| run_failed(&error);
    macro_rules! data {
        ($type:ty) => {{
            let tensor = EngineTensor::<$type>::try_from(value).map_err(failed)?;
            (tensor.shape().to_vec(), tensor.into_data())
        }};
    }
    let (shape, elements): (Vec<usize>, Elements) = match dtype {
        DType::F32 => data!(f32).map_elements(Elements::F32),
        DType::I32 => data!(i32).map_elements(Elements::I32),
        DType::U8 => data!(u8).map_elements(Elements::U8),
        DType::F16 => data!(f32).map_elements(|all| all.into_iter().map(Half::of).collect::<Vec<_>>().into()),
        DType::I16 => data!(i32).map_elements(|all| all.into_iter().map(|v| v as i16).collect::<Vec<_>>().into()),
        DType::I64 => data!(i32).map_elements(|all| all.into_iter().map(i64::from).collect::<Vec<_>>().into()),
    };
    Tensor::new(&shape, elements).ok_or_else(|| run_failed(&format!("an output of the shape {shape:?}")))
}

/// Converts the second of a shape and its data.
trait MapElements<T> {
    fn map_elements(self, of: impl FnOnce(Vec<T>) -> Elements) -> (Vec<usize>, Elements);
}

impl<T> MapElements<T> for (Vec<usize>, Vec<T>) {
    fn map_elements(self, of: impl FnOnce(Vec<T>) -> Elements) -> (Vec<usize>, Elements) {
        (self.0, of(self.1))
    }
}

fn run_failed(found: &dyn std::fmt::Display) -> BackendError {
    BackendError::Run { found: found.to_string() }
}

struct CpuKernel(Arc<KernelSpec>);

impl Kernel for CpuKernel {
    fn slot(&self) -> Result<Box<dyn KernelSlot>, BackendError> {
        Ok(Box::new(CpuKernelSlot(Arc::clone(&self.0))))
    }
}

struct CpuKernelSlot(Arc<KernelSpec>);

impl KernelSlot for CpuKernelSlot {
    fn submit(&mut self, launch: &Launch, values: &[Option<&Value>]) -> Result<Vec<Value>, BackendError> {
        check_launch(&self.0, launch, values)?;
        let kernel = launch.kernel();
        let buffer = |(at, value): (usize, Option<&Value>)| {
            let constant = self.0.constants.iter().find(|(constant, _)| *constant == at).map(|(_, tensor)| tensor);
            let tensor = value.map(|value| host(kernel.buffers[at].name, value)).transpose()?.or(constant);
            let bytes = tensor.map_or_else(|| vec![0; launch.bytes()[at]], Tensor::to_bytes);
            Ok(HostBuffer::of(&bytes[..launch.bytes()[at].min(bytes.len())]))
        };
        let mut buffers = values.iter().copied().enumerate().map(buffer).collect::<Result<Vec<_>, BackendError>>()?;
        launch.compute(&mut buffers).map_err(|error| run_failed(&error))?;
        let written = kernel.buffers.iter().zip(&buffers).filter(|(buffer, _)| buffer.is_written);
        let value = |(buffer, contents): (&visage_kernels::reference::KernelBuffer, &HostBuffer)| {
            let count = contents.bytes() / buffer.dtype.bytes();
            let tensor = Tensor::from_bytes(buffer.dtype, &[count], &contents.to_bytes());
            tensor.map(Value::from).ok_or_else(|| run_failed(&"a buffer of another size"))
        };
        written.map(value).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;

    #[test]
    fn steps_run_concurrently_on_all_cores_and_one_session_starts_one_thread() {
        let threads = Threads((0..2).map(|_| Mutex::default()).collect());
        let name = || std::thread::current().name().map(str::to_owned);
        (0..3).for_each(|_| assert!(threads.with_pool(|pool| pool.run(name)).is_some()));
        let started =
            |threads: &Threads| threads.0.iter().filter(|pool| pool.lock().expect("free").get().is_some()).count();
        assert_eq!(started(&threads), 1);
        // Both wait for each other inside their steps, which a single thread would never allow.
        let meet = Barrier::new(2);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| threads.with_pool(|pool| pool.run(|| meet.wait().is_leader())));
            }
        });
        assert_eq!(started(&threads), 2);
    }
}
