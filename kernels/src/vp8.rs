//! VP8 by the system's libvpx: one real-time stream on one thread, and a decoder for verification.
//!
//! Decides how the library is called and what it must never do by its own decision (skip frames, resize, look ahead). Does not
//! decide bitrate, speed or keyframes.

use std::ffi::{CStr, c_int, c_uint};
use std::mem::MaybeUninit;
use std::ptr;

use thiserror::Error;
use vpx_sys::vp8e_enc_control_id::{
    VP8E_SET_CPUUSED, VP8E_SET_MAX_INTRA_BITRATE_PCT, VP8E_SET_NOISE_SENSITIVITY, VP8E_SET_STATIC_THRESHOLD,
    VP8E_SET_TOKEN_PARTITIONS,
};
use vpx_sys::{
    VPX_DECODER_ABI_VERSION, VPX_DL_REALTIME, VPX_EFLAG_FORCE_KF, VPX_ENCODER_ABI_VERSION, VPX_FRAME_IS_KEY,
    vp8e_enc_control_id, vpx_codec_control_, vpx_codec_ctx_t, vpx_codec_cx_pkt_kind, vpx_codec_dec_init_ver,
    vpx_codec_decode, vpx_codec_destroy, vpx_codec_enc_cfg_t, vpx_codec_enc_config_default, vpx_codec_enc_config_set,
    vpx_codec_enc_init_ver, vpx_codec_encode, vpx_codec_err_t, vpx_codec_err_to_string, vpx_codec_get_cx_data,
    vpx_codec_get_frame, vpx_codec_vp8_cx, vpx_codec_vp8_dx, vpx_enc_frame_flags_t, vpx_enc_pass, vpx_image_t,
    vpx_img_fmt, vpx_kf_mode, vpx_rc_mode,
};

/// Ticks of the library's clock in a second: microseconds, so that any frame rate can be expressed.
const CLOCK_HZ: c_int = 1_000_000;
/// The decoder's buffer model in milliseconds at the target bitrate: size, initial fill, optimal fill.
const BUFFER_MS: (c_uint, c_uint, c_uint) = (1000, 500, 600);
/// The finest and the coarsest quantiser. The coarsest is allowed so that a low bitrate is kept without
/// skipped frames.
const QUANTISERS: (c_uint, c_uint) = (2, 63);
/// Maximum size of a keyframe in percent of the average frame: a larger one would delay the frames behind it.
const KEYFRAME_PERCENT: c_int = 600;

/// An error of the library.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{0}")]
pub struct Refusal(String);

/// Settings of an encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Width in pixels, even.
    pub width: usize,
    /// Height in pixels, even.
    pub height: usize,
    /// Target bitrate.
    pub bits_per_second: u32,
    /// `cpu-used` of libvpx, -16 to 16: the higher its magnitude, the faster and the lower the quality; below zero it is fixed, not
    /// adapted to the machine's load.
    pub speed: i32,
}

/// An encoded frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// One frame (RFC 6386, section 9).
    pub bytes: Vec<u8>,
    /// Whether a decoder can start here.
    pub is_key: bool,
}

/// Whether a frame must be a keyframe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Any frame.
    Open,
    /// A keyframe.
    Forced,
}

/// The library's state of one stream, closed on drop. Boxed, because the library keeps its address.
struct Context(Box<vpx_codec_ctx_t>);

// SAFETY: this value alone owns the state, which the library ties to no thread (one thread at a time may use
// it, which `&mut` ensures); with `g_threads` 1 it starts none.
unsafe impl Send for Context {}

impl Context {
    /// The state after `open` has opened it; `open` returns the library's code.
    fn opened(open: impl FnOnce(*mut vpx_codec_ctx_t) -> vpx_codec_err_t) -> Result<Self, Refusal> {
        // SAFETY: the struct is pointers, numbers and an error code whose zero is VPX_CODEC_OK; all may be zero, and the
        // library clears it itself before use.
        let mut context: Box<vpx_codec_ctx_t> = Box::new(unsafe { MaybeUninit::zeroed().assume_init() });
        checked(open(&raw mut *context))?;
        Ok(Self(context))
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: only an opened state is dropped, once. The call fails only for one that is not open.
        let _ = unsafe { vpx_codec_destroy(&raw mut *self.0) };
    }
}

