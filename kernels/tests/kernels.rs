//! Kernels as a GPU gets them: loaded, queued, copied. On the stub driver, whose kernels are the reference implementations, on
//! any machine; on a GPU where `VISAGE_CUDA=1` is set.

#![expect(clippy::disallowed_methods, reason = "the environment says whether there is a GPU")]

#[path = "driver/stub_driver.rs"]
mod stub_driver;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use stub_driver::StubDriver;
use visage_engines::cubins::Cubins;
use visage_kernels::cuda::{Device, Driver, LIBRARY, Memory, Stream};
use visage_kernels::libraries::nvrtc_places;
use visage_kernels::nvrtc::{Cubin, Nvrtc, obtain_all};
use visage_kernels::reference::check::{Verdict, checks};
use visage_kernels::reference::{PcmToF32, kernels};
use visage_kernels::{Kernels, LaunchError, Piece};

fn stub() -> (StubDriver, Vec<Cubin>) {
    let stub = StubDriver::new();
    stub.seed(7);
    let cubins = stub.register_kernels();
    (stub, cubins)
}

/// The largest difference of each kernel, over all checks.
fn errors(device: &Device, loaded: &Kernels) -> BTreeMap<&'static str, (f64, f64)> {
    let mut worst: BTreeMap<&'static str, (f64, f64)> = BTreeMap::new();
    for check in checks().expect("constants") {
        let name = check.launch.kernel().name;
        let verdicts = loaded.run_check(device, &check).expect("it runs");
        assert!(verdicts.iter().all(Verdict::is_passed), "{name} {:?}: {verdicts:?}", check.launch.scalars());
        let error = verdicts.iter().map(|verdict| verdict.error).fold(0.0, f64::max);
        let tolerance = verdicts.iter().map(|verdict| verdict.tolerance).fold(0.0, f64::max);
        let kept = worst.entry(name).or_insert((0.0, tolerance));
        kept.0 = kept.0.max(error);
    }
    worst
}

#[test]
fn every_kernel_gets_the_arguments_of_its_reference_and_everything_is_freed() {
    let (stub, cubins) = stub();
    let driver = stub.driver();
    let device = Device::open(&driver, 0).expect("a device");
    let loaded = Kernels::load(&device, &cubins).expect("all kernels");
    let worst = errors(&device, &loaded);
    assert!(worst.len() == kernels().count() && worst.values().all(|(error, _)| *error == 0.0), "{worst:?}");
    drop((loaded, device));
    assert_eq!(stub.counts().living(), 0, "{:?}", stub.counts());
    stub.assert_obeyed();
}

#[test]
fn short_or_overlapping_memory_and_unloaded_kernels_are_refused_before_the_driver_is_called() {
    let (stub, cubins) = stub();
    let driver = stub.driver();
    let device = Device::open(&driver, 0).expect("a device");
    let loaded = Kernels::load(&device, &cubins[5..]).expect("the last");
    let stream = Stream::new(&device).expect("a stream");
    let [pcm, out] = [128, 124].map(|bytes| Memory::take(&device, bytes).expect("memory"));
    let [pcm, out] = [&pcm, &out].map(Piece::whole);
    let launch = PcmToF32::new(32, 1.0).launch().expect("a launch");
    let inside = Piece { at: 100, bytes: 28, ..pcm };
    for memory in [&[pcm, out][..], &[pcm, pcm], &[pcm], &[], &[pcm, inside], &[Piece { at: 120, ..pcm }, out]] {
        assert!(matches!(loaded.queue(&stream, &launch, memory), Err(LaunchError::Size(_))), "{memory:?}");
    }
    let fitting = PcmToF32::new(31, 1.0).launch().expect("a launch");
    loaded.queue(&stream, &fitting, &[pcm, out]).expect("long enough");
    let other = checks().expect("constants").remove(0);
    assert!(matches!(loaded.run_check(&device, &other), Err(LaunchError::Unknown { name: "rgb_f32_to_i420" })));
    stream.synchronise().expect("done");
    assert_eq!(stub.counts().launches, 1);
    stub.assert_obeyed();
}

#[test]
fn on_a_real_gpu_every_kernel_is_within_its_tolerance_of_its_reference() {
    if std::env::var_os("VISAGE_CUDA").is_none() {
        println!("skipped: kernels on a GPU: VISAGE_CUDA is not set");
        return;
    }
    let driver = Driver::open(Path::new(LIBRARY)).expect("a driver");
    let device = Device::open(&driver, 0).expect("a device");
    let folder = tempfile::tempdir().expect("a folder");
    let cubins = Cubins::open(folder.path().to_owned()).expect("a folder");
    let given = std::env::var_os("VISAGE_NVRTC_LIB").map(PathBuf::from);
    let load = || Nvrtc::load(&nvrtc_places(given.as_deref(), &[]));
    let all = obtain_all(device.sm().expect("its capability"), load, &cubins).expect("compiled");
    let loaded = Kernels::load(&device, &all).expect("all kernels");
    for (name, (error, tolerance)) in errors(&device, &loaded) {
        println!("kernels: {name} on the GPU is within {error:.1e} of its reference, {tolerance:.1e} is allowed");
    }
}
