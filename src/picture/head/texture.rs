//! Images of a head, decoded once and laid out for sampling without floating point.
//!
//! A texel is one word with a lane for each channel, so that four taps are four products. Skin has three lanes of 21 bits
//! (room for weights that sum to 4096), plates have four of 16 bits (weights that sum to 256).

use std::io::Cursor;

use super::HeadError;
use super::rig::CanvasBox;

/// The files of an avatar, by name.
pub type Files<'a, 'b> = &'a dyn Fn(&str) -> Option<&'b [u8]>;

const MAX_SIDE: u32 = 1024;
/// Steps along a run are so much finer than places and weights.
pub const FINE: f32 = 16.0;
/// Weights of the skin's taps sum to this.
pub const SKIN_ONE: i32 = 4096;

/// A decoded image: straight RGBA, graded.
#[derive(Clone, Debug)]
pub struct Image {
    pub width: usize,
    pub height: usize,
    pub pixels: Vec<[u8; 4]>,
}

/// Decodes `file` and gives its colours the rig's saturation.
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

/// Moves a colour (0 to 255) away from its grey.
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
    stride: usize,
    limit: [i32; 2],
    texels: Vec<u64>,
}

impl SkinTexture {
    /// Lays out an image; its alpha is not looked at.
    pub fn new(image: &Image) -> Self {
        let pack = |pixel: &[u8; 4]| skin_lanes([pixel[0], pixel[1], pixel[2]]);
        Self {
            stride: image.width,
            limit: [(image.width as i32 - 1) * 256 - 1, (image.height as i32 - 1) * 256 - 1],
            texels: image.pixels.iter().map(pack).collect(),
        }
    }

    /// The lanes at (`u`, `v`), in 1/256 of a texel counted from the first texel's centre, times `weight` (of [`SKIN_ONE`]).
    #[expect(clippy::inline_always, reason = "the innermost step of every pixel: a call costs a third of a frame")]
    #[inline(always)]
    pub fn tap(&self, u: i32, v: i32, weight: i32) -> u64 {
        let (u, v) = (u.clamp(0, self.limit[0]), v.clamp(0, self.limit[1]));
        let (right, down) = (u & 255, v & 255);
        let at = (v >> 8) as usize * self.stride + (u >> 8) as usize;
        let Some(texels) = self.texels.get(at..at + self.stride + 2) else { return 0 };
        let east = (weight * right) >> 8;
        let west = weight - east;
        let south_east = (east * down) >> 8;
        let south_west = (west * down) >> 8;
        texels[0] * (west - south_west) as u64
            + texels[1] * (east - south_east) as u64
            + texels[self.stride] * south_west as u64
            + texels[self.stride + 1] * south_east as u64
    }

    /// Adds the lanes along a straight way to `sums`: `at` and `step` are u, v and weight as for [`Self::tap`], times
    /// [`FINE`]. A way that leaves the image ends there.
    #[inline]
    pub fn add_run(&self, at: [i32; 3], step: [i32; 3], sums: &mut [u64]) {
        let [mut u, mut v, mut weight] = at;
        for sum in sums {
            let (right, down, share) = (u >> 4 & 255, v >> 4 & 255, weight >> 4);
            let at = ((v >> 12) as usize).wrapping_mul(self.stride).wrapping_add((u >> 12) as usize);
            let Some(texels) = self.texels.get(at..at.wrapping_add(self.stride + 2)) else { return };
            let east = (share * right) >> 8;
            let west = share - east;
            let south_east = (east * down) >> 8;
            let south_west = (west * down) >> 8;
            // A weight that was rounded below nothing borrows from the lane above, which the other layers give back.
            let taps = [
                texels[0].wrapping_mul((west - south_west) as u64),
                texels[1].wrapping_mul((east - south_east) as u64),
                texels[self.stride].wrapping_mul(south_west as u64),
                texels[self.stride + 1].wrapping_mul(south_east as u64),
            ];
            *sum = taps.into_iter().fold(*sum, u64::wrapping_add);
            (u, v, weight) = (u.wrapping_add(step[0]), v.wrapping_add(step[1]), weight.wrapping_add(step[2]));
        }
    }

    /// The colour at (`u`, `v`) in texels.
    pub fn colour(&self, u: f32, v: f32) -> [f32; 3] {
        let lanes = self.tap(((u - 0.5) * 256.0) as i32, ((v - 0.5) * 256.0) as i32, SKIN_ONE);
        skin_bytes(lanes >> 12).map(f32::from)
    }

    /// Keeps a texture coordinate (1/256 texel) inside, and a little more, since runs are rounded.
    pub fn clamp(&self, uv: [f32; 2]) -> [f32; 2] {
        [uv[0].clamp(4.0, self.limit[0] as f32 - 4.0), uv[1].clamp(4.0, self.limit[1] as f32 - 4.0)]
    }
}

/// A colour as three lanes.
pub fn skin_lanes(colour: [u8; 3]) -> u64 {
    u64::from(colour[0]) | u64::from(colour[1]) << 21 | u64::from(colour[2]) << 42
}

/// Three lanes whose values are below 256 as a colour.
#[inline]
pub fn skin_bytes(lanes: u64) -> [u8; 3] {
    [lanes as u8, (lanes >> 21) as u8, (lanes >> 42) as u8]
}

/// An image with alpha (premultiplied) at its place on the canvas.
#[derive(Debug)]
pub struct Plate {
    pub bounds: CanvasBox,
    pub width: usize,
    pub height: usize,
    limit: [i32; 2],
    texels: Vec<u64>,
}

impl Plate {
    /// Lays out an image whose first pixel lies at the top left of `bounds`.
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

    /// The premultiplied lanes at (`u`, `v`), in 1/256 of a texel counted from the first texel's centre.
    #[expect(clippy::inline_always, reason = "the innermost step of every pixel: a call costs a third of a frame")]
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

    /// Its premultiplied texels row by row, red in the lowest byte.
    pub fn texels(&self) -> Vec<u32> {
        self.texels.iter().map(|lanes| u32::from_le_bytes(plate_bytes(*lanes))).collect()
    }
}

/// The low byte of each of a plate's lanes.
const PLATE_LANES: u64 = 0x00ff_00ff_00ff_00ff;

/// Straight alpha to premultiplied.
pub fn premultiply(pixel: [u8; 4]) -> [u8; 4] {
    let alpha = u32::from(pixel[3]);
    let scaled = |value: u8| ((u32::from(value) * alpha + 127) / 255) as u8;
    [scaled(pixel[0]), scaled(pixel[1]), scaled(pixel[2]), pixel[3]]
}

/// Four bytes as four lanes.
#[inline]
pub fn plate_lanes(pixel: [u8; 4]) -> u64 {
    let [r, g, b, a] = pixel.map(u64::from);
    r | g << 16 | b << 32 | a << 48
}

/// Four lanes as bytes.
#[inline]
pub fn plate_bytes(lanes: u64) -> [u8; 4] {
    [lanes as u8, (lanes >> 16) as u8, (lanes >> 32) as u8, (lanes >> 48) as u8]
}

/// `top` (premultiplied lanes) over an opaque pixel.
#[inline]
pub fn over(top: u64, below: [u8; 4]) -> [u8; 4] {
    let alpha = top >> 48;
    let rest = 256 - (alpha + (alpha >> 7));
    plate_bytes(top + ((plate_lanes(below) * rest + 0x0080_0080_0080_0080) >> 8 & PLATE_LANES))
}