/// Encodes VP8. Keyframes: the first frame, and on demand.
pub struct Encoder {
    context: Context,
    config: vpx_codec_enc_cfg_t,
}

// SAFETY: the configuration holds pointers only to statistics of a first pass, which are null here and never read.
unsafe impl Send for Encoder {}

impl Encoder {
    /// A new encoder.
    ///
    /// # Errors
    /// If the library rejects a setting, or is of another version than its headers.
    pub fn new(settings: &Settings) -> Result<Self, Refusal> {
        let config = configured(settings)?;
        let version = VPX_ENCODER_ABI_VERSION as c_int;
        // SAFETY: the library copies the configuration; the version lets it refuse headers other than its own.
        let open =
            |context| unsafe { vpx_codec_enc_init_ver(context, vpx_codec_vp8_cx(), &raw const config, 0, version) };
        let mut encoder = Self { context: Context::opened(open)?, config };
        encoder.control(VP8E_SET_CPUUSED, settings.speed)?;
        encoder.control(VP8E_SET_NOISE_SENSITIVITY, 0)?;
        encoder.control(VP8E_SET_STATIC_THRESHOLD, 1)?;
        encoder.control(VP8E_SET_TOKEN_PARTITIONS, 0)?;
        encoder.control(VP8E_SET_MAX_INTRA_BITRATE_PCT, KEYFRAME_PERCENT)?;
        Ok(encoder)
    }

    fn control(&mut self, id: vp8e_enc_control_id, value: c_int) -> Result<(), Refusal> {
        // SAFETY: every control used here takes one int or unsigned int, which pass alike; the state is open.
        checked(unsafe { vpx_codec_control_(&raw mut *self.context.0, id as c_int, value) })
    }

    /// Encodes one I420 frame of the configured size, without gaps between its rows. Times are in microseconds and
    /// strictly increasing.
    ///
    /// # Errors
    /// If the planes have other sizes, or the library fails or returns nothing.
    pub fn encode(&mut self, planes: [&[u8]; 3], at: i64, lasts: u32, start: Start) -> Result<Encoded, Refusal> {
        let (width, height) = (self.config.g_w, self.config.g_h);
        let image = image_of(planes, width, height)?;
        let flags = if start == Start::Forced { vpx_enc_frame_flags_t::from(VPX_EFLAG_FORCE_KF) } else { 0 };
        let deadline = VPX_DL_REALTIME.into();
        // SAFETY: the image's planes are as long as its size says (checked above), are only read, and live until the call
        // returns; with no look-ahead the library keeps a copy of its own, never a pointer.
        checked(unsafe {
            vpx_codec_encode(&raw mut *self.context.0, &raw const image, at, lasts.into(), flags, deadline)
        })?;
        self.take().ok_or_else(|| Refusal("no bytes".to_owned()))
    }

    /// The result of the last call: one frame.
    fn take(&mut self) -> Option<Encoded> {
        let mut iterator = ptr::null();
        let mut encoded = None;
        loop {
            // SAFETY: the state is open and the iterator is this loop's own.
            let packet = unsafe { vpx_codec_get_cx_data(&raw mut *self.context.0, &raw mut iterator) };
            // SAFETY: a non-null packet belongs to the library and is valid until the next call into it.
            let Some(packet) = (unsafe { packet.as_ref() }) else { return encoded };
            if packet.kind == vpx_codec_cx_pkt_kind::VPX_CODEC_CX_FRAME_PKT {
                // SAFETY: the kind identifies the member of the union that was written.
                let frame = unsafe { packet.data.frame };
                #[allow(clippy::unnecessary_cast, reason = "the type of size_t differs between bindings")]
                let length = frame.sz as usize;
                // SAFETY: the library states the length; the bytes are copied before the next call into it.
                let bytes = unsafe { std::slice::from_raw_parts(frame.buf.cast::<u8>(), length) }.to_vec();
                encoded = Some(Encoded { bytes, is_key: frame.flags & VPX_FRAME_IS_KEY != 0 });
            }
        }
    }

