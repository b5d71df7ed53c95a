//! Trials of every kernel: an order, what goes in, and how far what comes out may be from the twin's.
//!
//! Decides what is tried and how it is measured. Whoever has something that claims to be the kernel (a card, a compiler for the
//! CPU) runs the order and hands the buffers to [`Check::judge`].

use super::half::{Element, Half};
use super::launch::{HostBuffer, Launch, SizeError};
use super::{
    Depth, Filter, Guidance, GuidedEuler, Layout, Loudest, Mel, Paste, PcmToF32, Range, Resize, Span, Standard, ToYuv,
    Window, WindowInput,
};

/// One launch to try.
#[derive(Clone, Debug)]
pub struct Check {
    /// The launch.
    pub order: Launch,
    /// What its buffers hold before.
    pub buffers: Vec<HostBuffer>,
}

/// How far a kernel was from its twin.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    /// The largest difference: of bytes as a share of 255, of others as a share of the value where that is above one.
    pub error: f64,
    /// The largest that is allowed.
    pub tolerance: f64,
    /// How many values were compared.
    pub values: usize,
}

impl Verdict {
    /// Whether it is near enough.
    #[must_use]
    pub fn is_passed(&self) -> bool {
        self.error <= self.tolerance
    }
}

/// The largest difference that values may have.
#[must_use]
pub fn tolerance(element: Element) -> f64 {
    match element {
        // And what rounding adds to the difference of two shares of 255.
        Element::U8 => 1.0 / 255.0 + 1e-9,
        Element::F16 => 1e-3,
        Element::I16 | Element::I32 | Element::F32 => 1e-5,
    }
}

impl Check {
    /// Compares what a kernel left in `found` with what the twin leaves.
    ///
    /// # Errors
    /// If the buffers are not those of the trial.
    pub fn judge(&self, found: &[HostBuffer]) -> Result<Vec<Verdict>, SizeError> {
        let mut wanted = self.buffers.clone();
        self.order.reckon(&mut wanted)?;
        let places = self.order.kernel().places;
        if found.len() != places.len() {
            let found = format!("{} of {}", found.len(), places.len());
            return Err(SizeError { wanted: "every buffer of the trial", found });
        }
        let verdict = |((place, wanted), found): ((&super::Place, &HostBuffer), &HostBuffer)| {
            let [wanted, found] = [wanted, found].map(|buffer| values(buffer, place.element));
            let error = wanted.iter().zip(&found).map(|(a, b)| difference(*a, *b)).fold(0.0, f64::max);
            let error = if wanted.len() == found.len() { error } else { f64::INFINITY };
            // What must not be written must be as it was.
            let tolerance = if place.is_written { tolerance(place.element) } else { 0.0 };
            Verdict { error, tolerance, values: wanted.len() }
        };
        Ok(places.iter().zip(&wanted).zip(found).map(verdict).collect())
    }
}

/// The values of a buffer; bytes as shares of 255, and integers of kernels are keys of floats.
fn values(buffer: &HostBuffer, element: Element) -> Vec<f64> {
    let bytes = buffer.to_bytes();
    let value = |chunk: &[u8]| match (element, chunk) {
        (Element::U8, [byte]) => f64::from(*byte) / 255.0,
        (Element::I16, &[a, b]) => f64::from(i16::from_ne_bytes([a, b])),
        (Element::F16, &[a, b]) => f64::from(Half(u16::from_ne_bytes([a, b])).value()),
        (Element::I32, &[a, b, c, d]) => f64::from(super::mel::unordered(i32::from_ne_bytes([a, b, c, d]))),
        (Element::F32, &[a, b, c, d]) => f64::from(f32::from_ne_bytes([a, b, c, d])),
        _ => f64::NAN,
    };
    bytes.chunks(element.bytes()).map(value).collect()
}

/// The same bits are no difference, also where they are no number.
fn difference(wanted: f64, found: f64) -> f64 {
    if wanted.to_bits() == found.to_bits() {
        return 0.0;
    }
    let difference = (wanted - found).abs() / wanted.abs().max(1.0);
    if difference.is_nan() { f64::INFINITY } else { difference }
}

/// Numbers that look like chance and are the same each time (xorshift).
struct Chance(u64);

impl Chance {
    /// Between `low` and `high`.
    fn between(&mut self, low: f32, high: f32) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        low + (self.0 >> 40) as f32 / 16_777_216.0 * (high - low)
    }

    fn buffer(&mut self, element: Element, bytes: usize, reach: f32) -> HostBuffer {
        let mut all = Vec::with_capacity(bytes);
        while all.len() < bytes {
            let value = self.between(-reach, reach);
            match element {
                Element::U8 => all.push(0x5a),
                Element::I16 => all.extend(((value / reach * 32767.0) as i16).to_ne_bytes()),
                Element::I32 => all.extend(super::mel::ordered(value).to_ne_bytes()),
                Element::F16 => all.extend(Half::of(value).0.to_ne_bytes()),
                Element::F32 => all.extend(value.to_ne_bytes()),
            }
        }
        HostBuffer::of(&all)
    }

    /// A trial whose values lie within `reach` of nothing.
    fn trial(&mut self, order: Launch, reach: f32) -> Check {
        let places = order.kernel().places.iter().zip(order.bytes());
        let buffers = places.map(|(place, bytes)| self.buffer(place.element, *bytes + BEHIND_BYTES, reach)).collect();
        Check { order, buffers }
    }
}

/// What follows each buffer: it must stay as it is.
const BEHIND_BYTES: usize = 64;

