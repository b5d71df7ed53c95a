//! Facts from NVIDIA's libraries: NVML, the CUDA driver, NVRTC, TensorRT.
//!
//! Decides what each library is queried for. Each is loaded, queried and unloaded.

use std::path::Path;

use visage_engines::Version;
use visage_engines::search_paths::{Place, Searched, search_order};
use visage_kernels::libraries::{self, Silent};
use visage_kernels::tensorrt;

use super::{ProbeOptions, subprocess};
use crate::doctor::machine::{Library, Machine, Probed};

/// `CUDA_ERROR_NO_DEVICE`.
const NO_DEVICE: i32 = 100;

/// Queries all libraries.
pub fn look(options: &ProbeOptions, machine: &mut Machine) {
    let (answer, cuda) = subprocess::ask(options.program.as_deref());
    let gpu = &mut machine.gpu;
    (gpu.management, gpu.driver, gpu.devices) = (answer.management, answer.driver, answer.gpus);
    gpu.cuda = match cuda {
        Probed::Found(driver) => {
            (gpu.cuda_start_code, gpu.first_device_bus_id) = (Some(driver.start_code), driver.first_device_bus_id);
            Probed::Found(driver.version)
        }
        Probed::NotQueried => Probed::NotQueried,
        Probed::Missing(said) => Probed::Missing(said),
        Probed::Failed(said) => Probed::Failed(said),
        Probed::TimedOut(said) => Probed::TimedOut(said),
    };
    if gpu.cuda_start_code == Some(NO_DEVICE) && !gpu.devices.is_empty() {
        // NVML ignores the variables that hide GPUs: a GPU that NVML lists and CUDA does not is hidden by them.
        gpu.hidden_by_variable = gpu.hidden_by_variable.take().or_else(|| options.visible_devices_variable.clone());
    }
    let found = &mut machine.libraries;
    found.built_for = tensorrt::IS_BUILT.then_some(tensorrt::FLAVOUR);
    found.tensorrt_wanted = Some(tensorrt::MADE_FOR);
    let given = options.tensorrt_lib.as_deref();
    let order = search_order(given, &options.python_roots, tensorrt::PYTHON_PACKAGE);
    found.tensorrt = first(&order, &tensorrt::NAMES[..1], libraries::tensorrt);
    let order = libraries::nvrtc_places(options.nvrtc_lib.as_deref(), &options.python_roots);
    found.nvrtc = first(&order, libraries::NVRTC, libraries::nvrtc);
}

/// The first library by one of `names` in one of `places` for which `ask` succeeds.
fn first(places: &[Place], names: &[&str], ask: fn(&Path) -> Result<Version, Silent>) -> Probed<Library> {
    let (mut searched, mut foreign) = (Vec::new(), None);
    for (place, name) in places.iter().flat_map(|place| names.iter().map(move |name| (place, name))) {
        let path = match place.holds(name) {
            Searched::Found(path) => path,
            Searched::Nothing(said) => {
                searched.push(said);
                continue;
            }
        };
        match ask(&path) {
            Ok(version) => return Probed::Found(Library { path: path.display().to_string(), version }),
            Err(Silent::NotLoaded { .. }) if *place == Place::Loader => {
                searched.push("the library search path".to_owned());
            }
            Err(Silent::NotLoaded { said }) => searched.push(said),
            Err(Silent::Foreign { said }) => foreign = Some(format!("{said}: {}", path.display())),
        }
    }
    searched.dedup();
    foreign.map_or_else(|| Probed::Missing(searched.join("; ")), Probed::Failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_matching_library_is_used_and_a_foreign_one_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path();
        std::fs::write(folder.join("liba.so"), "").expect("a file");
        let places = [Place::Given("/nowhere".into()), Place::Given(folder.to_owned())];
        let knows = |_: &Path| Ok(Version::two(12, 8));
        let found = first(&places, &["libb.so", "liba.so"], knows);
        let path = folder.join("liba.so").display().to_string();
        assert_eq!(found, Probed::Found(Library { path: path.clone(), version: Version::two(12, 8) }));
        let foreign = |_: &Path| Err(Silent::Foreign { said: "a library without f".into() });
        assert_eq!(first(&places, &["liba.so"], foreign), Probed::Failed(format!("a library without f: {path}")));
        let Probed::Missing(searched) = first(&places[..1], &["liba.so"], knows) else { panic!("it is nowhere") };
        assert_eq!(searched, "/nowhere (not found)");
    }
}
