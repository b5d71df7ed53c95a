//! Compiles graphs to engines.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use trtx::trtx_sys::Dims64;
use trtx::{Builder, BuilderConfig, Logger, OnnxParser, OptProfileSelector};
use visage_engines::compile::{CompileError, CompileRequest, Compiled, Compiler, Watch};
use visage_engines::{Flavour, Onnx, Profile, ShapeRange, Sm, Version};

use super::logger::{Listener, LogRecord, Monitor};
use super::{FLAVOUR, TensorRt};

/// The library confuses the targets of two concurrent compilations in one process: a build for SM 8.9 then fails because of
/// SM 12.0.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

impl Compiler for TensorRt {
    fn flavour(&self) -> Flavour {
        FLAVOUR
    }

    fn version(&self) -> Version {
        self.version
    }

    fn compile(&self, order: &CompileRequest<'_>, engine: &Path, watch: &Watch) -> Result<Compiled, CompileError> {
        check_gpu(order.sm)?;
        let log = Arc::new(LogRecord::default());
        let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let mut write = |plan: &[u8]| {
            let mut file = File::create(engine)?;
            file.write_all(plan)?;
            file.sync_all()
        };
        let written = compile(order, &log, watch, &mut write).map_err(|error| {
            let found = log.errors_or(&error.to_string());
            if log.was_stopped() { CompileError::Stopped } else { CompileError::Graph { flavour: FLAVOUR, found } }
        })?;
        written.map_err(|source| CompileError::Write { path: engine.to_owned(), source })?;
        Ok(Compiled { activation_bytes: log.activation_bytes() })
    }
}

/// Compiles, and passes the library's own buffer to `write`: an engine of gigabytes is not copied.
fn compile(
    order: &CompileRequest<'_>,
    log: &Arc<LogRecord>,
    watch: &Watch,
    write: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> trtx::Result<io::Result<()>> {
    let logger = Logger::new(Listener(Arc::clone(log)))?;
    let mut builder = Builder::new(&logger)?;
    let mut config = builder.create_config()?;
    set_target(&mut config, order.sm)?;
    for profile in order.profiles {
        add_profile(&mut builder, &mut config, profile)?;
    }
    let (log, watch) = (Arc::clone(log), Arc::clone(watch));
    config.set_progress_monitor(Box::new(Monitor { log, watch, stages: Mutex::default() }))?;
    let network = builder.create_network(0)?;
    let mut parser = OnnxParser::new(network, &logger)?;
    match order.onnx {
        Onnx::Bytes(bytes) => parser.parse(bytes)?,
        Onnx::File(path) => parser.parse_from_file(&path.to_string_lossy(), 0)?,
    }
    let plan = builder.build_serialized_network(parser.network_mut(), &mut config)?;
    Ok(write(&plan))
}

#[cfg(feature = "tensorrt-rtx")]
fn set_target(config: &mut BuilderConfig<'_>, sm: Sm) -> trtx::Result<()> {
    use trtx::ComputeCapability;
    let capability = match sm {
        Sm::SM75 => ComputeCapability::kSM75,
        Sm::SM80 => ComputeCapability::kSM80,
        Sm::SM86 => ComputeCapability::kSM86,
        Sm::SM89 => ComputeCapability::kSM89,
        Sm::SM120 => ComputeCapability::kSM120,
        Sm::SM121 => ComputeCapability::kSM121,
        // The documentation lists no other; on a GPU of this kind the build may still work.
        _ => ComputeCapability::kCURRENT,
    };
    config.set_nb_compute_capabilities(1)?;
    config.set_compute_capability(capability, 0)
}

/// Compiles for any GPU, without one in the machine.
#[cfg(feature = "tensorrt-rtx")]
#[expect(clippy::unnecessary_wraps, reason = "the other flavour may refuse")]
fn check_gpu(_sm: Sm) -> Result<(), CompileError> {
    Ok(())
}

/// Classic TensorRT compiles on the machine's first GPU and only for it.
#[cfg(not(feature = "tensorrt-rtx"))]
pub(super) fn check_gpu(sm: Sm) -> Result<(), CompileError> {
    use crate::cuda::{Device, Driver, LIBRARY};
    let driver = Driver::open(Path::new(LIBRARY)).map_err(|error| error.to_string());
    let here = driver.and_then(|driver| {
        let device = Device::open(&driver, 0).map_err(|error| error.to_string())?;
        device.sm().map_err(|error| error.to_string())
    });
    let found = match here {
        Ok(here) if here == sm => return Ok(()),
        Ok(here) => format!("a GPU of {here}"),
        Err(said) => said,
    };
    Err(CompileError::NotHere { sm, flavour: FLAVOUR, found })
}

/// The target is the GPU in the machine.
#[cfg(not(feature = "tensorrt-rtx"))]
#[expect(clippy::unnecessary_wraps, reason = "the other flavour may refuse")]
fn set_target(_config: &mut BuilderConfig<'_>, _sm: Sm) -> trtx::Result<()> {
    Ok(())
}

fn add_profile(builder: &mut Builder<'_>, config: &mut BuilderConfig<'_>, profile: &Profile) -> trtx::Result<()> {
    let mut added = builder.creata_optimization_profile()?;
    for (input, ShapeRange { min, opt, max }) in &profile.0 {
        for (which, shape) in
            [(OptProfileSelector::kMIN, min), (OptProfileSelector::kOPT, opt), (OptProfileSelector::kMAX, max)]
        {
            let lengths: Vec<i64> = shape.iter().map(|length| i64::try_from(*length).unwrap_or(i64::MAX)).collect();
            added.set_dimensions(input, which, &Dims64::from_slice(&lengths))?;
        }
    }
    config.add_optimization_profile(&mut added).map(drop)
}
