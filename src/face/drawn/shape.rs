//! Vector shapes that morph with the states of their group.

use super::check::{small, want};
use super::error::{RigError, format_error};
use super::format::ShapeFile;
use super::parameters::ParameterTable;
use crate::face::raster::Colour;

const POINTS_MAX: usize = 1024;

/// A closed polygon: the upper edge, then the lower edge in reverse.
#[derive(Debug)]
pub(super) struct Shape {
    pub colour: Colour,
    /// Index of the shape that clips it.
    pub clip: Option<usize>,
    /// Whether edges that cross are joined, as lips are.
    is_cavity: bool,
    rest: Vec<[f32; 2]>,
    /// For each state of the shape: its index and the offsets of the points.
    states: Vec<(usize, Vec<[f32; 2]>)>,
}

impl Shape {
    /// Reads the shape `name`.
    pub(super) fn read(
        name: &str,
        file: &ShapeFile,
        table: &ParameterTable,
        number: &dyn Fn(&str) -> Result<usize, RigError>,
    ) -> Result<Self, RigError> {
        let rest = points(name, &file.rest)?;
        let mut states = Vec::new();
        for (state, at) in &file.states {
            let at = points(name, at)?;
            if at.len() != rest.len() {
                let found = format!("{} points in state {state} of {name}, {} at rest", at.len(), rest.len());
                return Err(format_error(found));
            }
            let offsets = at.iter().zip(&rest).map(|(at, rest)| [at[0] - rest[0], at[1] - rest[1]]).collect();
            states.extend(table.number(&file.group, state).map(|state| (state, offsets)));
        }
        want!((0.0..=1.0).contains(&file.opacity), "an opacity of 0 to 1 for {name}");
        let colour = Colour { rgb: rgb(name, &file.fill)?, opacity: (file.opacity * 256.0).round() as u32 };
        let clip = file.clip.as_deref().map(number).transpose()?;
        Ok(Self { colour, clip, is_cavity: name.ends_with("cavity"), rest, states })
    }

    /// Writes the polygon for the given state weights to `points`.
    pub(super) fn morph(&self, weights: &[f32], points: &mut Vec<[f32; 2]>) {
        points.clear();
        points.extend_from_slice(&self.rest);
        for (state, offsets) in &self.states {
            let weight = weights[*state];
            if weight != 0.0 {
                let pairs = points.as_flattened_mut().iter_mut().zip(offsets.as_flattened());
                pairs.for_each(|(point, offset)| *point += weight * offset);
            }
        }
        if self.is_cavity {
            close(points);
        }
    }
}

/// Where the lower edge of a cavity is above its upper edge, both move to the midpoint.
fn close(points: &mut [[f32; 2]]) {
    let (upper, lower) = points.split_at_mut(points.len() / 2);
    for (upper, lower) in upper.iter_mut().zip(lower.iter_mut().rev()) {
        if lower[1] < upper[1] {
            *upper = [f32::midpoint(upper[0], lower[0]), f32::midpoint(upper[1], lower[1])];
            *lower = *upper;
        }
    }
}

fn points(name: &str, flat: &[f32]) -> Result<Vec<[f32; 2]>, RigError> {
    let (pairs, odd) = flat.as_chunks::<2>();
    let fits = odd.is_empty() && pairs.len().is_multiple_of(2) && (4..=POINTS_MAX).contains(&pairs.len());
    want!(fits, "an even number of 4 to {POINTS_MAX} points for {name}");
    want!(small(flat), "points within +-16384 for {name}");
    Ok(pairs.to_vec())
}

fn rgb(name: &str, text: &str) -> Result<[u8; 3], RigError> {
    let wrong = || format_error(format!("expected a colour #rrggbb for {name}, found \"{text}\""));
    let is_hex = text.len() == 7 && text.bytes().skip(1).all(|byte| byte.is_ascii_hexdigit());
    let hex = text.strip_prefix('#').filter(|_| is_hex).ok_or_else(wrong)?;
    let value = u32::from_str_radix(hex, 16).map_err(|_not_hex| wrong())?;
    Ok([(value >> 16) as u8, (value >> 8) as u8, value as u8])
}
