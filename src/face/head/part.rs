//! A morphing mesh: vertices, triangles and blend shape deltas.

use super::HeadError;
use super::arrays::Arrays;
use super::camera::Vec3;
use super::edge_aa::Edges;
use super::rig::Rig;
use crate::face::{ArkitWeights, arkit_index};

/// A mesh with linear blend shapes.
#[derive(Debug)]
pub struct Part {
    /// Resting vertices, in camera space.
    pub points: Vec<Vec3>,
    /// Vertex indices.
    pub triangles: Vec<[u16; 3]>,
    /// Edges of the triangles.
    pub edges: Edges,
    shapes: Vec<Shape>,
}

/// Deltas of one ARKit blend shape.
#[derive(Debug)]
struct Shape {
    /// Index of the ARKit weight.
    arkit: usize,
    moves: Vec<(u16, Vec3)>,
}

impl Part {
    /// Reads the arrays whose names begin with `name`.
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

    /// Writes the vertices for the given weights to `out`.
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

    /// For each blend shape, the displacement of each vertex in x and y, scaled by `scale[vertex]`: two numbers per vertex.
    pub fn screen_displacements(&self, scale: &[f32]) -> Vec<(usize, Vec<f32>)> {
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
    let scale = scale.ok_or_else(|| HeadError::rig(format!("delta_scale of {name} is missing")))?;
    let length = arrays.rows(&format!("{name}_delta_index"))?;
    let starts = arrays.words(&starts_name, &[rig.shapes.len() + 1])?;
    let indices = arrays.indices(&format!("{name}_delta_index"), &[length], points)?;
    let values = arrays.steps(&format!("{name}_delta_value"), &[length, 3], scale)?;
    let moves: Vec<(u16, Vec3)> = indices.into_iter().zip(values.as_chunks().0.iter().copied()).collect();
    let shapes = rig.shapes.iter().zip(starts.windows(2)).map(|(shape, range)| {
        let moves = moves.get(range[0] as usize..range[1] as usize);
        let moves = moves
            .ok_or_else(|| HeadError::mesh(&starts_name, format!("ascending values up to {length}"), &range[1]))?;
        let arkit = arkit_index(shape).ok_or_else(|| HeadError::rig(format!("unknown shape {shape}")))?;
        Ok(Shape { arkit, moves: moves.to_vec() })
    });
    shapes.collect()
}
