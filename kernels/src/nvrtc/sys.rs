//! NVRTC's calls, as a table of addresses: each is looked for before any is called.
//!
//! Decides which calls there are. Their arguments are those of nvrtc.h, the same in CUDA 12 and 13.

#![expect(non_snake_case, reason = "the calls bear the library's names")]

use std::ffi::{c_char, c_int, c_void};

use libloading::Library;

/// A program to compile.
pub type Program = *mut c_void;
/// What a call answers: 0, or an error's number.
pub type Status = c_int;

macro_rules! calls {
    ($($name:ident($($argument:ty),*);)*) => {
        /// The calls.
        pub struct Calls {
            // SAFETY: a type only; who calls keeps what nvrtc.h says.
            $(#[doc = "As nvrtc.h declares it."] pub $name: unsafe extern "C" fn($($argument),*) -> Status,)*
        }

        impl Calls {
            /// Looks for each call in `library`.
            ///
            /// # Errors
            /// With the name of the first that is missing.
            pub fn find(library: &Library) -> Result<Self, &'static str> {
                Ok(Self {
                    $($name: {
                        // SAFETY: nvrtc.h declares a function of this name with these arguments, which answers an enum of
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
