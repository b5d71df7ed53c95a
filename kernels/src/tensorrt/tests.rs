//! Builds with the real library, on any machine; without it each test reports that it was skipped.

#![expect(clippy::disallowed_methods, reason = "the environment names the library's location for tests")]
#![expect(clippy::print_stdout, reason = "a skipped test says why")]

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use visage_engines::compile::{CompileError, CompileRequest, Compiler, Watch};
use visage_engines::search_paths::{Place, search_order};
use visage_engines::{Onnx, Profile, ShapeRange, Sm};

use super::{LibraryError, NAMES, TensorRt};

/// Three convolutions over `[n, 3, 32, 32]`.
const CONV: &[u8] = include_bytes!("../../assets/conv.onnx");
const MOUTH: &[u8] = include_bytes!("../../../engines/packs/portrait/mouth/mouth.onnx");

fn library() -> Option<TensorRt> {
    let given = std::env::var_os("VISAGE_TENSORRT_LIB").map(PathBuf::from);
    let loaded = TensorRt::load(&search_order(given.as_deref(), &[], ""));
    if let (Err(error), None) = (&loaded, &given) {
        println!("skipped: tensorrt: VISAGE_TENSORRT_LIB is not set, and {error}");
        return None;
    }
    Some(loaded.expect("the library that VISAGE_TENSORRT_LIB names"))
}

fn images(min: u64, opt: u64, max: u64) -> Vec<Profile> {
    let shape = |n| vec![n, 3, 32, 32];
    let range = ShapeRange { min: shape(min), opt: shape(opt), max: shape(max) };
    vec![Profile(BTreeMap::from([("picture".to_owned(), range)]))]
}

fn never_stop() -> Watch {
    Arc::new(|_| ControlFlow::Continue(()))
}

#[test]
fn graphs_compile_for_a_gpu_that_is_not_in_the_machine() {
    let Some(library) = library() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    for (name, onnx, profiles) in [("conv", CONV, images(1, 2, 4)), ("mouth", MOUTH, Vec::new())] {
        let path = folder.path().join(name);
        let onnx = Onnx::Bytes(onnx);
        let order = CompileRequest { onnx, sm: Sm::SM89, profiles: &profiles };
        let reports = Arc::new(Mutex::new(0));
        let count = Arc::clone(&reports);
        let watch: Watch = Arc::new(move |progress| {
            assert!(!progress.stage.is_empty() && progress.done > 0);
            *count.lock().expect("no panic") += 1;
            ControlFlow::Continue(())
        });
        let compiled = library.compile(&order, &path, &watch).expect(name);
        assert!(compiled.activation_bytes > Some(1000), "{name}: {compiled:?}");
        let bytes = std::fs::read(&path).expect("an engine");
        assert!(bytes.len() > 1000, "{name}: {} bytes", bytes.len());
        assert!(*reports.lock().expect("no panic") > 0, "{name} reports progress");
        #[cfg(feature = "tensorrt-rtx")]
        assert!(is_an_engine(&bytes), "{name} is recognised as an engine");
    }
}

#[cfg(feature = "tensorrt")]
#[test]
fn classic_tensorrt_refuses_a_gpu_that_is_not_in_the_machine() {
    let refused = super::compiler::check_gpu(Sm::new(1, 0)).expect_err("no such GPU exists");
    assert!(refused.to_string().contains("a GPU of compute capability 1.0 in this machine"), "{refused}");
}

/// The part of opening an engine that needs no GPU: the library reads its header.
#[cfg(feature = "tensorrt-rtx")]
fn is_an_engine(bytes: &[u8]) -> bool {
    let logger = trtx::Logger::new(super::logger::Listener(Arc::default())).expect("a logger");
    let runtime = trtx::Runtime::new(&logger).expect("a runtime");
    let (_needs_a_gpu, wrong) = runtime.engine_validity(bytes).expect("as long as a header");
    !wrong.contains(trtx::EngineInvalidityDiagnostics::MALFORMED_ENGINE)
}

#[cfg(feature = "tensorrt-rtx")]
#[test]
fn bytes_that_are_not_an_engine_are_recognised() {
    let Some(_library) = library() else { return };
    assert!(!is_an_engine(&[0; 4096]));
}

#[test]
fn the_same_request_for_another_gpu_gives_another_engine() {
    let Some(library) = library() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let (onnx, profiles) = (Onnx::Bytes(CONV), images(1, 1, 1));
    let [ada, blackwell] = [Sm::SM89, Sm::SM120].map(|sm| {
        let path = folder.path().join(sm.tag());
        library.compile(&CompileRequest { onnx, sm, profiles: &profiles }, &path, &never_stop()).expect("an engine");
        std::fs::read(path).expect("bytes")
    });
    assert_ne!(ada, blackwell);
}

#[test]
fn a_cancellation_a_bad_graph_and_a_missing_profile_are_distinct_errors() {
    let Some(library) = library() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let compile = |bytes: &'static [u8], profiles: &[Profile], watch: &Watch| {
        let onnx = Onnx::Bytes(bytes);
        let path = folder.path().join("engine");
        let done = library.compile(&CompileRequest { onnx, sm: Sm::SM89, profiles }, &path, watch);
        assert!(!path.exists());
        done.expect_err("it cannot be compiled")
    };
    let stop: Watch = Arc::new(|_| ControlFlow::Break(()));
    assert!(matches!(compile(CONV, &images(1, 2, 4), &stop), CompileError::Stopped));
    let bad = compile(b"not a graph", &[], &never_stop());
    assert!(matches!(&bad, CompileError::Graph { found, .. } if !found.is_empty()), "{bad}");
    let without = compile(CONV, &[], &never_stop()).to_string();
    assert!(without.contains("profile"), "{without}");
}

#[test]
fn a_missing_or_wrong_library_is_named_with_what_to_install() {
    let folder = tempfile::tempdir().expect("a folder");
    let nowhere = TensorRt::load(&search_order(Some(folder.path()), &[], "")).expect_err("an empty folder");
    assert!(matches!(&nowhere, LibraryError::Missing { searched } if searched.len() == 1));
    assert!(nowhere.hint().contains("--tensorrt-lib"), "{nowhere}");
    let other = folder.path().join("libm.so.6");
    std::os::unix::fs::symlink("/lib/x86_64-linux-gnu/libm.so.6", &other).expect("a link");
    let given = search_order(Some(&other), &[], "");
    let alone = TensorRt::load(&given).expect_err("no parser");
    assert!(alone.to_string().contains(NAMES[1]), "{alone}");
    std::fs::write(folder.path().join(NAMES[1]), b"").expect("a parser");
    let wrong = TensorRt::load(&given).expect_err("another library");
    assert!(wrong.to_string().contains("getInferLibMajorVersion"), "{wrong}");
    // The right library is found after a wrong one.
    if let Some(right) = std::env::var_os("VISAGE_TENSORRT_LIB").map(PathBuf::from) {
        TensorRt::load(&[given[0].clone(), Place::Given(right)]).expect("the library that VISAGE_TENSORRT_LIB names");
    }
}
