//! Limits of the C library's allocator, so that freed memory returns to the system.
//!
//! Decides the limits. Does nothing with other allocators than glibc's.

/// Allocations from this size are mapped and unmapped individually; above this much free memory the heap is trimmed.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const LIMIT_BYTES: libc::c_int = 128 << 10;

/// Makes the memory of ended sessions return to the system. Call it before any thread starts.
///
/// glibc raises its threshold for mapped blocks with every large block that is freed, up to 32 MB, and gives each thread an
/// arena of its own: avatars and frames then stay in fragmented arenas. Limits that are set are not raised (`mallopt(3)`).
pub fn give_back_early() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    for (limit, value) in
        [(libc::M_MMAP_THRESHOLD, LIMIT_BYTES), (libc::M_TRIM_THRESHOLD, LIMIT_BYTES), (libc::M_ARENA_MAX, 1)]
    {
        // SAFETY: mallopt takes two numbers; it ignores a parameter that it does not know.
        unsafe { libc::mallopt(limit, value) };
    }
}
