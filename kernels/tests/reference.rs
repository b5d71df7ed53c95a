//! The CUDA sources against their reference implementations: compiled as C++ for this CPU, every thread run, on any machine
//! with a C++ compiler. It checks what the sources say; `visage kernels check` checks what a GPU makes of them.

#![expect(clippy::print_stdout, reason = "what is skipped says so, and figures are shown")]

use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use libloading::Library;
use visage_kernels::reference::check::{Check, checks};
use visage_kernels::reference::{Reference, Source, kernels};

/// Compiles a source behind the shim, with an entry for each kernel.
fn compiled(source: Source, folder: &Path) -> Option<Library> {
    let mut text = format!("#include \"shim.h\"\n{}\n", source.text());
    for kernel in kernels().filter(|kernel| kernel.source == source) {
        writeln!(text, "ENTRY({})", kernel.name).expect("text grows");
    }
    let (file, library) = (folder.join(source.name()).with_extension("cc"), folder.join(source.name()));
    std::fs::write(&file, text).expect("a file");
    let flags =
        ["-std=c++17", "-O2", "-ffp-contract=off", "-fPIC", "-shared", "-Wall", "-Werror", "-Wno-unused-function"];
    let shim = concat!("-I", env!("CARGO_MANIFEST_DIR"), "/tests/reference");
    let compiler = Command::new("c++").args(flags).arg(shim).arg("-o").arg(&library).arg(&file).output();
    let Ok(said) = compiler else {
        println!("skipped: kernels: there is no C++ compiler (c++) to run their sources on the CPU");
        return None;
    };
    assert!(said.status.success(), "{}: {}", source.name(), String::from_utf8_lossy(&said.stderr));
    // SAFETY: it was made from our own source just now and has no initialisers.
    Some(unsafe { Library::new(&library) }.expect("what was compiled loads"))
}

fn largest_error(check: &Check, library: &Library) -> f64 {
    let name = check.launch.kernel().name;
    // SAFETY: `ENTRY` of the shim declares it so.
    let entry =
        unsafe { library.get::<Reference>(format!("run_{name}").as_bytes()) }.expect("an entry for each kernel");
    let mut buffers = check.buffers.clone();
    // SAFETY: the entry calls the kernel with the arguments of the launch. It is under test: a sanitizer would find an access
    // beyond its buffers, and its sizes are the launch's.
    unsafe { check.launch.call(*entry, &mut buffers) }.expect("buffers of the check");
    let verdicts = check.judge(&buffers).expect("buffers of the check");
    assert!(verdicts.iter().all(visage_kernels::reference::check::Verdict::is_passed), "{name}: {verdicts:?}");
    verdicts.iter().map(|verdict| verdict.error).fold(0.0, f64::max)
}

#[test]
fn the_sources_compute_what_their_references_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let checks = checks().expect("constants");
    for source in Source::ALL {
        let Some(library) = compiled(source, folder.path()) else { return };
        for kernel in kernels().filter(|kernel| kernel.source == source) {
            let own = checks.iter().filter(|check| check.launch.kernel().name == kernel.name);
            let worst = own.map(|check| largest_error(check, &library)).fold(0.0, f64::max);
            println!("kernels: {} on the CPU is within {worst:.1e} of its reference", kernel.name);
        }
    }
}
