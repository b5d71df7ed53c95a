//! Images of a head: decoded once, laid out for integer sampling.
//!
//! A skin texel takes 4 bytes, because a frame reads many and caches hold few. A plate texel takes 8 bytes, one 16-bit lane per
//! channel, so that bilinear filtering takes four multiplications (weights that sum to 256).

use std::io::Cursor;

use visage_kernels::pixels::runs::{self, Image as Texels, Layer, ONE};

use super::HeadError;
use super::rig::CanvasBox;

/// Files of an avatar, by name.
pub type Files<'a, 'b> = &'a dyn Fn(&str) -> Option<&'b [u8]>;

const MAX_SIDE: u32 = 1024;
/// Coordinates and weights are multiplied by this, so that steps along a run are precise.
pub const FINE: f32 = 16.0;

/// A decoded image: RGBA with straight alpha, colour graded.
#[derive(Clone, Debug)]
pub struct Image {
    pub width: usize,
    pub height: usize,
    pub pixels: Vec<[u8; 4]>,
}

/// Decodes `file` and applies the rig's saturation.
pub fn read_image(files: Files, file: &str, saturation: f32) -> Result<Image, HeadError> {
    let bytes = files(file).ok_or_else(|| HeadError::Missing { file: file.to_owned() })?;
    let mut image = decode(bytes).map_err(|found| HeadError::Image { file: file.to_owned(), found })?;
    for pixel in &mut image.pixels {
        let [r, g, b, a] = *pixel;
        let [r, g, b] = grade([r, g, b].map(f32::from), saturation).map(|value| (value + 0.5) as u8);
        *pixel = [r, g, b, a];
    }
    Ok(image)
}

/// Scales the saturation of a colour (0 to 255).
pub fn grade(colour: [f32; 3], saturation: f32) -> [f32; 3] {
    let grey = 0.3 * colour[0] + 0.59 * colour[1] + 0.11 * colour[2];
    colour.map(|value| (grey + (value - grey) * saturation).clamp(0.0, 255.0))
}

fn decode(bytes: &[u8]) -> Result<Image, String> {
    let mut decoder = image_webp::WebPDecoder::new(Cursor::new(bytes)).map_err(|error| error.to_string())?;
    let (width, height) = decoder.dimensions();
    if !(2..=MAX_SIDE).contains(&width) || !(2..=MAX_SIDE).contains(&height) {
        return Err(format!("{width} by {height} pixels"));
    }
    let pixels = width as usize * height as usize;
    let channels = if decoder.has_alpha() { 4 } else { 3 };
    let mut raw = vec![0; pixels * channels];
    decoder.read_image(&mut raw).map_err(|error| error.to_string())?;
    let pixels = if channels == 4 {
        raw.as_chunks().0.to_vec()
    } else {
        raw.as_chunks::<3>().0.iter().map(|&[r, g, b]| [r, g, b, 255]).collect()
    };
    Ok(Image { width: width as usize, height: height as usize, pixels })
}

/// An opaque image of skin, teeth or eye.
#[derive(Debug)]
pub struct SkinTexture {
    limit: [i32; 2],
    /// Texels.
    pub texels: Texels,
}

impl SkinTexture {
    /// Memory of its texels, four bytes each.
    pub fn size_bytes(&self) -> usize {
        self.limit.iter().map(|limit| (limit / 256 + 2) as usize).product::<usize>() * 4
    }

    /// Converts an image; its alpha is ignored.
    pub fn new(image: &Image) -> Self {
        let texels = image.pixels.iter().map(|&[r, g, b, _]| u32::from_le_bytes([r, g, b, 255]));
        Self {
            limit: [(image.width as i32 - 1) * 256 - 1, (image.height as i32 - 1) * 256 - 1],
            texels: Texels::new(image.width, texels.collect()),
        }
    }

    /// Colour at (`u`, `v`) in texels.
    pub fn colour(&self, u: f32, v: f32) -> [f32; 3] {
        let [u, v] = self.clamp([(u - 0.5) * 256.0, (v - 0.5) * 256.0]).map(|value| value * FINE);
        let mut pixel = [[0; 4]];
        let layer = Layer { first: [u, v, ONE, 0.0], ..Layer::default() };
        runs::mix([(&self.texels, &layer)].into_iter(), [0.0, 0.0], &mut pixel);
        let [[r, g, b, _]] = pixel.map(|pixel| pixel.map(f32::from));
        [r, g, b]
    }