    /// Sets another target bitrate without a keyframe.
    ///
    /// # Errors
    /// If the library fails; the previous target stays.
    pub fn set_bitrate(&mut self, bits_per_second: u32) -> Result<(), Refusal> {
        let config = vpx_codec_enc_cfg_t { rc_target_bitrate: kilobits(bits_per_second), ..self.config };
        // SAFETY: the state is open, and the library copies the configuration.
        checked(unsafe { vpx_codec_enc_config_set(&raw mut *self.context.0, &raw const config) })?;
        self.config = config;
        Ok(())
    }
}

fn configured(settings: &Settings) -> Result<vpx_codec_enc_cfg_t, Refusal> {
    let mut config = MaybeUninit::<vpx_codec_enc_cfg_t>::uninit();
    // SAFETY: the library writes the whole struct if it returns no error; zeros would be invalid.
    let mut config = unsafe {
        checked(vpx_codec_enc_config_default(vpx_codec_vp8_cx(), config.as_mut_ptr(), 0))?;
        config.assume_init()
    };
    config.g_w = side(settings.width)?;
    config.g_h = side(settings.height)?;
    config.g_threads = 1;
    config.g_timebase.num = 1;
    config.g_timebase.den = CLOCK_HZ;
    config.g_pass = vpx_enc_pass::VPX_RC_ONE_PASS;
    config.g_lag_in_frames = 0;
    // Lost packets are retransmitted, and a frame that stays lost is answered with a keyframe. The library's
    // error-resilient mode would reset its probabilities with every frame and cost bits.
    config.g_error_resilient = 0;
    config.rc_end_usage = vpx_rc_mode::VPX_CBR;
    config.rc_target_bitrate = kilobits(settings.bits_per_second);
    config.rc_dropframe_thresh = 0;
    config.rc_resize_allowed = 0;
    (config.rc_min_quantizer, config.rc_max_quantizer) = QUANTISERS;
    (config.rc_undershoot_pct, config.rc_overshoot_pct) = (100, 15);
    (config.rc_buf_sz, config.rc_buf_initial_sz, config.rc_buf_optimal_sz) = BUFFER_MS;
    config.kf_mode = vpx_kf_mode::VPX_KF_DISABLED;
    Ok(config)
}

fn kilobits(bits_per_second: u32) -> c_uint {
    (bits_per_second / 1000).max(1)
}

fn side(pixels: usize) -> Result<c_uint, Refusal> {
    let fits = pixels > 0 && pixels.is_multiple_of(2) && pixels <= 16_383;
    if fits { Ok(pixels as c_uint) } else { Err(Refusal(format!("a side of {pixels} pixels"))) }
}

/// A view of three planes whose lengths match the size.
fn image_of(planes: [&[u8]; 3], width: c_uint, height: c_uint) -> Result<vpx_image_t, Refusal> {
    let luma = width as usize * height as usize;
    if planes.map(<[u8]>::len) != [luma, luma / 4, luma / 4] {
        return Err(Refusal(format!("planes of {:?} bytes", planes.map(<[u8]>::len))));
    }
    // SAFETY: the struct consists of numbers, pointers and enums with a zero (no format, unknown colours, limited range).
    let mut image: vpx_image_t = unsafe { MaybeUninit::zeroed().assume_init() };
    image.fmt = vpx_img_fmt::VPX_IMG_FMT_I420;
    (image.w, image.h, image.d_w, image.d_h) = (width, height, width, height);
    (image.x_chroma_shift, image.y_chroma_shift, image.bps, image.bit_depth) = (1, 1, 12, 8);
    for ((place, stride), (plane, row)) in
        image.planes.iter_mut().zip(&mut image.stride).zip(planes.into_iter().zip([width, width / 2, width / 2]))
    {
        // The library's type has no const; an encoder only reads.
        (*place, *stride) = (plane.as_ptr().cast_mut(), row as c_int);
    }
    Ok(image)
}

