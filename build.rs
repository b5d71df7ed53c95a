//! Embeds the page and the built-in pack, after checking every file of the pack against its digest. Compiles engines when
//! `VISAGE_BUILD_ENGINES=1` asks for them.

#![expect(clippy::disallowed_methods, reason = "a build script is configured by its environment")]

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use visage_engines::{DIGEST_FILE, PackFiles};

const PACK: &str = "engines/packs/portrait";
const PAGE: &str = "web";

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(env::var("OUT_DIR")?);
    for watched in [PACK, PAGE, "build.rs"] {
        println!("cargo:rerun-if-changed={watched}");
    }
    let pack = root.join(PACK);
    PackFiles::read(&pack).map_err(|error| format!("{error}\nafter an intended change run: engines/packs/digest"))?;
    let list = fs::read_to_string(pack.join(DIGEST_FILE))?;
    let listed = list.lines().filter_map(|line| line.split_once("  ")).map(|(_, path)| path.to_owned());
    let mut table = String::new();
    embed(&mut table, "PACK", &pack, listed)?;
    embed(&mut table, "PAGE", &root.join(PAGE), files_under(&root.join(PAGE), "")?.into_iter())?;
    fs::write(out.join("embedded.rs"), table)?;
    warn_without_nasm(&out)?;
    println!("cargo:rerun-if-env-changed=VISAGE_BUILD_ENGINES");
    if env::var_os("VISAGE_BUILD_ENGINES").is_some_and(|value| value == "1") {
        compile_engines(&pack)?;
    }
    Ok(())
}

/// The output of openh264-sys2 0.9.6 if it found no working nasm; it then builds without assembly.
const BUILT_WITHOUT_NASM: &str = "Failed to compile NASM files";
const REBUILD: &str = "cargo clean --release -p openh264-sys2 -p visage && cargo build --release";

/// Warns on x86 if the H.264 encoder is or was built without its SIMD assembly: its own build does not report it and does not run
/// again after nasm is installed. Cargo repeats the warnings at every build, without running this script.
fn warn_without_nasm(out: &Path) -> Result<(), Box<dyn Error>> {
    if !["x86", "x86_64"].contains(&env::var("CARGO_CFG_TARGET_ARCH")?.as_str()) {
        return Ok(());
    }
    if Command::new("nasm").arg("-v").output().is_err() {
        println!(
            "cargo:warning=nasm is missing: the H.264 encoder is built without assembly and is three times slower"
        );
        println!("cargo:warning=install nasm (apt-get install nasm), then: {REBUILD}");
    } else if encoder_was_built_without_nasm(out) {
        println!("cargo:warning=the H.264 encoder was built before nasm was installed and is three times slower");
        println!("cargo:warning=build it again: {REBUILD}");
    }
    Ok(())
}

/// Searches the folder of all build scripts, `target/<profile>/build`, which has the encoder's output after the first build.
fn encoder_was_built_without_nasm(out: &Path) -> bool {
    let builds = out.ancestors().nth(2).and_then(|folder| fs::read_dir(folder).ok());
    let builds = builds.into_iter().flatten().flatten();
    let encoders = builds.filter(|entry| entry.file_name().to_string_lossy().starts_with("openh264-sys2-"));
    let mut outputs = encoders.filter_map(|entry| fs::read_to_string(entry.path().join("output")).ok());
    outputs.any(|output| output.contains(BUILT_WITHOUT_NASM))
}

