//! A picture to sample from.

/// Premultiplied RGBA, cut to the part that is not transparent, with a transparent pixel around it.
#[derive(Clone, Debug)]
pub struct Texture {
    width: usize,
    height: usize,
    /// Where the cut begins in the whole picture, in pixels.
    left: i32,
    top: i32,
    pixels: Vec<[u8; 4]>,
}

impl Texture {
    /// Cuts `pixels` (rows of `width`) to what can be seen; none if nothing can.
    #[must_use]
    pub fn cut(pixels: &[[u8; 4]], width: usize) -> Option<Self> {
        let height = pixels.len() / width.max(1);
        let row_seen = |y: usize| pixels[y * width..(y + 1) * width].iter().any(|pixel| pixel[3] > 0);
        let column_seen = |x: usize| (0..height).any(|y| pixels[y * width + x][3] > 0);
        let (top, bottom) = ((0..height).find(|y| row_seen(*y))?, (0..height).rev().find(|y| row_seen(*y))?);
        let (left, right) = ((0..width).find(|x| column_seen(*x))?, (0..width).rev().find(|x| column_seen(*x))?);
        let (cut_width, cut_height) = (right - left + 3, bottom - top + 3);
        let mut cut = vec![[0; 4]; cut_width * cut_height];
        for y in top..=bottom {
            let row = &mut cut[(y - top + 1) * cut_width + 1..][..=right - left];
            row.copy_from_slice(&pixels[y * width + left..=y * width + right]);
        }
        // The picture ends where the canvas does: what touches its lower edge goes on below.
        if bottom + 1 == height {
            cut.copy_within((cut_height - 2) * cut_width..(cut_height - 1) * cut_width, (cut_height - 1) * cut_width);
        }
        Some(Self { width: cut_width, height: cut_height, left: left as i32 - 1, top: top as i32 - 1, pixels: cut })
    }

    /// Whether anything can be seen between the corners, in pixels of the whole picture.
    #[must_use]
    pub fn is_seen(&self, left: i32, top: i32, right: i32, bottom: i32) -> bool {
        let x = |x: i32| (x - self.left).clamp(0, self.width as i32) as usize;
        let y = |y: i32| (y - self.top).clamp(0, self.height as i32) as usize;
        (y(top)..y(bottom))
            .any(|row| self.pixels[row * self.width..][x(left)..x(right)].iter().any(|pixel| pixel[3] > 0))
    }

    /// The texture coordinates, in 1/65536 pixel, of a point of the whole picture in pixels.
    #[must_use]
    pub fn place(&self, x: f32, y: f32) -> [f32; 2] {
        // Sample centres lie at half pixels.
        [(x - self.left as f32 - 0.5) * 65536.0, (y - self.top as f32 - 0.5) * 65536.0]
    }

    /// The pixel at `(u, v)`, in 1/65536 pixel, bilinear; transparent outside.
    #[inline]
    #[must_use]
    pub fn sample(&self, u: i32, v: i32) -> [u8; 4] {
        let (x, y) = (u >> 16, v >> 16);
        if x < 0 || y < 0 || x as usize + 1 >= self.width || y as usize + 1 >= self.height {
            return self.edge(x, y);
        }
        let at = y as usize * self.width + x as usize;
        let (Some([a, b]), Some([c, d])) =
            (self.pixels.get(at..at + 2), self.pixels.get(at + self.width..at + self.width + 2))
        else {
            return [0; 4];
        };
        let (share_x, share_y) = ((u >> 8) as u32 & 0xff, (v >> 8) as u32 & 0xff);
        let all = [a, b, c, d].map(|pixel| u32::from_le_bytes(*pixel));
        if all[0] == all[1] && all[0] == all[2] && all[0] == all[3] {
            return *a;
        }
        let even = mix4(all.map(|pixel| pixel & 0x00ff_00ff), share_x, share_y);
        let odd = mix4(all.map(|pixel| (pixel >> 8) & 0x00ff_00ff), share_x, share_y);
        (even | odd << 8).to_le_bytes()
    }

    /// Below the last row the picture goes on; elsewhere outside there is nothing.
    #[cold]
    fn edge(&self, x: i32, y: i32) -> [u8; 4] {
        if x < 0 || x as usize >= self.width || y < 0 {
            return [0; 4];
        }
        self.pixels[(y as usize).min(self.height - 1) * self.width + x as usize]
    }
}

/// Two channels of four pixels mixed at once.
#[inline]
fn mix4([a, b, c, d]: [u32; 4], x: u32, y: u32) -> u32 {
    let top = (a * (256 - x) + b * x) >> 8 & 0x00ff_00ff;
    let bottom = (c * (256 - x) + d * x) >> 8 & 0x00ff_00ff;
    (top * (256 - y) + bottom * y) >> 8 & 0x00ff_00ff
}