const DEPTHS: [Depth; 2] = [Depth::F32, Depth::F16];

/// Trials of every kernel, over sizes that shows have and over odd ones.
///
/// # Errors
/// Never: the sizes are constants.
pub fn trials() -> Result<Vec<Check>, SizeError> {
    let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
    Ok([pictures(&mut chance)?, sounds(&mut chance)?, latents(&mut chance)?].concat())
}

fn pictures(chance: &mut Chance) -> Result<Vec<Check>, SizeError> {
    let mut all = Vec::new();
    for depth in DEPTHS {
        for size in [(256, 256), (61, 35), (1, 1)] {
            for standard in [Standard::Bt601, Standard::Bt709] {
                for (range, layout) in [Range::Full, Range::Limited].into_iter().zip([Layout::I420, Layout::Nv12]) {
                    // A little more than pictures should have, so that limits are kept to.
                    all.push(chance.trial(ToYuv::new(size, standard, range).order(depth, layout)?, 1.1));
                    let other = if layout == Layout::I420 { Layout::Nv12 } else { Layout::I420 };
                    all.push(chance.trial(ToYuv::new(size, standard, range).order(depth, other)?, 1.1));
                }
            }
        }
        for filter in [Filter::Bilinear, Filter::Area] {
            for (from, to) in [((256, 256), (128, 128)), ((97, 53), (211, 120)), ((160, 90), (48, 48))] {
                all.push(chance.trial(Resize::whole(3, from, to).order(depth, filter)?, 1.0));
                all.push(chance.trial(Resize::letterbox(3, from, to, -1.0).order(depth, filter)?, 1.0));
            }
        }
        for (at, feather_px) in [((50, 60), 16), ((-30, 130), 40), ((120, -7), 0)] {
            let paste = Paste { face: (100, 81), picture: (180, 160), at, feather_px };
            all.push(chance.trial(paste.order(depth)?, 1.0));
        }
    }
    Ok(all)
}

fn sounds(chance: &mut Chance) -> Result<Vec<Check>, SizeError> {
    let (samples, frames) = (3200, 20);
    let mut all = vec![chance.trial(PcmToF32::new(48_001, 1.5).order()?, 1.0)];
    for (mel, lead) in [(Mel::portrait(40), 0), (Mel::portrait(48), 0), (Mel::whisper(), 200)] {
        let tables = mel.tables();
        let mut trial = chance.trial(mel.power(samples, frames, lead).order()?, 0.9);
        trial.buffers[1] = of_floats(&tables.hann);
        trial.buffers[2] = of_floats(&tables.turn);
        let mut power = trial.buffers.clone();
        trial.order.reckon(&mut power)?;
        all.push(trial);
        let bands = mel.bands_of(frames, 1e-7);
        for order in [bands.natural()?, bands.decimal()?] {
            let mut trial = chance.trial(order, 1.0);
            trial.buffers[0] = power[3].clone();
            trial.buffers[1] = of_floats(&tables.weights);
            all.push(trial);
        }
    }
    all.push(chance.trial(Loudest { frames: 299, bands: 80 }.order()?, 9.0));
    all.push(chance.trial(Span { values: 80 * 299, below: 8.0 }.order()?, 9.0));
    Ok(all)
}

fn latents(chance: &mut Chance) -> Result<Vec<Check>, SizeError> {
    let guidance = Guidance { appearance: 2.0, audio: 7.5 };
    let film = Window { values: 4 * 16 * 16, window: 25, frames: 60, start: 0, shift: 0 };
    let windows = [film, Window { start: 50, shift: 21, ..film }, Window { frames: 12, shift: 7, values: 33, ..film }];
    let mut all = Vec::new();
    for depth in DEPTHS {
        for window in windows {
            for noises in [(700.0, 70.54), (2.269, 0.002), (0.002, 0.0)] {
                all.push(chance.trial(GuidedEuler::new(window, guidance, noises).order(depth)?, 3.0));
                all.push(chance.trial(WindowInput::new(window, noises.0).order(depth)?, 3.0));
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
    fn bytes_may_be_one_apart_wherever_they_are_and_no_two() {
        let of = |bytes: &[u8]| values(&HostBuffer::of(bytes), Element::U8);
        let apart = |a: u8, b: u8| difference(of(&[a])[0], of(&[b])[0]) <= tolerance(Element::U8);
        assert!((0..255).all(|byte| apart(byte, byte + 1) && apart(byte + 1, byte)));
        assert!((0..254).all(|byte| !apart(byte, byte + 2)));
    }

    #[test]
    fn every_kernel_is_tried() {
        let trials = trials().expect("constants");
        for kernel in super::super::kernels() {
            assert!(trials.iter().any(|trial| trial.order.kernel().name == kernel.name), "{}", kernel.name);
        }
    }

    #[test]
    fn the_twin_passes_its_own_trial_and_one_wrong_value_does_not() {
        for trial in trials().expect("constants") {
            let mut found = trial.buffers.clone();
            trial.order.reckon(&mut found).expect("buffers of the trial");
            assert!(trial.judge(&found).expect("buffers").iter().all(|verdict| verdict.error == 0.0));
            let written = trial.order.kernel().places.iter().position(|place| place.is_written).expect("one");
            let mut bytes = found[written].to_bytes();
            let last = bytes.len() - 1;
            bytes[last] ^= 0x55;
            found[written] = HostBuffer::of(&bytes);
            assert!(!trial.judge(&found).expect("buffers")[written].is_passed(), "{}", trial.order.kernel().name);
        }
    }
}
