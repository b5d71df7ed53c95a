//! Engines from the cache, run on a GPU: TensorRT's `enqueueV3` on the backend's stream.
//!
//! Decides which engines fit the backend's contract (element types, free axes tied by the names in the ONNX file), and that
//! code compiled just in time on the GPU is stored beside the engine. All sessions share the execution contexts.

use std::collections::BTreeMap;
#[cfg(feature = "tensorrt-rtx")]
use std::rc::Rc;
use std::sync::Arc;

use trtx::trtx_sys::{DataType, Dims64};
use trtx::{CudaEngine, ExecutionContext, Logger, Runtime};
use visage_engines::cache::Engine as Cached;
use visage_engines::onnx::{Axis, Lengths, Signature, TensorInfo};
#[cfg(feature = "tensorrt-rtx")]
use visage_engines::output_file::OutputFile;
use visage_engines::{DType, Onnx};

use super::contexts::{Contexts, ranges};
use super::logger::{Listener, LogRecord};
use super::mmap::MappedFile;
use crate::cuda::{AxisRange, Device, Engine, EngineError, EngineSource, Stream};

/// Compiled engines of the cache, as a source for the backend.
#[derive(Debug)]
pub struct BuiltEngines(Vec<Cached>);

impl BuiltEngines {
    /// Engines of the cache, for any GPUs. TensorRT must be loaded.
    #[must_use]
    pub fn new(engines: Vec<Cached>) -> Self {
        Self(engines)
    }
}

impl EngineSource for BuiltEngines {
    fn engine(&mut self, device: &Device, name: &str, onnx: Onnx<'_>) -> Result<Box<dyn Engine>, EngineError> {
        let unfit = |found: String| EngineError::Unfit { graph: name.to_owned(), found };
        let sm = device.sm()?;
        let fits = |cached: &&Cached| cached.sidecar.key.graph == name && cached.sidecar.key.sm == sm;
        let none = || unfit(format!("none for compute capability {sm}; visage engines build compiles it"));
        let cached = self.0.iter().find(fits).ok_or_else(none)?;
        let log = Arc::new(LogRecord::default());
        let opened = signature(onnx).and_then(|signature| Running::open(cached.clone(), signature, &log));
        opened.map(|running| Box::new(running) as Box<dyn Engine>).map_err(|error| unfit(log.errors_or(&error)))
    }
}

/// An engine with its contexts. The order of the fields is the drop order that TensorRT requires.
struct Running {
    contexts: Contexts<Bound>,
    factory: ContextFactory,
    engine: CudaEngine<'static>,
    _runtime: Runtime<'static>,
    _plan: MappedFile,
    cached: Cached,
    log: Arc<LogRecord>,
    signature: Signature,
    ranges: BTreeMap<String, AxisRange>,
}

/// A context with its current lengths and addresses. A capture of it stays valid as long as neither changes.
struct Bound {
    context: ExecutionContext<'static>,
    lengths: Option<Lengths>,
    addresses: Vec<u64>,
}

// SAFETY: TensorRT allows a context, engine or runtime on any thread, one thread at a time, which `&mut self` ensures. The
// reference-counted pointers to the runtime's configuration are held by the contexts and by `factory`, which move together.
unsafe impl Send for Running {}

impl Running {
    fn open(cached: Cached, signature: Signature, log: &Arc<LogRecord>) -> Result<Self, String> {
        let said = |error: &dyn std::fmt::Display| error.to_string();
        let plan = MappedFile::open(&cached.path).map_err(|error| format!("{error}: {}", cached.path.display()))?;
        let logger = Logger::new(Listener(Arc::clone(log))).map_err(|error| said(&error))?;
        // A runtime keeps a pointer to its logger; every loaded graph has a logger of its own.
        let logger: &'static Logger = Box::leak(Box::new(logger));
        let mut runtime = Runtime::new(logger).map_err(|error| said(&error))?;
        let mut engine = runtime.deserialize_cuda_engine(&plan).map_err(|error| said(&error))?;
        let tensors = || signature.inputs.iter().chain(&signature.outputs);
        tensors().try_for_each(|tensor| check(&engine, tensor))?;
        let ranges = ranges(&signature, cached.sidecar.key.profiles.first())?;
        let factory = ContextFactory::new(&mut engine, &cached).map_err(|error| said(&error))?;
        let (contexts, log) = (Contexts::default(), Arc::clone(log));
        Ok(Self { contexts, factory, engine, _runtime: runtime, _plan: plan, cached, log, signature, ranges })
    }

    fn try_enqueue(&mut self, stream: &Stream, lengths: &Lengths, addresses: &[u64]) -> trtx::Result<()> {
        let (factory, engine) = (&self.factory, &mut self.engine);
        let create =
            || trtx::Result::Ok(Bound { context: factory.context(engine)?, lengths: None, addresses: Vec::new() });
        let bound = self.contexts.of(lengths, create)?;
        bound.set_shapes(&self.signature, lengths)?;
        bound.set_addresses(&self.signature, addresses)?;
        // SAFETY: the stream belongs to the driver's context in which the engine was loaded; every tensor has its
        // address.
        unsafe { bound.context.enqueue_v3(stream.raw().cast()) }
    }
}

impl Bound {
    /// Sets the shapes of inputs with free axes, unless they are set.
    fn set_shapes(&mut self, signature: &Signature, lengths: &Lengths) -> trtx::Result<()> {
        if self.lengths.as_ref() == Some(lengths) {
            return Ok(());
        }
        let is_free = |input: &&TensorInfo| input.shape.iter().any(|axis| matches!(axis, Axis::Free { .. }));
        for input in signature.inputs.iter().filter(is_free) {
            let shape = input.shape_for(lengths).unwrap_or_default();
            let shape: Vec<i64> = shape.into_iter().map(|length| length as i64).collect();
            self.context.set_input_shape(&input.name, &Dims64::from_slice(&shape))?;
        }
        self.lengths = Some(lengths.clone());
        Ok(())
    }