    /// Clamps a texture coordinate (1/256 texel), with a margin for rounding along runs.
    pub fn clamp(&self, uv: [f32; 2]) -> [f32; 2] {
        [uv[0].clamp(4.0, self.limit[0] as f32 - 4.0), uv[1].clamp(4.0, self.limit[1] as f32 - 4.0)]
    }
}

/// An image with premultiplied alpha and its position on the canvas.
#[derive(Debug)]
pub struct Plate {
    pub bounds: CanvasBox,
    pub width: usize,
    pub height: usize,
    limit: [i32; 2],
    texels: Vec<u64>,
}

impl Plate {
    /// Memory of its texels, eight bytes each.
    pub fn size_bytes(&self) -> usize {
        self.texels.len() * size_of::<u64>()
    }

    /// Converts an image whose first pixel is at the top left of `bounds`.
    pub fn new(image: &Image, bounds: CanvasBox) -> Self {
        let texels = image.pixels.iter().map(|&pixel| plate_lanes(premultiply(pixel)));
        Self {
            bounds,
            width: image.width,
            height: image.height,
            limit: [(image.width as i32 - 1) * 256 - 1, (image.height as i32 - 1) * 256 - 1],
            texels: texels.collect(),
        }
    }

    /// Bilinear sample (premultiplied lanes) at (`u`, `v`), in 1/256 texel from the first texel's centre.
    #[expect(clippy::inline_always, reason = "the inner loop of every pixel: a call costs a third of a frame's time")]
    #[inline(always)]
    pub fn tap(&self, u: i32, v: i32) -> u64 {
        let (u, v) = (u.clamp(0, self.limit[0]), v.clamp(0, self.limit[1]));
        let (right, down) = ((u & 255) as u64, (v & 255) as u64);
        let at = (v >> 8) as usize * self.width + (u >> 8) as usize;
        let Some(texels) = self.texels.get(at..at + self.width + 2) else { return 0 };
        let south_east = (right * down) >> 8;
        let north_east = right - south_east;
        let south_west = down - south_east;
        let sum = texels[0] * (256 - right - south_west)
            + texels[1] * north_east
            + texels[self.width] * south_west
            + texels[self.width + 1] * south_east;
        (sum >> 8) & PLATE_LANES
    }

    /// Premultiplied texels in row-major order, red in the lowest byte.
    pub fn texels(&self) -> Vec<u32> {
        self.texels.iter().map(|lanes| u32::from_le_bytes(plate_bytes(*lanes))).collect()
    }
}

/// Mask of the low byte of each lane.
const PLATE_LANES: u64 = 0x00ff_00ff_00ff_00ff;

/// Converts straight to premultiplied alpha.
pub fn premultiply(pixel: [u8; 4]) -> [u8; 4] {
    let alpha = u32::from(pixel[3]);
    let scaled = |value: u8| ((u32::from(value) * alpha + 127) / 255) as u8;
    [scaled(pixel[0]), scaled(pixel[1]), scaled(pixel[2]), pixel[3]]
}

/// Expands four bytes to four lanes.
#[inline]
pub fn plate_lanes(pixel: [u8; 4]) -> u64 {
    let [r, g, b, a] = pixel.map(u64::from);
    r | g << 16 | b << 32 | a << 48
}

/// Mean of `count` summed pixels; `count` is a power of two up to 128.
#[inline]
pub fn plate_lanes_of(sum: u64, count: u64) -> u64 {
    sum >> count.trailing_zeros() & PLATE_LANES
}

/// Packs four lanes to bytes.
#[inline]
pub fn plate_bytes(lanes: u64) -> [u8; 4] {
    [lanes as u8, (lanes >> 16) as u8, (lanes >> 32) as u8, (lanes >> 48) as u8]
}

/// Blends `top` (premultiplied lanes) over an opaque pixel.
#[inline]
pub fn over(top: u64, below: [u8; 4]) -> [u8; 4] {
    let alpha = top >> 48;
    let rest = 256 - (alpha + (alpha >> 7));
    plate_bytes(top + ((plate_lanes(below) * rest + 0x0080_0080_0080_0080) >> 8 & PLATE_LANES))
}

/// Blends premultiplied pixels over opaque ones.
pub fn blend_over(above: &[[u8; 4]], below: &mut [[u8; 4]]) {
    for (below, above) in below.iter_mut().zip(above) {
        match above[3] {
            0 => {}
            255 => *below = *above,
            _ => *below = over(plate_lanes(*above), *below),
        }
    }
}
