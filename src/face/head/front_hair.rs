//! Front hair, drawn first into a buffer of its own: what it occludes is not drawn.

use super::camera::{Camera, HeadTurn};
use super::hair::{Hair, Span};
use super::texture::blend_over;

/// Side of a block in pixels.
const BLOCK: usize = 8;

/// The hair of a frame, and the pixels that it occludes.
#[derive(Debug, Default)]
pub struct FrontHair {
    side: usize,
    pixels: Vec<[u8; 4]>,
    /// Bounding box: left, top, right, bottom.
    area: [usize; 4],
    /// Whether a block is occluded completely, row by row.
    blocks: Vec<bool>,
}

impl FrontHair {
    /// Replaces the hair of the last frame, for a frame of `side` pixels.
    pub fn draw(&mut self, hair: Option<&Hair>, camera: &Camera, turn: HeadTurn, side: usize) {
        self.clear(side);
        let Some(hair) = hair else { return };
        let mut area = [side, side, 0, 0];
        hair.spans(camera, turn, side, |span| {
            let Span { y, from, to, .. } = span;
            area = [area[0].min(from), area[1].min(y), area[2].max(to), area[3].max(y + 1)];
            hair.replace(&span, &mut self.pixels[y * side + from..y * side + to]);
        });
        if area[0] < area[2] {
            self.area = area;
            self.find_blocks();
        }
    }

    /// First column and pixels of a row.
    pub fn row(&self, y: usize) -> (usize, &[[u8; 4]]) {
        let [left, top, right, bottom] = self.area;
        if (top..bottom).contains(&y) {
            return (left, &self.pixels[y * self.side + left..y * self.side + right]);
        }
        (left, &[])
    }

    /// Whether all pixels of a box (left, top, right, bottom) are occluded.
    pub fn hides(&self, bounds: [f32; 4]) -> bool {
        let across = self.side.div_ceil(BLOCK);
        let block = |value: f32| value.max(0.0) as usize / BLOCK;
        let (left, right) = (block(bounds[0] - 1.0), block(bounds[2] + 1.0));
        let (top, bottom) = (block(bounds[1] - 1.0), block(bounds[3] + 1.0));
        let is_hidden = |row: usize| self.blocks.get(row * across + left..=row * across + right);
        right < across
            && (top..=bottom).all(|row| is_hidden(row).is_some_and(|blocks| blocks.iter().all(|block| *block)))
    }

    /// Blends the hair over a frame.
    pub fn cover(&self, picture: &mut [[u8; 4]]) {
        for y in self.area[1]..self.area[3] {
            let (left, row) = self.row(y);
            blend_over(row, &mut picture[y * self.side + left..]);
        }
    }

    fn clear(&mut self, side: usize) {
        if self.side != side {
            self.side = side;
            self.pixels = vec![[0; 4]; side * side];
        }
        let [left, top, right, bottom] = std::mem::take(&mut self.area);
        for y in top..bottom.min(side) {
            self.pixels[y * side + left.min(side)..y * side + right.min(side)].fill([0; 4]);
        }
        self.blocks.clear();
        self.blocks.resize(side.div_ceil(BLOCK) * side.div_ceil(BLOCK), false);
    }

    fn find_blocks(&mut self) {
        let across = self.side.div_ceil(BLOCK);
        let [left, top, right, bottom] = self.area.map(|value| value / BLOCK);
        for (y, x) in (top + 1..bottom).flat_map(|y| (left + 1..right).map(move |x| (y, x))) {
            let mut rows = (y * BLOCK..(y + 1) * BLOCK).map(|row| &self.pixels[row * self.side + x * BLOCK..][..BLOCK]);
            self.blocks[y * across + x] = rows.all(|row| row.iter().all(|pixel| pixel[3] == 255));
        }
    }
}