    /// Sets the address of every tensor, unless they are set.
    fn set_addresses(&mut self, signature: &Signature, addresses: &[u64]) -> trtx::Result<()> {
        if self.addresses == addresses {
            return Ok(());
        }
        for (tensor, address) in signature.inputs.iter().chain(&signature.outputs).zip(addresses) {
            // SAFETY: the backend passes device memory for these lengths, and keeps it while it keeps the engine.
            unsafe { self.context.set_tensor_address(&tensor.name, *address as *mut std::ffi::c_void) }?;
        }
        self.addresses = addresses.to_vec();
        Ok(())
    }
}

impl Engine for Running {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn ranges(&self) -> &BTreeMap<String, AxisRange> {
        &self.ranges
    }

    fn enqueue(&mut self, stream: &Stream, lengths: &Lengths, addresses: &[u64]) -> Result<(), EngineError> {
        stream.check()?;
        self.try_enqueue(stream, lengths, addresses)
            .map_err(|error| EngineError::Run { found: self.log.take_errors(&error.to_string()) })
    }

    fn warmed_up(&mut self) {
        self.contexts.warmed_up();
        self.factory.keep(&self.cached);
    }
}

/// Creates contexts, with the code compiled just in time at an earlier start.
#[cfg(feature = "tensorrt-rtx")]
struct ContextFactory {
    config: Rc<trtx::RuntimeConfig<'static>>,
    compiled: Arc<trtx::RuntimeCache>,
}

#[cfg(feature = "tensorrt-rtx")]
impl ContextFactory {
    fn new(engine: &mut CudaEngine<'static>, cached: &Cached) -> trtx::Result<Self> {
        let mut config = engine.create_runtime_config()?;
        let compiled = Arc::new(config.create_runtime_cache()?);
        if let Ok(bytes) = std::fs::read(&cached.jit_path) {
            // A cache written by another driver is refused and compiled again.
            let _is_optional = compiled.deserialize(&bytes);
        }
        config.set_runtime_cache(Arc::clone(&compiled))?;
        // A captured graph never changes, so the kernels for its shape must be compiled before: by default TensorRT compiles them
        // in the background and runs slower ones until then, which the capture would keep.
        config
            .set_dynamic_shapes_kernel_specialization_strategy(trtx::DynamicShapesKernelSpecializationStrategy::kEAGER);
        Ok(Self { config: Rc::new(config), compiled })
    }

    fn context(&self, engine: &mut CudaEngine<'static>) -> trtx::Result<ExecutionContext<'static>> {
        engine.create_execution_context_with_config(Rc::clone(&self.config))
    }

    /// A cache that cannot be written only makes the next start slower.
    fn keep(&self, cached: &Cached) {
        let Ok(bytes) = self.compiled.serialize() else { return };
        let _may_fail = OutputFile::write(&cached.jit_path, &bytes);
    }
}

/// Classic engines contain all code: nothing is compiled just in time.
#[cfg(not(feature = "tensorrt-rtx"))]
struct ContextFactory;

#[cfg(not(feature = "tensorrt-rtx"))]
impl ContextFactory {
    #[expect(clippy::unnecessary_wraps, reason = "the other flavour may fail")]
    fn new(_engine: &mut CudaEngine<'static>, _cached: &Cached) -> trtx::Result<Self> {
        Ok(Self)
    }

    #[expect(clippy::unused_self, reason = "the other flavour uses it")]
    fn context(&self, engine: &mut CudaEngine<'static>) -> trtx::Result<ExecutionContext<'static>> {
        engine.create_execution_context()
    }

    #[expect(clippy::unused_self, reason = "the other flavour uses it")]
    fn keep(&self, _cached: &Cached) {}
}

/// The signature in the ONNX file: an engine does not contain the names of axes.
fn signature(onnx: Onnx<'_>) -> Result<Signature, String> {
    let read = match onnx {
        Onnx::Bytes(bytes) => Signature::read(bytes),
        Onnx::File(path) => {
            Signature::read(&std::fs::read(path).map_err(|error| format!("{error}: {}", path.display()))?)
        }
    };
    read.map_err(|error| error.to_string())
}

/// Whether the engine has a tensor as the ONNX file declares it.
fn check(engine: &CudaEngine<'_>, wanted: &TensorInfo) -> Result<(), String> {
    let said = |error: trtx::Error| error.to_string();
    let kind = engine.tensor_data_type(&wanted.name).map_err(said)?;
    let axes = engine.tensor_shape(&wanted.name).map_err(said)?;
    let fits = |(axis, length): (&Axis, &i64)| match axis {
        Axis::Fixed(wanted) => i64::try_from(*wanted) == Ok(*length),
        Axis::Free { .. } => *length < 0,
    };
    let has_shape = axes.len() == wanted.shape.len() && wanted.shape.iter().zip(axes.iter()).all(fits);
    if dtype_of(kind) == Some(wanted.dtype) && has_shape {
        return Ok(());
    }
    let (dtype, shape) = (wanted.dtype, wanted.shape_text());
    Err(format!("\"{}\" of {kind:?} {axes:?} instead of {dtype} {shape}: build it again", wanted.name))
}

fn dtype_of(kind: DataType) -> Option<DType> {
    Some(match kind {
        DataType::kFLOAT => DType::F32,
        DataType::kHALF => DType::F16,
        DataType::kINT32 => DType::I32,
        DataType::kINT64 => DType::I64,
        DataType::kUINT8 => DType::U8,
        _ => return None,
    })
}
