//! Free space of the disk that holds a folder.
//!
//! Implemented on Unix only; on other systems the answer is `None`.

use std::path::Path;

/// Bytes that an ordinary user may still write to the disk that holds `folder`; `None` if the system does not report it.
#[cfg(unix)]
#[must_use]
#[expect(clippy::useless_conversion, reason = "the fields have other widths on other systems")]
pub fn free_bytes(folder: &Path) -> Option<u64> {
    use std::ffi::CString;
    use std::os::unix::ffi::OsStrExt;

    let path = CString::new(folder.as_os_str().as_bytes()).ok()?;
    let mut stats = std::mem::MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: statvfs(3) reads a path that ends with a nul, which CString holds, and writes one struct that this function owns.
    let answer = unsafe { libc::statvfs(path.as_ptr(), stats.as_mut_ptr()) };
    if answer != 0 {
        return None;
    }
    // SAFETY: statvfs returned 0, so it has written the whole struct.
    let stats = unsafe { stats.assume_init() };
    Some(u64::from(stats.f_bavail).saturating_mul(u64::from(stats.f_frsize)))
}

/// Not implemented on this system.
#[cfg(not(unix))]
#[must_use]
pub fn free_bytes(_folder: &Path) -> Option<u64> {
    None
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn an_existing_folder_has_free_space() {
        assert!(free_bytes(Path::new("/")).is_some_and(|bytes| bytes > 0));
        assert_eq!(free_bytes(Path::new("/nowhere/at/all")), None);
    }
}
