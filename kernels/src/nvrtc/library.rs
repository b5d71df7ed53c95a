//! NVRTC: found, asked for its version and cards, kept for as long as it compiles.

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
    /// The calls point into it; the second is what it looks up its own functions in.
    _libraries: (Option<Library>, Library),
}

/// What a call answers if its part in another library is not there.
const NO_BUILTINS: c_int = 7;

impl Nvrtc {
    /// Loads the first library of a version that is known among `places`.
    ///
    /// # Errors
    /// With all that was searched if there is none; with what is wrong if the first that loads is not it.
    pub fn load(places: &[Place]) -> Result<Self, NvrtcError> {
        let mut searched = Vec::new();
        for place in places {
            for name in NVRTC {
                match place.holds(name) {
                    Searched::Nothing(said) => searched.push(said),
                    // SAFETY: loading runs the library's initialisers. The user chose the path, or it lies where NVRTC is
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

    /// Its version: two numbers, as it says no more.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// What was loaded.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The cards that it compiles for.
    #[must_use]
    pub fn knows(&self) -> Vec<Sm> {
        let mut count = 0;
        // SAFETY: the address is that of a number that outlives the call.
        if unsafe { (self.calls.nvrtcGetNumSupportedArchs)(&raw mut count) } != 0 {
            return Vec::new();
        }
        let mut all = vec![0; count.max(0) as usize];
        // SAFETY: there is room for as many as it just said.
        if unsafe { (self.calls.nvrtcGetSupportedArchs)(all.as_mut_ptr()) } != 0 {
            return Vec::new();
        }
        all.iter().map(|number| Sm::new((number / 10) as u8, (number % 10) as u8)).collect()
    }

    /// Compiles a source for cards, none of which need be here.
    ///
    /// # Errors
    /// If it does not know the cards, or with what it says.
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
        // SAFETY: both texts end with a zero and are copied; there are no headers.
        let status = unsafe {
            (self.calls.nvrtcCreateProgram)(&raw mut program, text.as_ptr(), name.as_ptr(), 0, ptr::null(), ptr::null())
        };
        if status == 0 {
            Ok(Draft { nvrtc: self, program })
        } else {
            Err(format!("nvrtcCreateProgram answered {status}"))
        }
    }
}

impl fmt::Debug for Nvrtc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nvrtc").field("version", &self.version).field("path", &self.path).finish_non_exhaustive()
    }
}

/// What the loader said; libraries of its own that are missing stand only in the error's source.
fn said_of(error: &libloading::Error, path: &Path) -> String {
    let why = error.source().map_or_else(|| error.to_string(), ToString::to_string);
    if why.contains(&*path.to_string_lossy()) { why } else { format!("{}: {why}", path.display()) }
}

/// What NVRTC opens by name when it compiles: loaded before, from the same folder, so that it is found wherever that is.
fn builtins(path: &Path, version: Version) -> Option<Library> {
    let name = format!("libnvrtc-builtins.so.{}.{}", version.major(), version.minor());
    let beside = path.parent().filter(|folder| !folder.as_os_str().is_empty())?.join(name);
    // SAFETY: as for the library itself, whose part it is.
    unsafe { Library::new(beside) }.ok()
}

/// A program that is being compiled.
struct Draft<'a> {
    nvrtc: &'a Nvrtc,
    program: Program,
}

impl Draft<'_> {
    fn compile(&self, sm: Sm) -> Result<(), String> {
        let card = format!("--gpu-architecture=sm_{}{}", sm.major(), sm.minor());
        let flags = std::iter::once(card.as_str()).chain(FLAGS.iter().copied()).map(CString::new);
        let flags = flags.collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
        let places: Vec<*const c_char> = flags.iter().map(|flag| flag.as_ptr()).collect();
        // SAFETY: the program is one that was created; there are as many flags as said, each of which ends with a zero.
        let status =
            unsafe { (self.nvrtc.calls.nvrtcCompileProgram)(self.program, places.len() as c_int, places.as_ptr()) };
        match status {
            0 => Ok(()),
            NO_BUILTINS => Err(format!(
                "it does not find libnvrtc-builtins.so.{}, which must lie beside {}",
                self.nvrtc.version,
                self.nvrtc.path.display()
            )),
            status => Err(self.log().unwrap_or_else(|| format!("nvrtcCompileProgram answered {status}"))),
        }
    }

    fn log(&self) -> Option<String> {
        let mut bytes = 0;
        // SAFETY: the address is that of a number that outlives the call.
        if unsafe { (self.nvrtc.calls.nvrtcGetProgramLogSize)(self.program, &raw mut bytes) } != 0 {
            return None;
        }
        let mut text = vec![0_u8; bytes.max(1)];
        // SAFETY: the text is as long as was just said, the zero at its end with it.
        let status = unsafe { (self.nvrtc.calls.nvrtcGetProgramLog)(self.program, text.as_mut_ptr().cast()) };
        let said = CStr::from_bytes_until_nul(&text).ok().filter(|_| status == 0)?;
        Some(said.to_string_lossy().trim().to_owned()).filter(|said| !said.is_empty())
    }

    fn cubin(&self) -> Result<Vec<u8>, String> {
        let mut bytes = 0;
        // SAFETY: the address is that of a number that outlives the call.
        let status = unsafe { (self.nvrtc.calls.nvrtcGetCUBINSize)(self.program, &raw mut bytes) };
        if status != 0 || bytes == 0 {
            return Err(format!("nvrtcGetCUBINSize answered {status} and {bytes} bytes"));
        }
        let mut cubin = vec![0_u8; bytes];
        // SAFETY: there is room for as many bytes as it just said.
        let status = unsafe { (self.nvrtc.calls.nvrtcGetCUBIN)(self.program, cubin.as_mut_ptr().cast()) };
        if status == 0 { Ok(cubin) } else { Err(format!("nvrtcGetCUBIN answered {status}")) }
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        // SAFETY: created once, destroyed once.
        unsafe { (self.nvrtc.calls.nvrtcDestroyProgram)(&raw mut self.program) };
    }
}
