//! Plans are complete before anything is compiled, and no incomplete file is left.

use std::fmt::Write as _;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use super::*;
use crate::{DIGEST_FILE, onnx};

/// Writes the request into the file instead of compiling.
struct FakeCompiler {
    version: Version,
}

impl Compiler for FakeCompiler {
    fn flavour(&self) -> Flavour {
        Flavour::Rtx
    }

    fn version(&self) -> Version {
        self.version
    }

    fn compile(&self, order: &CompileRequest<'_>, engine: &Path, watch: &Watch) -> Result<Compiled, CompileError> {
        for done in 0..3 {
            if watch(Progress { stage: "Pretending", done, of: 3 }).is_break() {
                return Err(CompileError::Stopped);
            }
        }
        let failed = |source| CompileError::Write { path: engine.to_owned(), source };
        fs::write(engine, format!("{} {:?}", order.sm, order.onnx)).map_err(failed)?;
        Ok(Compiled { activation_bytes: Some(5) })
    }
}

const MANIFEST: &str = "name='p'\ntitle='P'\nmodel='portrait'\nlicence='MIT'\navatars=['a']
[[graphs]]\nname='small'\nshapes='1'\nonnx={fp32='small.onnx'}
[[graphs]]\nname='large'\nshapes='512x25'\nonnx={fp16='large.16.onnx', fp32='large.onnx'}\nweights=['large.data']
[[graphs.profiles]]\nx={min=[1], opt=[2], max=[3]}\n";

/// A pack of two graphs; the weights of one are too large to be held.
fn pack(folder: &Path) -> PackFiles {
    let weights = vec![7_u8; 70 * 1024 * 1024];
    let files: [(&str, &[u8]); 5] = [
        ("pack.toml", MANIFEST.as_bytes()),
        ("small.onnx", b"small"),
        ("large.onnx", b"large"),
        ("large.16.onnx", b"large, 16 bits"),
        ("large.data", &weights),
    ];
    written(folder, &files)
}

/// A pack of these files.
fn written(folder: &Path, files: &[(&str, &[u8])]) -> PackFiles {
    let mut sums = String::new();
    for (path, bytes) in files {
        let full = folder.join(path);
        fs::create_dir_all(full.parent().expect("a folder")).expect("a folder");
        fs::write(full, bytes).expect("written");
        writeln!(sums, "{}  {path}", Digest::of(bytes)).expect("a string");
    }
    fs::write(folder.join(DIGEST_FILE), sums).expect("written");
    PackFiles::read(folder).expect("a pack")
}

fn request(sms: &[Sm]) -> BuildRequest {
    BuildRequest { sms: sms.to_vec(), precision: None, kernels: BTreeMap::new() }
}

/// A clock that advances by one second per reading.
fn clock() -> SystemTime {
    static ASKED: AtomicU64 = AtomicU64::new(0);
    SystemTime::UNIX_EPOCH + Duration::from_secs(ASKED.fetch_add(1, Ordering::Relaxed))
}

const RTX: FakeCompiler = FakeCompiler { version: Version::four(1, 7, 1, 116) };
const PLENTY: u64 = 1 << 40;

fn builder<'a>(pack: &'a PackFiles, compiler: &'a dyn Compiler, cache: &'a Cache) -> EngineBuilder<'a> {
    EngineBuilder { pack, compiler, cache, clock }
}

fn never_stop() -> Watch {
    Arc::new(|_| ControlFlow::Continue(()))
}

#[test]
fn a_pack_is_compiled_for_every_gpu_and_found_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let (pack, cache) = (pack(folder.path()), Cache::open(folder.path().join("engines")).expect("a cache"));
    let request = request(&[Sm::SM89, Sm::SM120]);
    let first = builder(&pack, &RTX, &cache).plan(&request).expect("a plan");
    assert_eq!(first.len(), 4);
    assert!(first.iter().all(|planned| planned.found == Found::Nothing));
    assert!(
        matches!(&first[2].onnx, Onnx::File(path) if path.ends_with("large.16.onnx")),
        "the lowest precision by default"
    );
    for planned in &first {
        builder(&pack, &RTX, &cache).make(planned, PLENTY, &mut |_| (), &never_stop()).expect("an engine");
    }
    let again = builder(&pack, &RTX, &cache).plan(&request).expect("a plan");
    assert!(again.iter().all(|planned| matches!(planned.found, Found::Engine(_))));
    let newer = FakeCompiler { version: Version::four(1, 7, 1, 117) };
    let other = builder(&pack, &newer, &cache).plan(&request).expect("a plan");
    assert!(other.iter().all(|planned| planned.found == Found::Nothing), "built by another version");
}

#[test]
fn engines_that_return_zeros_on_sm_75_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let (pack, cache) = (pack(folder.path()), Cache::open(folder.path().join("engines")).expect("a cache"));
    let plan = |precision| {
        let request = BuildRequest { precision: Some(precision), ..request(&[Sm::SM75]) };
        builder(&pack, &RTX, &cache).plan(&request).map(|planned| planned.len())
    };
    assert_eq!(plan(Precision::Fp16).expect("fp16, and fp32 with fixed shapes"), 2);
    let refused = plan(Precision::Fp32).expect_err("fp32 with dynamic shapes").to_string();
    assert!(refused.contains("large"), "{refused}");
}

