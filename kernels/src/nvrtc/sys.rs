//! NVRTC's functions as a table of pointers, all resolved before any is called.
//!
//! Decides which functions are used. Their arguments are those of nvrtc.h, the same in CUDA 12 and 13.

#![expect(non_snake_case, reason = "the functions have the library's names")]

use std::ffi::{c_char, c_int, c_void};

use libloading::Library;

/// A program to compile.
pub type Program = *mut c_void;
/// A status: 0, or an error number.
pub type Status = c_int;

macro_rules! calls {
    ($($name:ident($($argument:ty),*);)*) => {
        /// The functions.
        pub struct Calls {
            // SAFETY: a type only; callers comply with nvrtc.h.
            $(#[doc = "As nvrtc.h declares it."] pub $name: unsafe extern "C" fn($($argument),*) -> Status,)*
        }

        impl Calls {
            /// Resolves each function in `library`.
            ///
            /// # Errors
            /// With the name of the first one missing.
            pub fn find(library: &Library) -> Result<Self, &'static str> {
                Ok(Self {
                    $($name: {
                        // SAFETY: nvrtc.h declares a function of this name with these arguments, which returns an enum of
                        // the size of an int.
                        let found = unsafe { library.get::<unsafe extern "C" fn($($argument),*) -> Status>(stringify!($name).as_bytes()) };
                        *found.map_err(|_absent| stringify!($name))?
                    },)*
                })
            }
        }
    };
}

calls! {
    nvrtcVersion(*mut c_int, *mut c_int);
    nvrtcGetNumSupportedArchs(*mut c_int);
    nvrtcGetSupportedArchs(*mut c_int);
    nvrtcCreateProgram(*mut Program, *const c_char, *const c_char, c_int, *const *const c_char, *const *const c_char);
    nvrtcDestroyProgram(*mut Program);
    nvrtcCompileProgram(Program, c_int, *const *const c_char);
    nvrtcGetProgramLogSize(Program, *mut usize);
    nvrtcGetProgramLog(Program, *mut c_char);
    nvrtcGetCUBINSize(Program, *mut usize);
    nvrtcGetCUBIN(Program, *mut c_char);
}
