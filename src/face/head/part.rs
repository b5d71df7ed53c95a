//! A part of the head that moves with the ARKit weights: its points, triangles and deltas.

use super::HeadError;
use super::arrays::Arrays;
use super::camera::Vec3;
use super::edge_aa::Edges;
use super::rig::Rig;
use crate::face::{ArkitWeights, arkit_index};

/// A mesh with linear shapes.
#[derive(Debug)]
pub struct Part {
    /// Points at rest, in camera space.
    pub points: Vec<Vec3>,
    /// Indices into the points.
    pub triangles: Vec<[u16; 3]>,
    /// The edges of the triangles.
    pub edges: Edges,
    shapes: Vec<Shape>,
}

/// What one ARKit shape moves.
#[derive(Debug)]
struct Shape {
    /// Index into the ARKit weights.
    arkit: usize,
    moves: Vec<(u16, Vec3)>,
}

impl Part {
    /// Reads the arrays that begin with `name`.
    pub fn read(arrays: &Arrays, rig: &Rig, name: &str) -> Result<Self, HeadError> {
        let count = arrays.rows(&format!("{name}_pos"))?;
        let faces = arrays.rows(&format!("{name}_tri"))?;
        let points = arrays.floats(&format!("{name}_pos"), &[count, 3])?;
        let corners = arrays.indices(&format!("{name}_tri"), &[faces, 3], count)?;
        let triangles = corners.as_chunks().0.to_vec();
        Ok(Self {
            points: points.as_chunks().0.to_vec(),
            edges: Edges::of(&triangles),
            triangles,
            shapes: read_shapes(arrays, rig, name, count)?,
        })
    }

    /// The points under these weights.
    pub fn morph(&self, weights: &ArkitWeights, out: &mut Vec<Vec3>) {
        out.clone_from(&self.points);
        for shape in &self.shapes {
            let weight = weights[shape.arkit];
            if weight == 0.0 {
                continue;
            }
            for (index, delta) in &shape.moves {
                let point = &mut out[usize::from(*index)];
                *point = std::array::from_fn(|axis| point[axis] + weight * delta[axis]);
            }
        }
    }

    /// For each ARKit shape the moves on screen (x and y) of each point, scaled by `scale[point]`; points of scale zero move
    /// nowhere. Two numbers a point.
    pub fn screen_moves(&self, scale: &[f32]) -> Vec<(usize, Vec<f32>)> {
        let rows = self.shapes.iter().map(|shape| {
            let mut row = vec![0.0; self.points.len() * 2];
            for (index, delta) in &shape.moves {
                let index = usize::from(*index);
                row[2 * index] = delta[0] * scale[index];
                row[2 * index + 1] = delta[1] * scale[index];
            }
            (shape.arkit, row)
        });
        rows.collect()
    }
}

fn read_shapes(arrays: &Arrays, rig: &Rig, name: &str, points: usize) -> Result<Vec<Shape>, HeadError> {
    let starts_name = format!("{name}_delta_start");
    let scale = rig.delta_scale.get(name).copied().filter(|scale| scale.is_finite());
    let scale = scale.ok_or_else(|| HeadError::rig(format!("no delta_scale for {name}")))?;
    let length = arrays.rows(&format!("{name}_delta_index"))?;
    let starts = arrays.words(&starts_name, &[rig.shapes.len() + 1])?;
    let indices = arrays.indices(&format!("{name}_delta_index"), &[length], points)?;
    let values = arrays.steps(&format!("{name}_delta_value"), &[length, 3], scale)?;
    let moves: Vec<(u16, Vec3)> = indices.into_iter().zip(values.as_chunks().0.iter().copied()).collect();
    let shapes = rig.shapes.iter().zip(starts.windows(2)).map(|(shape, range)| {
        let moves = moves.get(range[0] as usize..range[1] as usize);
        let moves = moves.ok_or_else(|| HeadError::mesh(&starts_name, format!("rising up to {length}"), &range[1]))?;
        let arkit = arkit_index(shape).ok_or_else(|| HeadError::rig(format!("the unknown shape {shape}")))?;
        Ok(Shape { arkit, moves: moves.to_vec() })
    });
    shapes.collect()
}
