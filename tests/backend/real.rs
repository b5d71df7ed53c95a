//! A real GPU with TensorRT, where `VISAGE_CUDA=1` is set: see `tests/gpu/tensorrt.sh`.

#![expect(clippy::disallowed_methods, reason = "the environment says whether there is a GPU")]

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::SystemTime;

use visage::backend::gpu::open;
use visage::backend::{Backend, CpuBackend, Onnx};
use visage_engines::cache::{Built, Cache, Engine, Step};
use visage_engines::compile::{CompileRequest, Compiler, Watch};
use visage_engines::search_paths::search_order;
use visage_engines::{Digest, EngineKey, Precision, Sm};
use visage_kernels::cuda::{Device, Driver, LIBRARY};
use visage_kernels::tensorrt::{BuiltEngines, load};

use crate::fixture::{MOUTH, config};
use crate::threads::mouth_steps;

/// The engine of the mouth network, built for this GPU.
fn engine(cache: &Cache, compiler: &dyn Compiler, sm: Sm) -> Engine {
    let key = EngineKey {
        graph: "mouth".to_owned(),
        shapes: "1x4".to_owned(),
        onnx: Digest::of(MOUTH),
        weights: BTreeMap::new(),
        sm,
        flavour: compiler.flavour(),
        version: compiler.version(),
        precision: Precision::Fp32,
        profiles: Vec::new(),
        kernels: BTreeMap::new(),
        flags: BTreeSet::new(),
    };
    let watch: Watch = Arc::new(|_| ControlFlow::Continue(()));
    let order = CompileRequest { onnx: Onnx::Bytes(MOUTH), sm, profiles: &[] };
    let compile = |path: &Path| compiler.compile(&order, path, &watch).map(|_| Built::default());
    let mut silent = |_: Step<'_>| ControlFlow::Continue(());
    cache.obtain(&key, SystemTime::UNIX_EPOCH, &mut silent, compile).expect("an engine for this GPU")
}

#[test]
fn the_mouth_network_on_a_real_gpu_matches_the_cpu() {
    if std::env::var_os("VISAGE_CUDA").is_none() {
        println!("skipped: tensorrt on a GPU: VISAGE_CUDA is not set; tests/gpu/tensorrt.sh sets it");
        return;
    }
    let driver = Driver::open(Path::new(LIBRARY)).expect("VISAGE_CUDA says that there is a GPU");
    let sm = Device::open(&driver, 0).and_then(|device| {
        device.sm().map_err(|source| visage_kernels::cuda::DriverError::Device { ordinal: 0, source })
    });
    let given = std::env::var_os("VISAGE_TENSORRT_LIB").map(PathBuf::from);
    let compiler = load(&search_order(given.as_deref(), &[], "")).expect("TensorRT");
    let folder = tempfile::tempdir().expect("a folder");
    let cache = Cache::open(folder.path().to_owned()).expect("a cache");
    let engine = engine(&cache, compiler.as_ref(), sm.expect("a GPU"));
    println!("{}", engine.path.display());
    let source = BuiltEngines::new(vec![engine]);
    let (gpu, device) = open(config(Path::new(LIBRARY)), Box::new(source));
    let thread = thread::spawn(move || device.run(|_| ()));
    let graph = gpu.load("mouth", Onnx::Bytes(MOUTH)).expect("the engine loads");
    let (found, times) = mouth_steps(graph.as_ref());
    let (wanted, _) = mouth_steps(CpuBackend::new().load("mouth", Onnx::Bytes(MOUTH)).expect("a graph").as_ref());
    let apart = found.iter().zip(&wanted).map(|(found, wanted)| (found - wanted).abs()).fold(0.0, f32::max);
    println!("largest difference {apart}, times of the last step {times:?}");
    assert!(found.len() == wanted.len() && apart < 1e-3, "{apart}");
    let work = gpu.work();
    assert_eq!(work.loop_stalls, 0);
    println!("{} of {} runs replayed", work.replays, work.runs);
    drop((graph, gpu));
    thread.join().expect("the loop ends");
}
