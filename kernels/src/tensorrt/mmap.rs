//! Memory-mapped files: pages are read from disk on access, without a copy.

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::ptr;

/// A memory-mapped file.
#[derive(Debug)]
pub(super) struct MappedFile {
    start: *mut libc::c_void,
    bytes: usize,
}

// SAFETY: the memory is only read, and unmapped on drop.
unsafe impl Send for MappedFile {}

impl MappedFile {
    /// Maps the file at `path`, which must not be truncated while it is mapped: engines in the cache are replaced by rename, never
    /// rewritten.
    ///
    /// # Errors
    /// If it cannot be opened or mapped.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let bytes = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
        if bytes == 0 {
            return Err(io::Error::other("an empty file"));
        }
        let (protection, flags) = (libc::PROT_READ, libc::MAP_PRIVATE);
        // SAFETY: a new mapping at an address chosen by the system, of an open file; it outlives the descriptor.
        let start = unsafe { libc::mmap(ptr::null_mut(), bytes, protection, flags, file.as_raw_fd(), 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { start, bytes })
    }
}

impl Deref for MappedFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: mapped with this length as long as `self` lives, readable, and not written by this program; see `open` for
        // other writers.
        unsafe { std::slice::from_raw_parts(self.start.cast(), self.bytes) }
    }
}

impl Drop for MappedFile {
    fn drop(&mut self) {
        // SAFETY: mapped once in `open`, unmapped once here; no slice of it outlives `self`.
        unsafe { libc::munmap(self.start, self.bytes) };
    }
}
