//! Checks of every kernel: a launch, the contents of its buffers, and how far results may be from the reference
//! implementation's.
//!
//! Decides what is checked and how differences are measured. An implementation of the kernel (a GPU, or the sources compiled for
//! the CPU) runs the launch; [`Check::judge`] compares its buffers.

use super::launch::{HostBuffer, KernelBuffer, Launch, SizeError};
use super::{
    ClampRange, Filter, FloatType, Guidance, GuidedEuler, Layout, MaxReduce, Mel, Paste, PcmToF32, Range, Resize,
    Standard, ToYuv, Window, WindowInput,
};
use crate::dtype::Half;
use visage_engines::DType;

/// One launch to check.
#[derive(Clone, Debug)]
pub struct Check {
    /// The launch.
    pub launch: Launch,
    /// The contents of its buffers before it.
    pub buffers: Vec<HostBuffer>,
}

/// How far one buffer of a kernel is from the reference's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    /// The largest difference: of bytes as a fraction of 255; of other types relative to values above one, else absolute.
    pub error: f64,
    /// The largest difference allowed.
    pub tolerance: f64,
    /// How many values were compared.
    pub values: usize,
}

impl Verdict {
    /// Whether the error is within the tolerance.
    #[must_use]
    pub fn is_passed(&self) -> bool {
        self.error <= self.tolerance
    }
}

/// The largest difference allowed between values of a type.
#[must_use]
pub fn tolerance(dtype: DType) -> f64 {
    match dtype {
        // One step, plus the rounding of the difference of two fractions of 255.
        DType::U8 => 1.0 / 255.0 + 1e-9,
        DType::F16 => 1e-3,
        DType::I16 | DType::I32 | DType::I64 | DType::F32 => 1e-5,
    }
}

impl Check {
    /// Compares the buffers that a kernel left with those that the reference implementation leaves.
    ///
    /// # Errors
    /// If `found` has more or fewer buffers than the check.
    pub fn judge(&self, found: &[HostBuffer]) -> Result<Vec<Verdict>, SizeError> {
        let mut wanted = self.buffers.clone();
        self.launch.compute(&mut wanted)?;
        let buffers = self.launch.kernel().buffers;
        if found.len() != buffers.len() {
            let found = format!("{} of {}", found.len(), buffers.len());
            return Err(SizeError { wanted: "every buffer of the check", found });
        }
        let verdict = |((buffer, wanted), found): ((&KernelBuffer, &HostBuffer), &HostBuffer)| {
            let [wanted, found] = [wanted, found].map(|held| values(held, buffer.dtype));
            let error = wanted.iter().zip(&found).map(|(a, b)| difference(*a, *b)).fold(0.0, f64::max);
            let error = if wanted.len() == found.len() { error } else { f64::INFINITY };
            // A buffer that the kernel only reads must stay unchanged.
            let tolerance = if buffer.is_written { tolerance(buffer.dtype) } else { 0.0 };
            Verdict { error, tolerance, values: wanted.len() }
        };
        Ok(buffers.iter().zip(&wanted).zip(found).map(verdict).collect())
    }
}

/// The values of a buffer: bytes as fractions of 255, and `i32` as the floats whose ordering keys kernels store in them.
fn values(buffer: &HostBuffer, dtype: DType) -> Vec<f64> {
    let bytes = buffer.to_bytes();
    let value = |chunk: &[u8]| match (dtype, chunk) {
        (DType::U8, [byte]) => f64::from(*byte) / 255.0,
        (DType::I16, &[a, b]) => f64::from(i16::from_ne_bytes([a, b])),
        (DType::F16, &[a, b]) => f64::from(Half(u16::from_ne_bytes([a, b])).value()),
        (DType::I32, &[a, b, c, d]) => f64::from(super::mel::from_ordered(i32::from_ne_bytes([a, b, c, d]))),
        (DType::F32, &[a, b, c, d]) => f64::from(f32::from_ne_bytes([a, b, c, d])),
        _ => f64::NAN,
    };
    bytes.chunks(dtype.bytes()).map(value).collect()
}

