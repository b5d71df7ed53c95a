//! What a pack needs is known before anything is compiled, and nothing half done is left.

use std::fmt::Write as _;
use std::fs;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::*;
use crate::DIGEST_FILE;

/// Writes what it was asked for instead of compiling it.
struct Pretender {
    version: Version,
}

impl Compiler for Pretender {
    fn flavour(&self) -> Flavour {
        Flavour::Rtx
    }

    fn version(&self) -> Version {
        self.version
    }

    fn compile(&self, order: &Order<'_>, engine: &Path, watch: &Watch) -> Result<Built, CompileError> {
        for done in 0..3 {
            if watch(Progress { stage: "Pretending", done, of: 3 }).is_break() {
                return Err(CompileError::Stopped);
            }
        }
        let failed = |source| CompileError::Write { path: engine.to_owned(), source };
        fs::write(engine, format!("{} {:?}", order.sm, order.onnx)).map_err(failed)?;
        Ok(Built { seconds: 1.0, ..Built::default() })
    }
}

const MANIFEST: &str = "name='p'\ntitle='P'\nmodel='portrait'\nlicence='MIT'\navatars=['a']
[[graphs]]\nname='small'\nshapes='1'\nonnx={fp32='small.onnx'}
[[graphs]]\nname='large'\nshapes='512x25'\nonnx={fp16='large.16.onnx', fp32='large.onnx'}\nweights=['large.bin']
[[graphs.profiles]]\nx={min=[1], opt=[2], max=[3]}\n";

/// A pack of two graphs; the weights of one are too large to be held.
fn pack(folder: &Path) -> PackFiles {
    let weights = vec![7_u8; 70 * 1024 * 1024];
    let files: [(&str, &[u8]); 5] = [
        ("pack.toml", MANIFEST.as_bytes()),
        ("small.onnx", b"small"),
        ("large.onnx", b"large"),
        ("large.16.onnx", b"large, 16 bits"),
        ("large.bin", &weights),
    ];
    let mut sums = String::new();
    for (path, bytes) in files {
        fs::write(folder.join(path), bytes).expect("written");
        writeln!(sums, "{}  {path}", Digest::of(bytes)).expect("a string");
    }
    fs::write(folder.join(DIGEST_FILE), sums).expect("written");
    PackFiles::read(folder).expect("a pack")
}

fn wish(sms: &[Sm]) -> Wish {
    Wish { sms: sms.to_vec(), precision: None, kernels: BTreeMap::new() }
}

const NOW: SystemTime = SystemTime::UNIX_EPOCH;
const RTX: Pretender = Pretender { version: Version::three(1, 7, 1) };
const PLENTY: u64 = 1 << 40;

fn forge<'a>(pack: &'a PackFiles, compiler: &'a dyn Compiler, cache: &'a Cache) -> Forge<'a> {
    Forge { pack, compiler, cache }
}

fn go_on() -> Watch {
    Arc::new(|_| ControlFlow::Continue(()))
}

#[test]
fn a_pack_is_made_for_every_card_and_found_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let (pack, cache) = (pack(folder.path()), Cache::open(folder.path().join("engines")).expect("a cache"));
    let wish = wish(&[Sm::SM89, Sm::SM120]);
    let first = forge(&pack, &RTX, &cache).plan(&wish, NOW).expect("a plan");
    assert_eq!(first.len(), 4);
    assert!(first.iter().all(|planned| planned.found == Found::Nothing));
    assert!(matches!(&first[2].onnx, Onnx::File(path) if path.ends_with("large.16.onnx")), "the narrowest by itself");
    for planned in &first {
        forge(&pack, &RTX, &cache).make(planned, (NOW, PLENTY), &mut |_| (), &go_on()).expect("an engine");
    }
    let again = forge(&pack, &RTX, &cache).plan(&wish, NOW + Duration::from_secs(1)).expect("a plan");
    assert!(again.iter().all(|planned| matches!(planned.found, Found::Engine(_))));
    let newer = Pretender { version: Version::three(1, 7, 2) };
    let other = forge(&pack, &newer, &cache).plan(&wish, NOW).expect("a plan");
    assert!(other.iter().all(|planned| planned.found == Found::Nothing), "of another library");
}

#[test]
fn what_cannot_be_made_is_said_before_it_begins() {
    let folder = tempfile::tempdir().expect("a folder");
    let (pack, cache) = (pack(folder.path()), Cache::open(folder.path().join("engines")).expect("a cache"));
    let hopper = forge(&pack, &RTX, &cache).plan(&wish(&[Sm::SM90]), NOW).expect_err("it does not know Hopper");
    assert!(hopper.to_string().contains("7.5, 8.0, 8.6, 8.9, 12.0, 12.1"), "{hopper}");
    let fp8 = Wish { precision: Some(Precision::Fp8), ..wish(&[Sm::SM89]) };
    let error = forge(&pack, &RTX, &cache).plan(&fp8, NOW).expect_err("no such file");
    assert_eq!(error.to_string(), "wanted fp8 of the graph \"small\", the pack has fp32");
    let planned = forge(&pack, &RTX, &cache).plan(&wish(&[Sm::SM89]), NOW).expect("a plan");
    let short = forge(&pack, &RTX, &cache).make(&planned[1], (NOW, 300_000_000), &mut |_| (), &go_on());
    let error = short.expect_err("memory is short").to_string();
    assert!(error.starts_with("wanted 0.9 GB of memory to compile \"large\", 0.3 GB are free"), "{error}");
}

#[test]
fn a_stop_leaves_nothing_and_damaged_weights_are_not_compiled() {
    let folder = tempfile::tempdir().expect("a folder");
    let (pack, cache) = (pack(folder.path()), Cache::open(folder.path().join("engines")).expect("a cache"));
    let planned = forge(&pack, &RTX, &cache).plan(&wish(&[Sm::SM89]), NOW).expect("a plan");
    let stop: Watch =
        Arc::new(|progress| if progress.done == 1 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) });
    let stopped = forge(&pack, &RTX, &cache).make(&planned[1], (NOW, PLENTY), &mut |_| (), &stop).expect_err("stopped");
    assert!(matches!(stopped, MakeError::Compile { source: CompileError::Stopped, .. }));
    assert!(cache.list().expect("a list").is_empty());
    let mut weights = fs::read(folder.path().join("large.bin")).expect("bytes");
    weights[1_000_000] ^= 1;
    fs::write(folder.path().join("large.bin"), weights).expect("written");
    let damaged =
        forge(&pack, &RTX, &cache).make(&planned[1], (NOW, PLENTY), &mut |_| (), &go_on()).expect_err("damaged");
    assert!(damaged.to_string().contains("large.bin"), "{damaged}");
}
