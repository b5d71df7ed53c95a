//! Engines from the cache, run on a card: TensorRT's `enqueueV3` on the stream that the backend gives.
//!
//! Decides which engines fit the backend's contract (tensors of `f32`, at most the first axis free) and that what a card
//! compiles just in time is kept beside the engine. All sessions are fed in turn through the same execution contexts, one for
//! each number of rows.

#[cfg(feature = "tensorrt-rtx")]
use std::rc::Rc;
use std::sync::Arc;

use trtx::trtx_sys::{DataType, Dims64, TensorIOMode};
use trtx::{CudaEngine, ExecutionContext, Logger, Runtime};
use visage_engines::Onnx;
use visage_engines::cache::Engine as Cached;
use visage_engines::output_file::OutputFile;

use super::batch_contexts::{ByRows, rows_of};
use super::logger::{Heard, Listener};
use super::mmap::Mapped;
use crate::cuda::{Device, Engine, EngineError, EngineSource, Port, Side, Stream};

/// Engines that were built.
#[derive(Debug)]
pub struct BuiltEngines(Vec<Cached>);

impl BuiltEngines {
    /// Engines of the cache, for any cards. TensorRT's library must have been loaded.
    #[must_use]
    pub fn new(engines: Vec<Cached>) -> Self {
        Self(engines)
    }
}

impl EngineSource for BuiltEngines {
    fn engine(&mut self, device: &Device, name: &str, _onnx: Onnx<'_>) -> Result<Box<dyn Engine>, EngineError> {
        let unfit = |found: String| EngineError::Unfit { graph: name.to_owned(), found };
        let sm = device.sm()?;
        let fits = |cached: &&Cached| cached.sidecar.key.graph == name && cached.sidecar.key.sm == sm;
        let none = || unfit(format!("none for compute capability {sm}; visage engines build makes it"));
        let cached = self.0.iter().find(fits).ok_or_else(none)?;
        let heard = Arc::new(Heard::default());
        let opened = Running::open(cached.clone(), &heard);
        opened.map(|running| Box::new(running) as Box<dyn Engine>).map_err(|error| unfit(heard.complaint(&error)))
    }
}

/// An engine with its contexts. Fields are dropped in the order in which TensorRT wants it.
struct Running {
    contexts: ByRows<Bound>,
    making: Making,
    engine: CudaEngine<'static>,
    _runtime: Runtime<'static>,
    _plan: Mapped,
    cached: Cached,
    heard: Arc<Heard>,
    ports: Vec<Port>,
    most_rows: usize,
}

/// A context, and the addresses that its tensors have. What was captured of it stays valid for as long as neither changes.
struct Bound {
    context: ExecutionContext<'static>,
    addresses: Vec<u64>,
}

// SAFETY: TensorRT lets a context, engine or runtime be used on any thread, by one at a time, which `&mut self` keeps. The
// counted pointers to the runtime's configuration are held by the contexts and by `making`, which all move together.
unsafe impl Send for Running {}

impl Running {
    fn open(cached: Cached, heard: &Arc<Heard>) -> Result<Self, String> {
        let said = |error: &dyn std::fmt::Display| error.to_string();
        let plan = Mapped::open(&cached.path).map_err(|error| format!("{error}: {}", cached.path.display()))?;
        let logger = Logger::new(Listener(Arc::clone(heard))).map_err(|error| said(&error))?;
        // A runtime refers to its logger for as long as it lives; there is one for each graph that is loaded.
        let logger: &'static Logger = Box::leak(Box::new(logger));
        let mut runtime = Runtime::new(logger).map_err(|error| said(&error))?;
        let mut engine = runtime.deserialize_cuda_engine(&plan).map_err(|error| said(&error))?;
        let ports = ports(&engine)?;
        let most_rows = rows_of(cached.sidecar.key.profiles.first(), &ports)?;
        let making = Making::new(&mut engine, &cached).map_err(|error| said(&error))?;
        let (contexts, heard) = (ByRows::default(), Arc::clone(heard));
        Ok(Self { contexts, making, engine, _runtime: runtime, _plan: plan, cached, heard, ports, most_rows })
    }

    fn try_enqueue(&mut self, stream: &Stream, rows: usize, addresses: &[u64]) -> trtx::Result<()> {
        let (making, engine) = (&self.making, &mut self.engine);
        let bound = self.contexts.of(rows, || Bound::new(making.context(engine)?, &self.ports, rows))?;
        bound.bind(&self.ports, addresses)?;
        // SAFETY: the stream is one of the driver's, of the context in which the engine was loaded; every tensor has its
        // address.
        unsafe { bound.context.enqueue_v3(stream.raw().cast()) }
    }
}

impl Bound {
    /// For so many rows.
    fn new(mut context: ExecutionContext<'static>, ports: &[Port], rows: usize) -> trtx::Result<Self> {
        let is_free = |port: &&Port| port.side == Side::Input && port.shape.first().is_some_and(Option::is_none);
        for port in ports.iter().filter(is_free) {
            let lengths: Vec<i64> = port.shape.iter().map(|axis| axis.unwrap_or(rows) as i64).collect();
            context.set_input_shape(&port.name, &Dims64::from_slice(&lengths))?;
        }
        Ok(Self { context, addresses: Vec::new() })
    }

    /// Gives every tensor its address, unless it has it.
    fn bind(&mut self, ports: &[Port], addresses: &[u64]) -> trtx::Result<()> {
        if self.addresses == addresses {
            return Ok(());
        }
        for (port, address) in ports.iter().zip(addresses) {
            // SAFETY: the backend gives memory of the device for as many rows, and keeps it while it keeps the engine.
            unsafe { self.context.set_tensor_address(&port.name, *address as *mut std::ffi::c_void) }?;
        }
        self.addresses = addresses.to_vec();
        Ok(())
    }
}

impl Engine for Running {
    fn ports(&self) -> &[Port] {
        &self.ports
    }

    fn enqueue(&mut self, stream: &Stream, rows: usize, addresses: &[u64]) -> Result<(), EngineError> {
        stream.check()?;
        self.try_enqueue(stream, rows, addresses)
            .map_err(|error| EngineError::Run { found: self.heard.take_complaint(&error.to_string()) })
    }

    fn most_rows(&self) -> usize {
        self.most_rows
    }

    fn keep(&mut self) {
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
            // One that another driver wrote is refused, and compiled anew.
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

fn ports(engine: &CudaEngine<'_>) -> Result<Vec<Port>, String> {
    let count = engine.nb_io_tensors().map_err(|error| error.to_string())?;
    (0..count).map(|number| port(engine, number)).collect()
}

fn port(engine: &CudaEngine<'_>, number: i32) -> Result<Port, String> {
    let said = |error: trtx::Error| error.to_string();
    let name = engine.io_tensor_name(number).map_err(said)?;
    let kind = engine.tensor_data_type(&name).map_err(said)?;
    if !matches!(kind, DataType::kFLOAT) {
        return Err(format!("\"{name}\" holds {kind:?} instead of kFLOAT: export it with inputs and outputs of f32"));
    }
    let side = match engine.tensor_io_mode(&name).map_err(said)? {
        TensorIOMode::kINPUT => Side::Input,
        _ => Side::Output,
    };
    let axes = engine.tensor_shape(&name).map_err(said)?;
    let shape: Vec<Option<usize>> = axes.iter().map(|length| usize::try_from(*length).ok()).collect();
    if shape.iter().skip(1).any(Option::is_none) {
        return Err(format!("\"{name}\" has the shape {axes:?}: only the first axis may be free"));
    }
    Ok(Port { name, side, shape })
}
