//! The stub driver as tests use it: a copy of the library for each test, so that tests run in parallel.
//!
//! Included by path in the tests of both packages.

use std::ffi::c_void;
use std::path::{Path, PathBuf};

use libloading::Library;
use visage_kernels::cuda::Driver;

/// Counters of calls and of live objects.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub calls: u64,
    pub allocations: u64,
    pub page_locks: u64,
    pub copies: u64,
    pub launches: u64,
    pub waits: u64,
    pub stream_waits: u64,
    pub device_waits: u64,
    pub frees: u64,
    pub done: u64,
    pub order: u64,
    pub violations: u64,
    pub living_memory: u64,
    pub living_locks: u64,
    pub living_handles: u64,
    pub living_contexts: u64,
}

impl Counts {
    /// Objects that were not freed.
    pub fn living(&self) -> u64 {
        self.living_memory + self.living_locks + self.living_handles + self.living_contexts
    }
}

/// An injected fault.
#[allow(dead_code, reason = "not every test breaks everything")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// One call fails.
    Call(u32),
    /// A call and every call after it fail, until the context is destroyed.
    Sticky(u32),
    /// The same, for good.
    Gone(u32),
    /// A launch fails when it executes.
    Launch(u32),
    /// A copy takes very long.
    SlowCopy,
}

/// The driver of one test.
pub struct StubDriver {
    path: PathBuf,
    library: Library,
    _folder: tempfile::TempDir,
}

impl StubDriver {
    /// A new copy.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("libcuda.so.1");
        let built = std::env::current_exe().expect("this test").with_file_name("libvisage_driver.so");
        std::fs::copy(&built, &path).expect("cargo has built the stub next to this test");
        // SAFETY: it is the library of `kernels/tests/driver`, which has no initialisers.
        let library = unsafe { Library::new(&path) }.expect("the stub loads");
        Self { path, library, _folder: folder }
    }

    /// Its path.
    #[allow(dead_code, reason = "not every test looks")]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Loads it like the real driver.
    #[allow(dead_code, reason = "not every test loads it itself")]
    pub fn driver(&self) -> Driver {
        Driver::open(&self.path).expect("the stub has every entry point")
    }

    /// Resets it with another seed.
    pub fn seed(&self, seed: u64) {
        // SAFETY: declared so in `control.rs`.
        let call = unsafe { self.library.get::<extern "C" fn(u64)>(b"stub_seed") }.expect("the call");
        call(seed);
    }

    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        // SAFETY: declared so in `control.rs`, with the same fields.
        let call = unsafe { self.library.get::<unsafe extern "C" fn(*mut Counts)>(b"stub_counts") };
        // SAFETY: the place is that of a value that outlives the call.
        unsafe { call.expect("the call")(&raw mut counts) };
        counts
    }

    /// Injects a fault: the `n`th call or piece of work from now on.
    #[allow(dead_code, reason = "not every test breaks something")]
    pub fn fail(&self, fault: Fault, n: u64) {
        let (kind, status) = match fault {
            Fault::Call(status) => (0, status),
            Fault::Sticky(status) => (1, status),
            Fault::Gone(status) => (2, status),
            Fault::Launch(status) => (3, status),
            Fault::SlowCopy => (4, 0),
        };
        // SAFETY: declared so in `control.rs`.
        let call = unsafe { self.library.get::<extern "C" fn(u32, u64, u32)>(b"stub_fail") }.expect("the call");
        call(kind, n, status);
    }

    /// Ignores the `n`th wait of a stream for an event, counted from the seed.
    #[allow(dead_code, reason = "not every test breaks something")]
    pub fn ignore_wait(&self, n: u64) {
        // SAFETY: declared so in `control.rs`.
        let call = unsafe { self.library.get::<extern "C" fn(u64)>(b"stub_ignore_wait") }.expect("the call");
        call(n);
    }

    /// Registers what executes when the kernel is launched, and the sizes of its arguments.
    #[allow(dead_code, reason = "not every test launches")]
    pub fn register_kernel(
        &self,
        name: &std::ffi::CStr,
        reference: unsafe extern "C" fn(*const *const c_void, *const u32),
        sizes: &[usize],
    ) {
        type Call = unsafe extern "C" fn(
            *const i8,
            unsafe extern "C" fn(*const *const c_void, *const u32),
            *const usize,
            usize,
        );
        // SAFETY: declared so in `control.rs`.
        let call = unsafe { self.library.get::<Call>(b"stub_register_kernel") }.expect("the call");
        // SAFETY: the name ends with a zero; the sizes are as many as said.
        unsafe { call(name.as_ptr().cast(), reference, sizes.as_ptr(), sizes.len()) };
    }

    /// Registers the reference implementations of all kernels, and returns cubins that the stub takes for them.
    #[allow(dead_code, reason = "not every test loads kernels")]
    pub fn register_kernels(&self) -> Vec<visage_kernels::nvrtc::Cubin> {
        use visage_kernels::reference::{Source, kernels};
        for kernel in kernels() {
            let name = std::ffi::CString::new(kernel.name).expect("a name");
            self.register_kernel(&name, kernel.reference, &kernel.argument_bytes());
        }
        // SAFETY: the stub reads no image; its kernels are the reference implementations.
        let cubin = |source| unsafe { visage_kernels::nvrtc::Cubin::trusted(source, b"for the stub".to_vec()) };
        Source::ALL.map(cubin).into()
    }

    /// The last violation.
    pub fn complaint(&self) -> String {
        let mut text = [0_u8; 256];
        // SAFETY: declared so in `control.rs`.
        let call = unsafe { self.library.get::<unsafe extern "C" fn(*mut u8, usize) -> usize>(b"stub_complaint") };
        // SAFETY: the text is as long as said.
        let bytes = unsafe { call.expect("the call")(text.as_mut_ptr(), text.len()) };
        String::from_utf8_lossy(&text[..bytes]).into_owned()
    }

    /// Fails if a call was made that a real driver does not tolerate.
    pub fn assert_obeyed(&self) {
        assert_eq!(self.counts().violations, 0, "{}", self.complaint());
    }
}
