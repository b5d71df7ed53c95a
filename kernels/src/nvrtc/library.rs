//! NVRTC: found, queried for its version and supported GPUs, loaded as long as it compiles.

use std::error::Error;
use std::ffi::{CStr, CString, c_char, c_int};
use std::fmt;
use std::path::{Path, PathBuf};
use std::ptr;

use libloading::Library;
use visage_engines::search_paths::{Place, Searched};
use visage_engines::{Sm, Version};

use super::sys::{Calls, Program};
use super::{CompileError, FLAGS, NvrtcError};
use crate::libraries::NVRTC;
use crate::reference::Source;

/// NVRTC, ready to compile.
pub struct Nvrtc {
    calls: Calls,
    version: Version,
    path: PathBuf,
    /// Keeps the function pointers valid; the second library resolves symbols of the first.
    _libraries: (Option<Library>, Library),
}

/// NVRTC's status if its builtins library is missing.
const NO_BUILTINS: c_int = 7;

impl Nvrtc {
    /// Loads the first library of a supported version among `places`.
    ///
    /// # Errors
    /// With all places searched if there is none; with the fault of the first file that loads but is not NVRTC.
    pub fn load(places: &[Place]) -> Result<Self, NvrtcError> {
        let mut searched = Vec::new();
        for place in places {
            for name in NVRTC {
                match place.holds(name) {
                    Searched::Nothing(said) => searched.push(said),
                    // SAFETY: loading runs the library's initialisers. The user chose the path, or it is where NVRTC is
                    // installed; NVIDIA's library may be loaded from any thread.
                    Searched::Found(path) => match unsafe { Library::new(&path) } {
                        Ok(library) => return Self::of(library, path),
                        Err(error) => searched.push(said_of(&error, &path)),
                    },
                }
            }
        }
        searched.dedup();
        Err(NvrtcError::Missing { searched })
    }

    fn of(library: Library, path: PathBuf) -> Result<Self, NvrtcError> {
        let foreign = |call| NvrtcError::Foreign { call, path: path.clone() };
        let calls = Calls::find(&library).map_err(foreign)?;
        let (mut major, mut minor) = (0, 0);
        // SAFETY: the addresses are those of numbers that outlive the call.
        let status = unsafe { (calls.nvrtcVersion)(&raw mut major, &raw mut minor) };
        let version = Version::two(major.unsigned_abs(), minor.unsigned_abs());
        if status != 0 {
            return Err(foreign("nvrtcVersion"));
        }
        if !(12..=13).contains(&major) {
            return Err(NvrtcError::Version { found: version, path });
        }
        let libraries = (builtins(&path, version), library);
        Ok(Self { calls, version, path, _libraries: libraries })
    }

    /// Its version: it reports two numbers only.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// The loaded file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The compute capabilities that it supports.
    #[must_use]
    pub fn knows(&self) -> Vec<Sm> {
        let mut count = 0;
        // SAFETY: the address is that of a number that outlives the call.
        if unsafe { (self.calls.nvrtcGetNumSupportedArchs)(&raw mut count) } != 0 {
            return Vec::new();
        }
        let mut all = vec![0; count.max(0) as usize];
        // SAFETY: there is room for the number just reported.
        if unsafe { (self.calls.nvrtcGetSupportedArchs)(all.as_mut_ptr()) } != 0 {
            return Vec::new();
        }
        all.iter().map(|number| Sm::new((number / 10) as u8, (number % 10) as u8)).collect()
    }

    /// Compiles a source for a compute capability; needs no GPU.
    ///
    /// # Errors
    /// If it does not support the compute capability, or with its message.
    pub fn compile(&self, source: Source, sm: Sm) -> Result<Vec<u8>, CompileError> {
        let knows = self.knows();
        if !knows.contains(&sm) {
            return Err(CompileError::UnknownSm { sm, version: self.version, knows });
        }
        let failed = |said| CompileError::Source { name: source.name(), sm, version: self.version, said };
        let program = self.program(source).map_err(failed)?;
        program.compile(sm).map_err(failed)?;
        program.cubin().map_err(failed)
    }