#[test]
fn impossible_builds_are_refused_before_they_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let (pack, cache) = (pack(folder.path()), Cache::open(folder.path().join("engines")).expect("a cache"));
    let hopper = builder(&pack, &RTX, &cache).plan(&request(&[Sm::SM90])).expect_err("it does not know Hopper");
    assert!(hopper.to_string().contains("7.5, 8.0, 8.6, 8.9, 12.0, 12.1"), "{hopper}");
    let fp8 = BuildRequest { precision: Some(Precision::Fp8), ..request(&[Sm::SM89]) };
    let error = builder(&pack, &RTX, &cache).plan(&fp8).expect_err("no such file");
    assert_eq!(error.to_string(), "wanted a graph in fp8, the pack has small in fp32, large in fp32 and fp16");
    let fp16 = BuildRequest { precision: Some(Precision::Fp16), ..request(&[Sm::SM89, Sm::SM89]) };
    let mixed = builder(&pack, &RTX, &cache).plan(&fp16).expect("a plan");
    let precisions: Vec<_> = mixed.iter().map(|planned| planned.key.precision).collect();
    assert_eq!(
        precisions,
        [Precision::Fp32, Precision::Fp16],
        "a graph without fp16 uses the next wider precision; duplicate GPUs are merged"
    );
    let planned = builder(&pack, &RTX, &cache).plan(&request(&[Sm::SM89])).expect("a plan");
    let short = builder(&pack, &RTX, &cache).make(&planned[1], 300_000_000, &mut |_| (), &never_stop());
    let error = short.expect_err("memory is short").to_string();
    assert!(error.starts_with("wanted 0.9 GB of memory to compile \"large\", 0.3 GB are free"), "{error}");
}

#[test]
fn a_stop_leaves_nothing_and_damaged_weights_are_not_compiled() {
    let folder = tempfile::tempdir().expect("a folder");
    let (pack, cache) = (pack(folder.path()), Cache::open(folder.path().join("engines")).expect("a cache"));
    let planned = builder(&pack, &RTX, &cache).plan(&request(&[Sm::SM89])).expect("a plan");
    let stop: Watch =
        Arc::new(|progress| if progress.done == 1 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) });
    let stopped = builder(&pack, &RTX, &cache).make(&planned[1], PLENTY, &mut |_| (), &stop).expect_err("stopped");
    assert!(matches!(stopped, MakeError::Compile { source: CompileError::Stopped, .. }));
    assert!(cache.list().expect("a list").is_empty());
    let mut weights = fs::read(folder.path().join("large.data")).expect("bytes");
    weights[1_000_000] ^= 1;
    fs::write(folder.path().join("large.data"), weights).expect("written");
    let damaged =
        builder(&pack, &RTX, &cache).make(&planned[1], PLENTY, &mut |_| (), &never_stop()).expect_err("damaged");
    assert!(damaged.to_string().contains("large.data"), "{damaged}");
}

#[test]
fn the_cost_of_a_build_is_recorded_in_the_sidecar() {
    let folder = tempfile::tempdir().expect("a folder");
    let (pack, cache) = (pack(folder.path()), Cache::open(folder.path().join("engines")).expect("a cache"));
    let planned = builder(&pack, &RTX, &cache).plan(&request(&[Sm::SM89])).expect("a plan");
    let engine = builder(&pack, &RTX, &cache).make(&planned[0], PLENTY, &mut |_| (), &never_stop()).expect("an engine");
    let Built { seconds, peak_memory_bytes, activation_bytes } = engine.sidecar.built;
    assert!(seconds >= 1.0 && activation_bytes == Some(5), "{:?}", engine.sidecar.built);
    assert!(peak_memory_bytes.is_some() || !cfg!(target_os = "linux"));
}

