//! Engines from the cache, run on a GPU: TensorRT's `enqueueV3` on the backend's stream.
//!
//! Decides which engines fit the backend's contract (element types, free axes tied by the names in the ONNX file), and that
//! what a GPU compiles just in time is stored beside the engine. All sessions share the execution contexts.

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
use super::logger::{Heard, Listener};
use super::mmap::Mapped;
use crate::cuda::{AxisRange, Device, Engine, EngineError, EngineSource, Stream};

/// Engines that were built, as a source for the backend.
#[derive(Debug)]
pub struct BuiltEngines(Vec<Cached>);

impl BuiltEngines {
    /// Engines of the cache, for any GPUs. TensorRT's library must have been loaded.
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
        let none = || unfit(format!("none for compute capability {sm}; visage engines build makes it"));
        let cached = self.0.iter().find(fits).ok_or_else(none)?;
        let heard = Arc::new(Heard::default());
        let opened = signature(onnx).and_then(|signature| Running::open(cached.clone(), signature, &heard));
        opened.map(|running| Box::new(running) as Box<dyn Engine>).map_err(|error| unfit(heard.complaint(&error)))
    }
}

/// An engine with its contexts. Fields are dropped in the order in which TensorRT wants it.
struct Running {
    contexts: Contexts<Bound>,
    making: Making,
    engine: CudaEngine<'static>,
    _runtime: Runtime<'static>,
    _plan: Mapped,
    cached: Cached,
    heard: Arc<Heard>,
    signature: Signature,
    ranges: BTreeMap<String, AxisRange>,
}

/// A context with the lengths and addresses that it has. A capture of it stays valid as long as neither changes.
struct Bound {
    context: ExecutionContext<'static>,
    lengths: Option<Lengths>,
    addresses: Vec<u64>,
}

// SAFETY: TensorRT lets a context, engine or runtime be used on any thread, by one at a time, which `&mut self` keeps. The
// counted pointers to the runtime's configuration are held by the contexts and by `making`, which all move together.
unsafe impl Send for Running {}

impl Running {
    fn open(cached: Cached, signature: Signature, heard: &Arc<Heard>) -> Result<Self, String> {
        let said = |error: &dyn std::fmt::Display| error.to_string();
        let plan = Mapped::open(&cached.path).map_err(|error| format!("{error}: {}", cached.path.display()))?;
        let logger = Logger::new(Listener(Arc::clone(heard))).map_err(|error| said(&error))?;
        // A runtime refers to its logger for as long as it lives; there is one for each graph that is loaded.
        let logger: &'static Logger = Box::leak(Box::new(logger));
        let mut runtime = Runtime::new(logger).map_err(|error| said(&error))?;
        let mut engine = runtime.deserialize_cuda_engine(&plan).map_err(|error| said(&error))?;
        let tensors = || signature.inputs.iter().chain(&signature.outputs);
        tensors().try_for_each(|tensor| check(&engine, tensor))?;
        let ranges = ranges(&signature, cached.sidecar.key.profiles.first())?;
        let making = Making::new(&mut engine, &cached).map_err(|error| said(&error))?;
        let (contexts, heard) = (Contexts::default(), Arc::clone(heard));
        Ok(Self { contexts, making, engine, _runtime: runtime, _plan: plan, cached, heard, signature, ranges })
    }

    fn try_enqueue(&mut self, stream: &Stream, lengths: &Lengths, addresses: &[u64]) -> trtx::Result<()> {
        let (making, engine) = (&self.making, &mut self.engine);
        let create =
            || trtx::Result::Ok(Bound { context: making.context(engine)?, lengths: None, addresses: Vec::new() });
        let bound = self.contexts.of(lengths, create)?;
        bound.set_shapes(&self.signature, lengths)?;
        bound.set_addresses(&self.signature, addresses)?;
        // SAFETY: the stream is one of the driver's, of the context in which the engine was loaded; every tensor has its
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
            .map_err(|error| EngineError::Run { found: self.heard.take_complaint(&error.to_string()) })
    }

    fn warmed_up(&mut self) {
        self.contexts.warmed_up();
        self.making.keep(&self.cached);
    }
}

/// How contexts are made: with what was compiled just in time at an earlier start.
#[cfg(feature = "tensorrt-rtx")]
struct Making {
    config: Rc<trtx::RuntimeConfig<'static>>,
    compiled: Arc<trtx::RuntimeCache>,
}

#[cfg(feature = "tensorrt-rtx")]
impl Making {
    fn new(engine: &mut CudaEngine<'static>, cached: &Cached) -> trtx::Result<Self> {
        let mut config = engine.create_runtime_config()?;
        let compiled = Arc::new(config.create_runtime_cache()?);
        if let Ok(bytes) = std::fs::read(&cached.jit_path) {
            // A cache that another driver wrote is refused and compiled again.
            let _is_optional = compiled.deserialize(&bytes);
        }
        config.set_runtime_cache(Arc::clone(&compiled))?;
        // What is captured stays as it is, so the kernels for its shape must be there before: by default they are compiled
        // beside the first runs, and until then slower ones run, which would be captured and kept for good.
        config
            .set_dynamic_shapes_kernel_specialization_strategy(trtx::DynamicShapesKernelSpecializationStrategy::kEAGER);
        Ok(Self { config: Rc::new(config), compiled })
    }

    fn context(&self, engine: &mut CudaEngine<'static>) -> trtx::Result<ExecutionContext<'static>> {
        engine.create_execution_context_with_config(Rc::clone(&self.config))
    }

    /// A cache that cannot be written costs the next start some time, and nothing else.
    fn keep(&self, cached: &Cached) {
        let Ok(bytes) = self.compiled.serialize() else { return };
        let _may_fail = OutputFile::write(&cached.jit_path, &bytes);
    }
}

/// Classic engines are whole: nothing is compiled just in time.
#[cfg(not(feature = "tensorrt-rtx"))]
struct Making;

#[cfg(not(feature = "tensorrt-rtx"))]
impl Making {
    #[expect(clippy::unnecessary_wraps, reason = "the other flavour may fail")]
    fn new(_engine: &mut CudaEngine<'static>, _cached: &Cached) -> trtx::Result<Self> {
        Ok(Self)
    }

    #[expect(clippy::unused_self, reason = "the other flavour has something to make it with")]
    fn context(&self, engine: &mut CudaEngine<'static>) -> trtx::Result<ExecutionContext<'static>> {
        engine.create_execution_context()
    }

    #[expect(clippy::unused_self, reason = "the other flavour has something to keep")]
    fn keep(&self, _cached: &Cached) {}
}

/// The signature in the ONNX file: an engine does not keep the names of axes.
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
