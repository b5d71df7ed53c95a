//! Versions of NVIDIA's libraries: the CUDA driver, NVRTC, TensorRT. Only the driver stays loaded.
//!
//! Decides how each version is read, and where NVRTC is searched for. Does not judge a version.

use std::ffi::{c_char, c_int, c_uint};
use std::fs::File;
use std::io::Read;
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};

use libloading::{Library, Symbol};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use visage_engines::Version;
use visage_engines::search_paths::{Place, search_order};

use crate::gpus::bus_address;

/// The CUDA driver's library.
pub const CUDA: &str = if cfg!(windows) { "nvcuda.dll" } else { "libcuda.so.1" };
/// File names of NVRTC by CUDA's major version: first the one that supports the most GPUs; the last one is too old and is
/// reported as such.
pub const NVRTC: &[&str] = if cfg!(windows) {
    &["nvrtc64_120_0.dll", "nvrtc64_130_0.dll"]
} else {
    &["libnvrtc.so.12", "libnvrtc.so.13", "libnvrtc.so.11.2"]
};
/// Folders of NVRTC in Python packages (of CUDA 12 and 13), and in the CUDA toolkit.
const NVRTC_PACKAGES: [&str; 2] = ["nvidia/cuda_nvrtc", "nvidia/cu13"];
const TOOLKIT: &str = "/usr/local/cuda/lib64";

/// Where NVRTC is searched for: the given path, or else the library search path, Python environments under `roots`, and the CUDA
/// toolkit.
#[must_use]
pub fn nvrtc_places(given: Option<&Path>, roots: &[PathBuf]) -> Vec<Place> {
    let in_packages = NVRTC_PACKAGES.iter().flat_map(|package| search_order(given, roots, package));
    let toolkit = given.is_none().then(|| Place::Package(PathBuf::from(TOOLKIT)));
    let mut all: Vec<Place> = Vec::new();
    for place in in_packages.chain(toolkit) {
        if !all.contains(&place) {
            all.push(place);
        }
    }
    all
}

/// Why a library's version could not be read.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Silent {
    /// The dynamic loader did not load it.
    #[error("{said}")]
    NotLoaded {
        /// The loader's message.
        said: String,
    },
    /// It is another library, or it returned an error.
    #[error("{said}")]
    Foreign {
        /// What is wrong.
        said: String,
    },
}

/// What the CUDA driver library reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CudaDriver {
    /// The newest CUDA version that it supports.
    pub version: Version,
    /// The result of `cuInit`; 0 is success (`CUresult`).
    pub start_code: i32,
    /// Bus address of CUDA's first GPU, the default device.
    pub first_device_bus_id: Option<String>,
}

/// Loads the CUDA driver's library, reads its version and initialises it. Creates no context on any GPU.
///
/// # Errors
/// If it is missing or is another library.
pub fn cuda_driver() -> Result<CudaDriver, Silent> {
    // The driver starts threads that run its code: it is never unloaded.
    let library = ManuallyDrop::new(open(Path::new(CUDA))?);
    // SAFETY: cuda.h declares `CUresult cuDriverGetVersion(int *)`.
    let version: Symbol<unsafe extern "C" fn(*mut c_int) -> c_int> = unsafe { symbol(&library, "cuDriverGetVersion") }?;
    // SAFETY: cuda.h declares `CUresult cuInit(unsigned int)`.
    let start: Symbol<unsafe extern "C" fn(c_uint) -> c_int> = unsafe { symbol(&library, "cuInit") }?;
    let mut number = 0;
    // SAFETY: it may be called before cuInit, and writes one int that we own.
    let answer = unsafe { version(&raw mut number) };
    if answer != 0 || number <= 0 {
        return Err(Silent::Foreign { said: format!("cuDriverGetVersion returned {answer}") });
    }
    // SAFETY: 0 is the only flag; any thread may call it, more than once.
    let start_code = unsafe { start(0) };
    let first_device_bus_id = if start_code == 0 { first_device_bus_id(&library) } else { None };
    Ok(CudaDriver { version: of_cuda(number.unsigned_abs()), start_code, first_device_bus_id })
}

