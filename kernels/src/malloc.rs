//! How the C library's allocator keeps what was given back to it.
//!
//! Decides the limits. Does nothing where the allocator is another one.

/// Sizes from here on are mapped on their own and unmapped when freed; more free memory than this goes back to the system.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const KEPT_BYTES: libc::c_int = 128 << 10;

/// Makes memory of sessions that ended go back to the system. Call it before there are threads.
///
/// glibc raises its limit for mapped blocks with every large block that is freed, up to 32 MB, and lets each thread fill an
/// arena of its own: faces and pictures then stay behind in pieces. Limits that are set are no longer raised (`mallopt(3)`).
pub fn give_back_early() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    for (limit, value) in
        [(libc::M_MMAP_THRESHOLD, KEPT_BYTES), (libc::M_TRIM_THRESHOLD, KEPT_BYTES), (libc::M_ARENA_MAX, 1)]
    {
        // SAFETY: mallopt reads two numbers and keeps nothing of ours; a limit that it does not know it leaves alone.
        unsafe { libc::mallopt(limit, value) };
    }
}