/// Equal bits are no difference, including NaN.
fn difference(wanted: f64, found: f64) -> f64 {
    if wanted.to_bits() == found.to_bits() {
        return 0.0;
    }
    let difference = (wanted - found).abs() / wanted.abs().max(1.0);
    if difference.is_nan() { f64::INFINITY } else { difference }
}

/// Pseudo-random numbers, the same in every run (xorshift).
struct Random(u64);

impl Random {
    /// Between `low` and `high`.
    fn between(&mut self, low: f32, high: f32) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        low + (self.0 >> 40) as f32 / 16_777_216.0 * (high - low)
    }

    fn buffer(&mut self, dtype: DType, bytes: usize, amplitude: f32) -> HostBuffer {
        let mut all = Vec::with_capacity(bytes);
        while all.len() < bytes {
            let value = self.between(-amplitude, amplitude);
            match dtype {
                DType::U8 => all.push(0x5a),
                DType::I16 => all.extend(((value / amplitude * 32767.0) as i16).to_ne_bytes()),
                DType::I32 => all.extend(super::mel::to_ordered(value).to_ne_bytes()),
                DType::I64 => all.extend((value as i64).to_ne_bytes()),
                DType::F16 => all.extend(Half::of(value).0.to_ne_bytes()),
                DType::F32 => all.extend(value.to_ne_bytes()),
            }
        }
        HostBuffer::of(&all)
    }

    /// A check whose buffers hold values between `-amplitude` and `amplitude`.
    fn check(&mut self, launch: Launch, amplitude: f32) -> Check {
        let buffers = launch.kernel().buffers.iter().zip(launch.bytes());
        let filled =
            |(buffer, bytes): (&KernelBuffer, &usize)| self.buffer(buffer.dtype, *bytes + GUARD_BYTES, amplitude);
        let buffers = buffers.map(filled).collect();
        Check { launch, buffers }
    }
}

/// Bytes behind each buffer that a kernel must leave unchanged.
const GUARD_BYTES: usize = 64;

const FLOAT_TYPES: [FloatType; 2] = [FloatType::F32, FloatType::F16];

/// Checks of every kernel, over sizes that packs use and over odd ones.
///
/// # Errors
/// Never: the sizes are constants.
pub fn checks() -> Result<Vec<Check>, SizeError> {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    Ok([images(&mut random)?, audio(&mut random)?, latents(&mut random)?].concat())
}

fn images(random: &mut Random) -> Result<Vec<Check>, SizeError> {
    let mut all = Vec::new();
    for float_type in FLOAT_TYPES {
        for size in [(256, 256), (61, 35), (1, 1)] {
            for standard in [Standard::Bt601, Standard::Bt709] {
                for range in [Range::Full, Range::Limited] {
                    for layout in [Layout::I420, Layout::Nv12] {
                        let launch = ToYuv::new(size, standard, range).launch(float_type, layout)?;
                        // A little outside of -1 to 1, so that clamping is checked.
                        all.push(random.check(launch, 1.1));
                    }
                }
            }
        }
        for filter in [Filter::Bilinear, Filter::Area] {
            for (from, to) in [((256, 256), (128, 128)), ((97, 53), (211, 120)), ((160, 90), (48, 48))] {
                all.push(random.check(Resize::whole(3, from, to).launch(float_type, filter)?, 1.0));
                all.push(random.check(Resize::letterbox(3, from, to, -1.0).launch(float_type, filter)?, 1.0));
            }
        }
        for (at, feather_px) in [((50, 60), 16), ((-30, 130), 40), ((120, -7), 0)] {
            let paste = Paste { face: (100, 81), image: (180, 160), at, feather_px };
            all.push(random.check(paste.launch(float_type)?, 1.0));
        }
    }
    Ok(all)
}