/// Bus address of the first GPU in CUDA's order, which environment variables can change.
fn first_device_bus_id(library: &Library) -> Option<String> {
    // SAFETY: cuda.h declares `CUresult cuDeviceGet(CUdevice *, int)`, where a CUdevice is an int.
    let get: Symbol<unsafe extern "C" fn(*mut c_int, c_int) -> c_int> =
        unsafe { symbol(library, "cuDeviceGet") }.ok()?;
    // SAFETY: cuda.h declares `CUresult cuDeviceGetPCIBusId(char *, int, CUdevice)`.
    let place: Symbol<unsafe extern "C" fn(*mut c_char, c_int, c_int) -> c_int> =
        unsafe { symbol(library, "cuDeviceGetPCIBusId") }.ok()?;
    let (mut device, mut text) = (0, [0_u8; 32]);
    // SAFETY: cuInit returned 0; it writes one int that this function owns, and fails without a GPU.
    if unsafe { get(&raw mut device, 0) } != 0 {
        return None;
    }
    // SAFETY: the device was just obtained; the call writes no more bytes than the given length, the last of them zero.
    if unsafe { place(text.as_mut_ptr().cast(), text.len() as c_int, device) } != 0 {
        return None;
    }
    let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
    address(std::str::from_utf8(&text[..end]).ok()?)
}

/// CUDA formats 0000:0A:00.0, NVML and nvidia-smi 00000000:0A:00.0.
fn address(cuda: &str) -> Option<String> {
    let mut parts = cuda.split([':', '.']).map(|part| u32::from_str_radix(part, 16).ok());
    let (domain, bus, device) = (parts.next()??, parts.next()??, parts.next()??);
    Some(bus_address(domain, bus, device))
}

/// CUDA encodes 12.8 as 12080.
fn of_cuda(number: u32) -> Version {
    Version::two(number / 1000, number % 1000 / 10)
}

/// The version of the NVRTC at `path`.
///
/// # Errors
/// If it is missing or is another library.
pub fn nvrtc(path: &Path) -> Result<Version, Silent> {
    let library = open(path)?;
    // SAFETY: nvrtc.h declares `nvrtcResult nvrtcVersion(int *, int *)`.
    let ask: Symbol<unsafe extern "C" fn(*mut c_int, *mut c_int) -> c_int> =
        unsafe { symbol(&library, "nvrtcVersion") }?;
    let (mut major, mut minor) = (0, 0);
    // SAFETY: it writes two ints that we own.
    let answer = unsafe { ask(&raw mut major, &raw mut minor) };
    if answer != 0 {
        return Err(Silent::Foreign { said: format!("nvrtcVersion returned {answer}") });
    }
    Ok(Version::two(major.unsigned_abs(), minor.unsigned_abs()))
}

/// The version of the TensorRT at `path`, of either flavour, with its build number if it reports one.
///
/// # Errors
/// If it is missing or is another library.
pub fn tensorrt(path: &Path) -> Result<Version, Silent> {
    let library = open(path)?;
    let number = |part: &str| {
        // SAFETY: NvInferRuntime.h declares each of these as `int32_t name() noexcept`.
        let ask: Symbol<unsafe extern "C" fn() -> c_int> =
            unsafe { symbol(&library, &format!("getInferLib{part}Version")) }?;
        // SAFETY: the function takes nothing and only returns a constant.
        Ok(unsafe { ask() }.unsigned_abs())
    };
    let (major, minor, patch) = (number("Major")?, number("Minor")?, number("Patch")?);
    Ok(number("Build").map_or(Version::three(major, minor, patch), |build| Version::four(major, minor, patch, build)))
}

fn open(path: &Path) -> Result<Library, Silent> {
    if let Some(said) = truncation(path) {
        return Err(Silent::NotLoaded { said });
    }
    // SAFETY: loading runs the library's initialisers. The user chose the path, or it is where NVIDIA's libraries are
    // installed; those may be loaded and unloaded from any thread.
    unsafe { Library::new(path) }.map_err(|error| Silent::NotLoaded { said: error.to_string() })
}