/// Decodes VP8, for verification.
pub struct Decoder(Context);

impl Decoder {
    /// A new decoder.
    ///
    /// # Errors
    /// If the library fails, or is of another version than its headers.
    pub fn new() -> Result<Self, Refusal> {
        let version = VPX_DECODER_ABI_VERSION as c_int;
        // SAFETY: a null configuration is allowed (defaults); the version lets the library refuse headers other than its own.
        let open = |context| unsafe { vpx_codec_dec_init_ver(context, vpx_codec_vp8_dx(), ptr::null(), 0, version) };
        Context::opened(open).map(Self)
    }

    /// Decodes one frame: width, height and luma without gaps between rows.
    ///
    /// # Errors
    /// If it is not a frame, or refers to a frame that was not decoded.
    pub fn decode(&mut self, frame: &[u8]) -> Result<(usize, usize, Vec<u8>), Refusal> {
        let length = c_uint::try_from(frame.len()).map_err(|_too_long| Refusal("too many bytes".to_owned()))?;
        // SAFETY: the bytes live until the call returns; the library reads no more than their length.
        checked(unsafe { vpx_codec_decode(&raw mut *self.0.0, frame.as_ptr(), length, ptr::null_mut(), 0) })?;
        let mut iterator = ptr::null();
        // SAFETY: the state is open and the iterator is local; a non-null image is valid until the next call.
        let image = unsafe { vpx_codec_get_frame(&raw mut *self.0.0, &raw mut iterator).as_ref() };
        let image = image.ok_or_else(|| Refusal("no frame".to_owned()))?;
        let (width, height, stride) = (image.d_w as usize, image.d_h as usize, image.stride[0] as isize);
        let row = |y: usize| {
            // SAFETY: the library's image has `d_h` rows of `d_w` bytes, `stride` apart.
            unsafe { std::slice::from_raw_parts(image.planes[0].offset(y as isize * stride), width) }
        };
        Ok((width, height, (0..height).flat_map(row).copied().collect()))
    }
}

fn checked(code: vpx_codec_err_t) -> Result<(), Refusal> {
    if code == vpx_codec_err_t::VPX_CODEC_OK {
        return Ok(());
    }
    // SAFETY: the library returns a constant text for every code, known or not.
    let text = unsafe { CStr::from_ptr(vpx_codec_err_to_string(code)) };
    Err(Refusal(text.to_string_lossy().into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: Settings = Settings { width: 64, height: 32, bits_per_second: 200_000, speed: -12 };

    #[test]
    fn planes_of_another_size_are_refused_and_the_stream_continues() {
        let mut encoder = Encoder::new(&SETTINGS).expect("an encoder");
        let (luma, chroma) = ([80; 64 * 32], [128; 32 * 16]);
        assert!(encoder.encode([&luma[1..], &chroma, &chroma], 0, 40_000, Start::Open).is_err());
        assert!(encoder.encode([&luma, &chroma, &[]], 0, 40_000, Start::Open).is_err());
        let first = encoder.encode([&luma, &chroma, &chroma], 0, 40_000, Start::Open).expect("a frame");
        let (width, height, seen) = Decoder::new().expect("a decoder").decode(&first.bytes).expect("a frame");
        assert!(first.is_key && (width, height) == (64, 32) && seen.iter().all(|luma| luma.abs_diff(80) < 4));
    }

    #[test]
    fn invalid_sizes_and_bytes_are_refused() {
        assert!(Encoder::new(&Settings { width: 0, ..SETTINGS }).is_err());
        assert!(Encoder::new(&Settings { height: 33, ..SETTINGS }).is_err());
        assert!(Encoder::new(&Settings { width: 16_384, ..SETTINGS }).is_err());
        let mut decoder = Decoder::new().expect("a decoder");
        assert!(decoder.decode(&[]).is_err() && decoder.decode(&[7; 40]).is_err());
    }
}
