//! What NVIDIA's libraries tell: the management library, CUDA's, NVRTC, TensorRT.
//!
//! Decides what is asked of which. Each is loaded, asked and let go.

use std::path::Path;

use visage_engines::Version;
use visage_engines::search_paths::{Place, Searched, search_order};
use visage_kernels::libraries::{self, Silent};
use visage_kernels::tensorrt;

use super::{Asked, subprocess};
use crate::doctor::machine::{Library, Machine, Told};

/// `CUDA_ERROR_NO_DEVICE`.
const NO_DEVICE: i32 = 100;

/// Asks all libraries.
pub fn look(asked: &Asked, machine: &mut Machine) {
    let (told, cuda) = subprocess::ask(asked.program.as_deref());
    let gpu = &mut machine.gpu;
    (gpu.management, gpu.driver, gpu.cards) = (told.management, told.driver, told.cards);
    gpu.cuda = match cuda {
        Told::Is(driver) => {
            (gpu.cuda_start_code, gpu.first_card) = (Some(driver.start_code), driver.first_card);
            Told::Is(driver.version)
        }
        Told::NotAsked => Told::NotAsked,
        Told::Absent(said) => Told::Absent(said),
        Told::Failed(said) => Told::Failed(said),
        Told::Hangs(said) => Told::Hangs(said),
    };
    if gpu.cuda_start_code == Some(NO_DEVICE) && !gpu.cards.is_empty() {
        // The management library minds no such setting: what it sees and CUDA does not, the setting hides.
        gpu.hidden_by = gpu.hidden_by.take().or_else(|| asked.seen_by.clone());
    }
    let found = &mut machine.libraries;
    found.built_for = tensorrt::IS_BUILT.then_some(tensorrt::FLAVOUR);
    found.tensorrt_wanted = Some(tensorrt::MADE_FOR);
    let given = asked.tensorrt_lib.as_deref();
    let order = search_order(given, &asked.python_roots, tensorrt::PYTHON_PACKAGE);
    found.tensorrt = first(&order, &tensorrt::NAMES[..1], libraries::tensorrt);
    let order = libraries::nvrtc_places(asked.nvrtc_lib.as_deref(), &asked.python_roots);
    found.nvrtc = first(&order, libraries::NVRTC, libraries::nvrtc);
}

/// The first library by one of `names` in one of `places` that answers `ask`.
fn first(places: &[Place], names: &[&str], ask: fn(&Path) -> Result<Version, Silent>) -> Told<Library> {
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
            Ok(version) => return Told::Is(Library { path: path.display().to_string(), version }),
            Err(Silent::NotLoaded { .. }) if *place == Place::Loader => searched.push("the loader's path".to_owned()),
            Err(Silent::NotLoaded { said }) => searched.push(said),
            Err(Silent::Foreign { said }) => foreign = Some(format!("{said}: {}", path.display())),
        }
    }
    searched.dedup();
    foreign.map_or_else(|| Told::Absent(searched.join("; ")), Told::Failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_library_that_answers_is_taken_and_a_foreign_one_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path();
        std::fs::write(folder.join("liba.so"), "").expect("a file");
        let places = [Place::Given("/nowhere".into()), Place::Given(folder.to_owned())];
        let knows = |_: &Path| Ok(Version::two(12, 8));
        let found = first(&places, &["libb.so", "liba.so"], knows);
        let path = folder.join("liba.so").display().to_string();
        assert_eq!(found, Told::Is(Library { path: path.clone(), version: Version::two(12, 8) }));
        let foreign = |_: &Path| Err(Silent::Foreign { said: "a library without f".into() });
        assert_eq!(first(&places, &["liba.so"], foreign), Told::Failed(format!("a library without f: {path}")));
        let Told::Absent(searched) = first(&places[..1], &["liba.so"], knows) else { panic!("it is nowhere") };
        assert_eq!(searched, "/nowhere (not there)");
    }
}