fn audio(random: &mut Random) -> Result<Vec<Check>, SizeError> {
    let (samples, frames) = (3200, 20);
    let mut all = vec![random.check(PcmToF32::new(48_001, 1.5).launch()?, 1.0)];
    for (mel, lead) in [(Mel::portrait(40), 0), (Mel::portrait(48), 0), (Mel::whisper(), 200)] {
        let tables = mel.tables();
        let mut check = random.check(mel.power(samples, frames, lead).launch()?, 0.9);
        check.buffers[1] = of_floats(&tables.hann);
        check.buffers[2] = of_floats(&tables.twiddles);
        let mut power = check.buffers.clone();
        check.launch.compute(&mut power)?;
        all.push(check);
        let bands = mel.bands_of(frames, 1e-7);
        for launch in [bands.natural()?, bands.decimal()?] {
            let mut check = random.check(launch, 1.0);
            check.buffers[0] = power[3].clone();
            check.buffers[1] = of_floats(&tables.weights);
            all.push(check);
        }
    }
    all.push(random.check(MaxReduce { frames: 299, bands: 80 }.launch()?, 9.0));
    all.push(random.check(ClampRange { values: 80 * 299, range: 8.0 }.launch()?, 9.0));
    Ok(all)
}

fn latents(random: &mut Random) -> Result<Vec<Check>, SizeError> {
    let guidance = Guidance { appearance: 2.0, audio: 7.5 };
    let first = Window { values: 4 * 16 * 16, window: 25, frames: 60, start: 0, shift: 0 };
    let windows =
        [first, Window { start: 50, shift: 21, ..first }, Window { frames: 12, shift: 7, values: 33, ..first }];
    let mut all = Vec::new();
    for float_type in FLOAT_TYPES {
        for window in windows {
            for sigmas in [(700.0, 70.54), (2.269, 0.002), (0.002, 0.0)] {
                all.push(random.check(GuidedEuler::new(window, guidance, sigmas).launch(float_type)?, 3.0));
                all.push(random.check(WindowInput::new(window, sigmas.0).launch(float_type)?, 3.0));
            }
        }
    }
    Ok(all)
}

fn of_floats(values: &[f32]) -> HostBuffer {
    HostBuffer::of(&values.iter().flat_map(|value| value.to_ne_bytes()).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_may_differ_by_one_step_and_not_by_two() {
        let of = |bytes: &[u8]| values(&HostBuffer::of(bytes), DType::U8);
        let passes = |a: u8, b: u8| difference(of(&[a])[0], of(&[b])[0]) <= tolerance(DType::U8);
        assert!((0..255).all(|byte| passes(byte, byte + 1) && passes(byte + 1, byte)));
        assert!((0..254).all(|byte| !passes(byte, byte + 2)));
    }

    #[test]
    fn every_kernel_is_checked() {
        let checks = checks().expect("constants");
        for kernel in super::super::kernels() {
            assert!(checks.iter().any(|check| check.launch.kernel().name == kernel.name), "{}", kernel.name);
        }
    }

    #[test]
    fn the_reference_passes_its_own_check_and_one_wrong_value_fails_it() {
        for check in checks().expect("constants") {
            let mut found = check.buffers.clone();
            check.launch.compute(&mut found).expect("buffers of the check");
            assert!(check.judge(&found).expect("buffers").iter().all(|verdict| verdict.error == 0.0));
            let written = check.launch.kernel().buffers.iter().position(|buffer| buffer.is_written).expect("one");
            let mut bytes = found[written].to_bytes();
            let last = bytes.len() - 1;
            bytes[last] ^= 0x55;
            found[written] = HostBuffer::of(&bytes);
            assert!(!check.judge(&found).expect("buffers")[written].is_passed(), "{}", check.launch.kernel().name);
        }
    }
}