#[test]
fn weights_missing_from_the_manifest_are_refused_and_those_of_other_precisions_are_not_in_the_key() {
    let folder = tempfile::tempdir().expect("a folder");
    let (narrow, wide) = (onnx::tests::graph("16.data", "16.data"), onnx::tests::graph("32.data", "more.data"));
    let manifest = |weights: &str| {
        format!(
            "name='p'\ntitle='P'\nmodel='portrait'\nlicence='MIT'\navatars=['a']\n[[graphs]]\nname='g'\nshapes='1'
onnx={{fp16='g/16.onnx', fp32='g/32.onnx'}}\nweights=[{weights}]\n"
        )
    };
    let planned = |weights: &str, precision| {
        let manifest = manifest(weights);
        let files: [(&str, &[u8]); 6] = [
            ("pack.toml", manifest.as_bytes()),
            ("g/16.onnx", &narrow),
            ("g/32.onnx", &wide),
            ("g/16.data", &[1; 1000]),
            ("g/32.data", &[2; 2000]),
            ("g/more.data", &[3; 4000]),
        ];
        let (pack, cache) =
            (written(folder.path(), &files), Cache::open(folder.path().join("engines")).expect("a cache"));
        let request = BuildRequest { precision: Some(precision), ..request(&[Sm::SM89]) };
        let mut planned = builder(&pack, &RTX, &cache).plan(&request).map_err(|error| error.to_string())?;
        Ok::<_, String>((
            planned[0].memory_bytes - COMPILER_BYTES,
            planned.remove(0).key.weights.into_keys().collect::<Vec<_>>(),
        ))
    };
    let all = "'g/16.data', 'g/32.data', 'g/more.data'";
    let (bytes, files) = planned(all, Precision::Fp16).expect("a plan");
    assert_eq!((bytes, files), (COMPILER_RATIO * (1000 + narrow.len() as u64), vec!["g/16.data".to_owned()]));
    assert_eq!(planned(all, Precision::Fp32).expect("a plan").1, ["g/32.data", "g/more.data"]);
    let error =
        planned("'g/16.data', 'g/32.data'", Precision::Fp32).expect_err("a change of theirs would go unnoticed");
    assert!(error.contains("g/more.data") && error.contains("pack.toml"), "{error}");
}

#[test]
fn a_graph_larger_than_64_mib_is_verified_before_it_is_compiled() {
    let folder = tempfile::tempdir().expect("a folder");
    let manifest = "name='p'\ntitle='P'\nmodel='portrait'\nlicence='MIT'\navatars=['a']\n[[graphs]]\nname='g'\nshapes='1'\nonnx={fp32='g.onnx'}\n";
    let mut onnx = vec![7_u8; 65 * 1024 * 1024];
    let pack = written(folder.path(), &[("pack.toml", manifest.as_bytes()), ("g.onnx", &onnx)]);
    let cache = Cache::open(folder.path().join("engines")).expect("a cache");
    let planned = builder(&pack, &RTX, &cache).plan(&request(&[Sm::SM89])).expect("a plan");
    onnx[1_000_000] ^= 1;
    fs::write(folder.path().join("g.onnx"), onnx).expect("written");
    let error =
        builder(&pack, &RTX, &cache).make(&planned[0], PLENTY, &mut |_| (), &never_stop()).expect_err("damaged");
    assert!(error.to_string().contains("g.onnx"), "{error}");
}

#[test]
fn waiting_for_another_builder_is_reported_and_can_be_stopped() {
    let folder = tempfile::tempdir().expect("a folder");
    let (pack, cache) = (pack(folder.path()), Cache::open(folder.path().join("engines")).expect("a cache"));
    let planned = builder(&pack, &RTX, &cache).plan(&request(&[Sm::SM89])).expect("a plan");
    let lock = cache.folder().join(format!("{}.lock", planned[0].key.stem()));
    let other = fs::File::create(lock).expect("a lock");
    other.lock().expect("nobody has it");
    let asked = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&asked);
    let twice: Watch = Arc::new(move |progress| {
        assert_eq!(progress.stage, WAITING);
        if count.fetch_add(1, Ordering::Relaxed) < 1 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    let mut steps = Vec::new();
    let mut tell = |step: Step<'_>| steps.push(matches!(step, Step::Waiting(_)));
    let stopped = builder(&pack, &RTX, &cache).make(&planned[0], PLENTY, &mut tell, &twice).expect_err("stopped");
    assert!(matches!(stopped, MakeError::Compile { source: CompileError::Stopped, .. }), "{stopped}");
    assert_eq!(steps, [true, false], "reported once, then as continuing");
}

#[test]
fn operators_that_compute_capability_7_5_runs_incorrectly_are_refused_before_compilation() {
    let folder = tempfile::tempdir().expect("a folder");
    let manifest = "name='p'\ntitle='P'\nmodel='portrait'\nlicence='MIT'\navatars=['a']
[[graphs]]\nname='step'\nshapes='rows'\nonnx={fp16='step.onnx'}
[[graphs.profiles]]\nx={min=[1, 3], opt=[2, 3], max=[4, 3]}\nstate={min=[1, 2], opt=[2, 2], max=[4, 2]}\n";
    let step: &[u8] = include_bytes!("../../../tests/assets/step.onnx");
    let pack = written(&folder.path().join("pack"), &[("pack.toml", manifest.as_bytes()), ("step.onnx", step)]);
    let cache = Cache::open(folder.path().join("cache")).expect("a cache");
    let builder = builder(&pack, &RTX, &cache);
    let made = |sm| {
        let planned = builder.plan(&request(&[sm])).expect("a plan").remove(0);
        builder.make(&planned, PLENTY, &mut |_| (), &never_stop())
    };
    let refused = made(Sm::SM75).expect_err("it would return zeros").to_string();
    assert!(refused.contains("returns zeros") && refused.contains("export the graph"), "{refused}");
    assert!(made(Sm::SM86).is_ok());
}
