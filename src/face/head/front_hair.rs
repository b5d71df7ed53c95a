//! The hair before the face, drawn first and apart: what it hides need not be drawn at all.

use super::camera::{Camera, HeadTurn};
use super::hair::{Hair, Span};
use super::texture::lay_over;

/// Side of a block of pixels.
const BLOCK: usize = 8;

/// A frame's worth of hair, and what it hides.
#[derive(Debug, Default)]
pub struct Front {
    side: usize,
    pixels: Vec<[u8; 4]>,
    /// The touched box: left, top, right, bottom.
    area: [usize; 4],
    /// Whether a block of pixels is hidden altogether, row by row.
    blocks: Vec<bool>,
}

impl Front {
    /// Draws `hair` for a picture of `side` pixels in place of the last frame's.
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

    /// The touched columns of a row, and where they begin.
    pub fn row(&self, y: usize) -> (usize, &[[u8; 4]]) {
        let [left, top, right, bottom] = self.area;
        if (top..bottom).contains(&y) {
            return (left, &self.pixels[y * self.side + left..y * self.side + right]);
        }
        (left, &[])
    }

    /// Whether all pixels of a box (left, top, right, bottom) are hidden.
    pub fn hides(&self, bounds: [f32; 4]) -> bool {
        let across = self.side.div_ceil(BLOCK);
        let block = |value: f32| value.max(0.0) as usize / BLOCK;
        let (left, right) = (block(bounds[0] - 1.0), block(bounds[2] + 1.0));
        let (top, bottom) = (block(bounds[1] - 1.0), block(bounds[3] + 1.0));
        let is_hidden = |row: usize| self.blocks.get(row * across + left..=row * across + right);
        right < across
            && (top..=bottom).all(|row| is_hidden(row).is_some_and(|blocks| blocks.iter().all(|block| *block)))
    }

    /// Puts the hair over a picture.
    pub fn cover(&self, picture: &mut [[u8; 4]]) {
        for y in self.area[1]..self.area[3] {
            let (left, row) = self.row(y);
            lay_over(row, &mut picture[y * self.side + left..]);
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
