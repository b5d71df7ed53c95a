//! Pixels under triangles and outlines: textured meshes, anti-aliased outlines and the masks that cut them.
//!
//! Decides coverage and blending. Does not know what it draws.

mod mask;
mod mesh;
mod texture;

pub use mask::{Mask, MaskPainter};
pub use mesh::{Corner, Look, draw_triangle};
pub use texture::Texture;

/// `under` with the premultiplied `over` on top.
#[inline]
#[must_use]
pub fn blend(under: [u8; 4], over: [u8; 4]) -> [u8; 4] {
    let keep = 256 - (u32::from(over[3]) + u32::from(over[3] >> 7));
    let under = u32::from_le_bytes(under);
    let even = (((under & 0x00ff_00ff) * keep) >> 8) & 0x00ff_00ff;
    let odd = (((under >> 8) & 0x00ff_00ff) * keep) & 0xff00_ff00;
    (even | odd).wrapping_add(u32::from_le_bytes(over)).to_le_bytes()
}

/// A premultiplied pixel at `share` (0 to 256) of its opacity.
#[inline]
#[must_use]
pub fn faded(pixel: [u8; 4], share: u32) -> [u8; 4] {
    let pixel = u32::from_le_bytes(pixel);
    let even = (((pixel & 0x00ff_00ff) * share) >> 8) & 0x00ff_00ff;
    let odd = (((pixel >> 8) & 0x00ff_00ff) * share) & 0xff00_ff00;
    (even | odd).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opaque_covers_and_nothing_leaves_alone() {
        assert_eq!(blend([10, 20, 30, 255], [1, 2, 3, 255]), [1, 2, 3, 255]);
        assert_eq!(blend([10, 20, 30, 255], [0; 4]), [10, 20, 30, 255]);
        assert_eq!(faded([200, 100, 50, 255], 256), [200, 100, 50, 255]);
    }

    #[test]
    fn half_of_white_on_black_is_grey_and_opaque() {
        let pixel = blend([0, 0, 0, 255], faded([255; 4], 128));
        assert!((126..=129).contains(&pixel[0]) && pixel[3] >= 254, "{pixel:?}");
    }
}
