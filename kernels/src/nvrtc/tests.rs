//! Compilations with the real library, on any machine; without it each test reports that it was skipped.

#![expect(clippy::disallowed_methods, reason = "the environment names the library's location for tests")]

use std::path::PathBuf;

use super::*;
use crate::libraries::nvrtc_places;

const ALL_SMS: [Sm; 9] = Sm::KNOWN;

fn library() -> Option<Nvrtc> {
    let given = std::env::var_os("VISAGE_NVRTC_LIB").map(PathBuf::from);
    let loaded = Nvrtc::load(&nvrtc_places(given.as_deref(), &[]));
    if let (Err(error), None) = (&loaded, &given) {
        println!("skipped: kernels: VISAGE_NVRTC_LIB is not set, and {error}");
        return None;
    }
    Some(loaded.expect("the library that VISAGE_NVRTC_LIB names"))
}

fn cubins() -> (tempfile::TempDir, Cubins) {
    let folder = tempfile::tempdir().expect("a folder");
    let cubins = Cubins::open(folder.path().join("kernels")).expect("a folder in it");
    (folder, cubins)
}

#[test]
fn every_source_compiles_for_every_sm_without_a_gpu() {
    let Some(nvrtc) = library() else { return };
    let (_folder, cubins) = cubins();
    for sm in ALL_SMS {
        for source in Source::ALL {
            let made = obtain(source, sm, &nvrtc, &cubins).expect("a cubin");
            assert!(made.was_compiled && sm_of(made.cubin.bytes()) == Ok(sm));
            // The file's symbol table has the names of the kernels.
            for kernel in crate::reference::kernels().filter(|kernel| kernel.source == source) {
                let symbol = [b"\0", kernel.name.as_bytes(), b"\0"].concat();
                assert!(made.cubin.bytes().windows(symbol.len()).any(|bytes| bytes == symbol), "{}", kernel.name);
            }
        }
    }
}

#[test]
fn a_cubin_is_compiled_once_and_again_if_damaged() {
    let Some(nvrtc) = library() else { return };
    let (_folder, cubins) = cubins();
    let again = || obtain(Source::Pcm, Sm::SM89, &nvrtc, &cubins).expect("a cubin");
    let first = again();
    assert!(first.was_compiled && first.damage.is_none() && !again().was_compiled);
    let other = obtain(Source::Pcm, Sm::SM120, &nvrtc, &cubins).expect("a cubin").cubin;
    for bytes in [&first.cubin.bytes()[..900], b"", other.bytes()] {
        std::fs::write(&first.stored.path, bytes).expect("written");
        let recompiled = again();
        assert!(recompiled.was_compiled && recompiled.damage.is_some());
        assert_eq!(recompiled.cubin.bytes(), first.cubin.bytes(), "the same source gives the same bytes");
    }
    // A valid digest does not make a cubin for another SM the right one.
    let key = key(Source::Pcm, Sm::SM89, nvrtc.version());
    cubins.put(&key, other.bytes()).expect("written");
    assert!(again().damage.expect("detected").contains("12.0"));
}

#[test]
fn cubins_compiled_earlier_need_no_compiler() {
    let Some(nvrtc) = library() else { return };
    let (_folder, cubins) = cubins();
    let gone = || Err(NvrtcError::Missing { searched: vec!["nowhere".into()] });
    let error = obtain_all(Sm::SM89, gone, &cubins).expect_err("none").to_string();
    assert!(error.contains("colour.cu for 8.9") && error.contains("--nvrtc-lib"), "{error}");
    let version = nvrtc.version();
    assert_eq!(obtain_all(Sm::SM89, || Ok(nvrtc), &cubins).expect("compiled").len(), Source::ALL.len(), "by {version}");
    assert_eq!(obtain_all(Sm::SM89, gone, &cubins).expect("kept").len(), Source::ALL.len());
    assert!(obtain_all(Sm::SM90, gone, &cubins).is_err());
}

#[test]
fn an_unsupported_sm_is_named_with_the_supported_ones() {
    let Some(nvrtc) = library() else { return };
    let error = nvrtc.compile(Source::Pcm, Sm::new(3, 5)).expect_err("too old").to_string();
    assert!(error.contains("for 3.5") && error.contains("8.9"), "{error}");
}

#[test]
fn a_missing_or_wrong_library_is_named_with_what_to_install() {
    let folder = tempfile::tempdir().expect("a folder");
    let nowhere = Nvrtc::load(&nvrtc_places(Some(folder.path()), &[])).expect_err("an empty folder").to_string();
    assert!(nowhere.contains("--nvrtc-lib") && nowhere.matches("not found").count() == 1, "{nowhere}");
    let other = folder.path().join("libm.so.6");
    std::os::unix::fs::symlink("/lib/x86_64-linux-gnu/libm.so.6", &other).expect("a link");
    let wrong = Nvrtc::load(&nvrtc_places(Some(&other), &[])).expect_err("another library").to_string();
    assert!(wrong.contains("without nvrtcVersion") && wrong.contains("libm.so.6"), "{wrong}");
    std::fs::write(folder.path().join("libnvrtc.so.12"), b"not ELF").expect("a file");
    let broken = Nvrtc::load(&nvrtc_places(Some(folder.path()), &[])).expect_err("a broken file").to_string();
    assert!(broken.contains("libnvrtc.so.12"), "{broken}");
}