/// What is missing from the library at `path`. The dynamic loader maps a file truncated by a failed download or a full disk,
/// and the process crashes. A bare file name cannot be checked.
fn truncation(path: &Path) -> Option<String> {
    let mut head = [0_u8; ELF_HEAD_BYTES];
    let mut file = File::open(path).ok()?;
    let found = file.metadata().ok()?.len();
    file.read_exact(&mut head).ok()?;
    let number =
        |at: usize, bytes: usize| head[at..at + bytes].iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    // e_shoff, e_shentsize, e_shnum: linkers write the section header table last.
    let wanted = number(40, 8).saturating_add(number(58, 2) * number(60, 2));
    let is_cut = head.starts_with(ELF) && found < wanted;
    is_cut.then(|| format!("truncated: {found} of {wanted} bytes"))
}

/// The first bytes of little-endian 64-bit ELF files, and the length of their header (System V ABI, "ELF-64").
const ELF: &[u8] = b"\x7fELF\x02\x01";
const ELF_HEAD_BYTES: usize = 64;

/// The function called `name`.
///
/// # Safety
/// `T` is the function pointer that the library's header declares under this name.
unsafe fn symbol<'a, T>(library: &'a Library, name: &str) -> Result<Symbol<'a, T>, Silent> {
    // SAFETY: the caller guarantees the type.
    let found = unsafe { library.get(name.as_bytes()) };
    found.map_err(|_absent| Silent::Foreign { said: format!("a library without {name}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_number_of_cuda_is_decoded() {
        assert_eq!(of_cuda(12_080), Version::two(12, 8));
        assert_eq!(of_cuda(13_000), Version::two(13, 0));
    }

    #[test]
    fn bus_addresses_of_cuda_and_nvml_are_equal() {
        assert_eq!(address("0000:0a:00.0").as_deref(), Some("00000000:0A:00.0"));
        assert_eq!(address("10000:01:00.0").as_deref(), Some("00010000:01:00.0"));
        assert_eq!(address(""), None);
    }

    #[test]
    fn nvrtc_is_searched_for_once_in_each_place_or_only_in_the_given_one() {
        let root = tempfile::tempdir().expect("a folder");
        let site = root.path().join("lib/python3.12/site-packages");
        std::fs::create_dir_all(site.join("nvidia/cuda_nvrtc/lib")).expect("folders");
        let all = nvrtc_places(None, &[root.path().to_owned()]);
        let packages = NVRTC_PACKAGES.map(|package| Place::Package(site.join(package)));
        assert_eq!(all, [vec![Place::Loader], packages.into(), vec![Place::Package(TOOLKIT.into())]].concat());
        assert_eq!(nvrtc_places(Some(Path::new("/opt")), &["/usr".into()]), [Place::Given("/opt".into())]);
    }

    #[test]
    fn a_missing_library_is_reported() {
        let nowhere = Path::new("/nowhere/libx.so.1");
        assert!(matches!(nvrtc(nowhere), Err(Silent::NotLoaded { said }) if said.contains("libx")));
        assert!(matches!(tensorrt(nowhere), Err(Silent::NotLoaded { .. })));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_truncated_library_is_not_loaded() {
        let folder = tempfile::tempdir().expect("a folder");
        let program = std::fs::read("/proc/self/exe").expect("this program");
        for (name, bytes, cut) in [("cut", &program[..program.len() / 2], true), ("whole", &program[..], false)] {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).expect("written");
            assert_eq!(truncation(&path).is_some(), cut, "{name}");
            assert!(matches!(tensorrt(&path), Err(Silent::NotLoaded { said }) if said.starts_with("truncated") == cut));
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn another_library_is_recognised_by_its_missing_symbols() {
        let wrong = tensorrt(Path::new("libc.so.6")).expect_err("the C library is not TensorRT");
        assert_eq!(wrong, Silent::Foreign { said: "a library without getInferLibMajorVersion".into() });
    }
}