/// What `visage engines build` does, with the same variables, into the same folder.
#[cfg(any(feature = "tensorrt-rtx", feature = "tensorrt"))]
fn compile_engines(built_in: &Path) -> Result<(), Box<dyn Error>> {
    use std::ops::ControlFlow;
    use std::sync::Arc;
    use std::time::SystemTime;

    use visage_engines::cache::Cache;
    use visage_engines::compile::{BuildRequest, EngineBuilder, Watch};
    use visage_engines::memory;
    use visage_engines::search_paths::{data_dir, engines_in, python_roots, search_order};
    use visage_kernels::tensorrt;

    for read in ["VISAGE_SM", "VISAGE_TENSORRT_LIB", "VISAGE_DATA_DIR", "VISAGE_PACK"] {
        println!("cargo:rerun-if-env-changed={read}");
    }
    let environment = |name: &str| env::var_os(name);
    let pack = PackFiles::read(&env::var_os("VISAGE_PACK").map_or_else(|| built_in.to_owned(), PathBuf::from))?;
    let data_dir = env::var_os("VISAGE_DATA_DIR").map_or_else(|| data_dir(&environment), PathBuf::from);
    let cache = Cache::open(engines_in(&data_dir))?;
    let given = env::var_os("VISAGE_TENSORRT_LIB").map(PathBuf::from);
    let order = search_order(given.as_deref(), &python_roots(&environment), tensorrt::PYTHON_PACKAGE);
    let compiler = tensorrt::load(&order).map_err(|error| format!("{error}; {}", error.hint()))?;
    let builder = EngineBuilder { pack: &pack, compiler: &*compiler, cache: &cache, clock: SystemTime::now };
    let request = BuildRequest { sms: gpus()?, ..BuildRequest::default() };
    let watch: Watch = Arc::new(|_| ControlFlow::Continue(()));
    for planned in builder.plan(&request).map_err(|error| error.to_string())? {
        let free_bytes = memory::free_bytes().unwrap_or(u64::MAX);
        let engine = builder.make(&planned, free_bytes, &mut |_| (), &watch).map_err(|error| error.to_string())?;
        println!("cargo:warning=engine for compute capability {}: {}", planned.key.sm, engine.path.display());
    }
    Ok(())
}

/// The GPUs that `VISAGE_SM` names, or those in this machine.
#[cfg(any(feature = "tensorrt-rtx", feature = "tensorrt"))]
fn gpus() -> Result<Vec<visage_engines::Sm>, Box<dyn Error>> {
    let named = env::var("VISAGE_SM").unwrap_or_default();
    let mut sms = named.split(',').filter(|sm| !sm.is_empty()).map(str::parse).collect::<Result<Vec<_>, _>>()?;
    if sms.is_empty() {
        sms.extend(visage_kernels::find_gpus().into_iter().map(|gpu| gpu.sm));
    }
    if sms.is_empty() {
        return Err("wanted GPUs to compile engines for, found none in this machine; name them: VISAGE_SM=8.9".into());
    }
    Ok(sms)
}

#[cfg(not(any(feature = "tensorrt-rtx", feature = "tensorrt")))]
fn compile_engines(_built_in: &Path) -> Result<(), Box<dyn Error>> {
    Err("VISAGE_BUILD_ENGINES=1 wants TensorRT: add --features tensorrt-rtx (or tensorrt, for data-centre GPUs)".into())
}

/// Writes `name` as a table of paths and bytes.
fn embed(
    table: &mut String,
    name: &str,
    root: &Path,
    paths: impl Iterator<Item = String>,
) -> Result<(), Box<dyn Error>> {
    writeln!(table, "pub static {name}: &[(&str, &[u8])] = &[")?;
    for path in paths {
        writeln!(table, "    ({path:?}, include_bytes!({:?})),", root.join(&path).to_string_lossy())?;
    }
    writeln!(table, "];")?;
    Ok(())
}

/// Paths of all files under `folder`, sorted, with `/` between their parts.
fn files_under(folder: &Path, prefix: &str) -> Result<Vec<String>, Box<dyn Error>> {
    let mut entries = fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    let mut paths = Vec::new();
    for entry in entries {
        let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            paths.extend(files_under(&entry.path(), &format!("{path}/"))?);
        } else {
            paths.push(path);
        }
    }
    Ok(paths)
}