    fn program(&self, source: Source) -> Result<Draft<'_>, String> {
        let text = CString::new(source.text()).map_err(|error| error.to_string())?;
        let name = CString::new(format!("{}.cu", source.name())).map_err(|error| error.to_string())?;
        let mut program: Program = ptr::null_mut();
        // SAFETY: both texts are NUL-terminated and copied; there are no headers.
        let status = unsafe {
            (self.calls.nvrtcCreateProgram)(&raw mut program, text.as_ptr(), name.as_ptr(), 0, ptr::null(), ptr::null())
        };
        if status == 0 {
            Ok(Draft { nvrtc: self, program })
        } else {
            Err(format!("nvrtcCreateProgram returned {status}"))
        }
    }
}

impl fmt::Debug for Nvrtc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nvrtc").field("version", &self.version).field("path", &self.path).finish_non_exhaustive()
    }
}

/// The loader's message, with missing dependencies, which only the error's source names.
fn said_of(error: &libloading::Error, path: &Path) -> String {
    let why = error.source().map_or_else(|| error.to_string(), ToString::to_string);
    if why.contains(&*path.to_string_lossy()) { why } else { format!("{}: {why}", path.display()) }
}

/// The builtins library, which NVRTC opens by name when it compiles: loaded first, from the same folder, so that it is found
/// in any folder.
fn builtins(path: &Path, version: Version) -> Option<Library> {
    let name = format!("libnvrtc-builtins.so.{}.{}", version.major(), version.minor());
    let beside = path.parent().filter(|folder| !folder.as_os_str().is_empty())?.join(name);
    // SAFETY: as for NVRTC itself, of which it is a part.
    unsafe { Library::new(beside) }.ok()
}

/// A program that is being compiled.
struct Draft<'a> {
    nvrtc: &'a Nvrtc,
    program: Program,
}

impl Draft<'_> {
    fn compile(&self, sm: Sm) -> Result<(), String> {
        let architecture = format!("--gpu-architecture=sm_{}{}", sm.major(), sm.minor());
        let flags = std::iter::once(architecture.as_str()).chain(FLAGS.iter().copied()).map(CString::new);
        let flags = flags.collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
        let places: Vec<*const c_char> = flags.iter().map(|flag| flag.as_ptr()).collect();
        // SAFETY: the program exists; the number of flags is right, and each is NUL-terminated.
        let status =
            unsafe { (self.nvrtc.calls.nvrtcCompileProgram)(self.program, places.len() as c_int, places.as_ptr()) };
        match status {
            0 => Ok(()),
            NO_BUILTINS => Err(format!(
                "it does not find libnvrtc-builtins.so.{}, which must be in the folder of {}",
                self.nvrtc.version,
                self.nvrtc.path.display()
            )),
            status => Err(self.log().unwrap_or_else(|| format!("nvrtcCompileProgram returned {status}"))),
        }
    }

    fn log(&self) -> Option<String> {
        let mut bytes = 0;
        // SAFETY: the address is that of a number that outlives the call.
        if unsafe { (self.nvrtc.calls.nvrtcGetProgramLogSize)(self.program, &raw mut bytes) } != 0 {
            return None;
        }
        let mut text = vec![0_u8; bytes.max(1)];
        // SAFETY: the buffer has the length just reported, including the NUL.
        let status = unsafe { (self.nvrtc.calls.nvrtcGetProgramLog)(self.program, text.as_mut_ptr().cast()) };
        let said = CStr::from_bytes_until_nul(&text).ok().filter(|_| status == 0)?;
        Some(said.to_string_lossy().trim().to_owned()).filter(|said| !said.is_empty())
    }

    fn cubin(&self) -> Result<Vec<u8>, String> {
        let mut bytes = 0;
        // SAFETY: the address is that of a number that outlives the call.
        let status = unsafe { (self.nvrtc.calls.nvrtcGetCUBINSize)(self.program, &raw mut bytes) };
        if status != 0 || bytes == 0 {
            return Err(format!("nvrtcGetCUBINSize returned {status} and {bytes} bytes"));
        }
        let mut cubin = vec![0_u8; bytes];
        // SAFETY: the buffer has the size just reported.
        let status = unsafe { (self.nvrtc.calls.nvrtcGetCUBIN)(self.program, cubin.as_mut_ptr().cast()) };
        if status == 0 { Ok(cubin) } else { Err(format!("nvrtcGetCUBIN returned {status}")) }
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        // SAFETY: created once, destroyed once.
        unsafe { (self.nvrtc.calls.nvrtcDestroyProgram)(&raw mut self.program) };
    }
}
