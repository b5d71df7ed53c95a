//! Settings of the H.264 encoder library that only its raw options change: its log on stderr and its bitrate while it runs.
//!
//! Decides how an option is passed. Does not decide its value.

use std::ffi::{c_int, c_void};

use openh264::encoder::Encoder;

/// `ENCODER_OPTION_BITRATE` of openh264's `codec_app_def.h`.
const OPTION_BITRATE: c_int = 5;
/// `ENCODER_OPTION_MAX_BITRATE`.
const OPTION_MAX_BITRATE: c_int = 6;
/// `ENCODER_OPTION_TRACE_LEVEL`.
const OPTION_TRACE_LEVEL: c_int = 25;
/// `WELS_LOG_QUIET`.
const QUIET: c_int = 0;
/// `SPATIAL_LAYER_0`: the only layer; the maximum applies to it.
const FIRST_LAYER: c_int = 0;
/// `SPATIAL_LAYER_ALL`: the target is distributed from here.
const EVERY_LAYER: c_int = 4;

/// `SBitrateInfo` of openh264's `codec_app_def.h`.
#[repr(C)]
struct BitrateInfo {
    layer: c_int,
    bits_per_second: c_int,
}

/// Stops the library's log on stderr. Call it before the first frame, when it logs most.
pub fn silence(encoder: &mut Encoder) {
    let mut level = QUIET;
    // SAFETY: the option reads one c_int, which lives until the call returns; nothing the safe wrapper relies on changes.
    unsafe { encoder.raw_api().set_option(OPTION_TRACE_LEVEL, (&raw mut level).cast::<c_void>()) };
}

/// Sets the target bitrate of a running encoder without a keyframe. The library refuses before the first frame.
///
/// # Errors
/// The library's code, not zero.
pub fn set_bitrate(encoder: &mut Encoder, bits_per_second: u32) -> Result<(), c_int> {
    let bits_per_second = c_int::try_from(bits_per_second).unwrap_or(c_int::MAX);
    let aim = (OPTION_BITRATE, EVERY_LAYER);
    let ceiling = (OPTION_MAX_BITRATE, FIRST_LAYER);
    // The library keeps the target below the maximum at every call, so an increase raises the maximum first.
    let order = if bits_per_second > current_bitrate(encoder)? { [ceiling, aim] } else { [aim, ceiling] };
    order.into_iter().try_for_each(|(option, layer)| {
        let mut info = BitrateInfo { layer, bits_per_second };
        // SAFETY: both options read one SBitrateInfo, which has this layout and lives until the call returns. The
        // wrapper keeps no copy of the bitrate that would have to agree while the frame size stays the same.
        checked(unsafe { encoder.raw_api().set_option(option, (&raw mut info).cast::<c_void>()) })
    })
}

fn current_bitrate(encoder: &mut Encoder) -> Result<c_int, c_int> {
    let mut info = BitrateInfo { layer: EVERY_LAYER, bits_per_second: 0 };
    // SAFETY: the option writes one SBitrateInfo, which has this layout and lives until the call returns.
    checked(unsafe { encoder.raw_api().get_option(OPTION_BITRATE, (&raw mut info).cast::<c_void>()) })?;
    Ok(info.bits_per_second)
}

// SAFETY: the signature is that of `codec/common/inc/cpu.h`.
unsafe extern "C" {
    /// `codec/common/inc/cpu.h` of openh264: a bit for each instruction set that the library uses on this processor.
    fn WelsCPUFeatureDetect(logical_processors: *mut i32) -> u32;
}

/// Whether the encoder uses SIMD assembly. On x86 the library's build needs `nasm` for it and silently omits it without;
/// the encoder then takes three times as long.
#[must_use]
pub fn has_assembly() -> bool {
    let mut processors = 0;
    // SAFETY: the function reads the processor's identification and writes one i32, which this function owns. A library built without
    // assembly returns 0.
    unsafe { WelsCPUFeatureDetect(&raw mut processors) != 0 }
}

fn checked(code: c_int) -> Result<(), c_int> {
    if code == 0 { Ok(()) } else { Err(code) }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_library_built_with_nasm_uses_assembly() {
        if !cfg!(any(target_arch = "x86", target_arch = "x86_64")) || Command::new("nasm").arg("-v").output().is_err() {
            println!("skipped: assembly in the H.264 encoder (no x86 processor, or no nasm here)");
            return;
        }
        assert!(has_assembly(), "run: cargo clean --release -p openh264-sys2");
    }
}
