//! Weights of the key poses for given ARKit weights.
//!
//! For each region of the skin: the convex combination of its keys that approximates the pose best. The distance is the
//! displacement on screen inside the region, plus a penalty on keys that are far from the pose individually.

use super::part::Part;
use super::rig::{MAX_KEYS, Rig};
use crate::face::{ARKIT_NAMES, ArkitWeights, arkit_index};

const SHAPES: usize = ARKIT_NAMES.len();
/// Penalty on keys that are far from the pose individually, against the error of the combination.
const NEARNESS: f32 = 0.30;
const STEPS: usize = 80;
/// Iteration stops when no weight changes by more than this.
const STILL: f32 = 1e-5;
/// Maximum number of keys per region.
const TOP: usize = 3;

/// A region of the skin and its keys.
#[derive(Debug)]
pub struct Region {
    /// Weight of the region at each vertex of the skin.
    pub mask: Vec<f32>,
    /// Indices of its keys; the first is neutral.
    pub keys: Vec<usize>,
    /// The keys' ARKit weights times the metric.
    pull: Vec<[f32; SHAPES]>,
    /// Gram matrix of the keys.
    gram: Vec<Vec<f32>>,
    step: f32,
}

/// Weight of each key of a region.
pub type KeyWeights = [f32; MAX_KEYS];

impl Region {
    /// Computes metric and Gram matrix of the keys of `family` inside `mask`.
    pub fn new(rig: &Rig, skin: &Part, mask: Vec<f32>, family: &str) -> Self {
        let is_member = |region: &str| region == "neutral" || region == family;
        let keys: Vec<usize> = (0..rig.keys.len()).filter(|&key| is_member(&rig.keys[key].region)).collect();
        let metric = metric(skin, &mask);
        let poses: Vec<[f32; SHAPES]> = keys.iter().map(|&key| pose_of(rig, key)).collect();
        let pull: Vec<[f32; SHAPES]> =
            poses.iter().map(|pose| std::array::from_fn(|i| inner(&metric[i], pose))).collect();
        let gram: Vec<Vec<f32>> = pull.iter().map(|row| poses.iter().map(|pose| inner(row, pose)).collect()).collect();
        let step = 1.0 / (2.0 * largest_eigenvalue(&gram) + 1e-9);
        Self { mask, keys, pull, gram, step }
    }

    /// Weights of the region's keys, in the order of `keys`; they sum to 1.
    pub fn compute(&self, weights: &ArkitWeights) -> KeyWeights {
        let n = self.keys.len();
        let mut linear = [0.0; MAX_KEYS];
        for (i, row) in self.pull.iter().enumerate() {
            let pull = inner(row, weights);
            linear[i] = NEARNESS * (self.gram[i][i] - 2.0 * pull) - 2.0 * pull;
        }
        let mut found = self.descend(&linear);
        let mut sorted = found;
        sorted[..n].sort_unstable_by(|a, b| b.total_cmp(a));
        let floor = if n > TOP { sorted[TOP] } else { 0.0 };
        found[..n].iter_mut().for_each(|weight| *weight = (*weight - floor).max(0.0));
        let sum: f32 = found[..n].iter().sum::<f32>().max(1e-9);
        found[..n].iter_mut().for_each(|weight| *weight /= sum);
        found
    }

    /// Accelerated projected gradient descent on the simplex (FISTA).
    fn descend(&self, linear: &KeyWeights) -> KeyWeights {
        let n = self.keys.len();
        let mut current = [0.0; MAX_KEYS];
        current[..n].fill(1.0 / n as f32);
        let (mut ahead, mut momentum) = (current, 1.0_f32);
        for _ in 0..STEPS {
            let mut next = [0.0; MAX_KEYS];
            for i in 0..n {
                let slope: f32 = self.gram[i].iter().zip(&ahead).map(|(a, b)| a * b).sum();
                next[i] = ahead[i] - (2.0 * slope + linear[i]) * self.step;
            }
            onto_simplex(&mut next[..n]);
            let grown = f32::midpoint(1.0, (1.0 + 4.0 * momentum * momentum).sqrt());
            let push = (momentum - 1.0) / grown;
            let farthest = next.iter().zip(&current).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            ahead = std::array::from_fn(|i| next[i] + push * (next[i] - current[i]));
            (current, momentum) = (next, grown);
            if farthest < STILL {
                break;
            }
        }
        current
    }
}

/// Projects onto the simplex: coordinates that are not negative and sum to 1.
fn onto_simplex(values: &mut [f32]) {
    let mut sorted = [0.0; MAX_KEYS];
    let sorted = &mut sorted[..values.len()];
    sorted.copy_from_slice(values);
    sorted.sort_unstable_by(|a, b| b.total_cmp(a));
    let (mut sum, mut shift) = (-1.0, 0.0);
    for (i, value) in sorted.iter().enumerate() {
        sum += value;
        let level = sum / (i + 1) as f32;
        if value - level > 0.0 {
            shift = level;
        }
    }
    for value in values {
        *value = (*value - shift).max(0.0);
    }
}

fn inner(a: &[f32; SHAPES], b: &[f32; SHAPES]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn pose_of(rig: &Rig, key: usize) -> [f32; SHAPES] {
    let mut pose = [0.0; SHAPES];
    for (name, weight) in &rig.keys[key].weights {
        if let Some(index) = arkit_index(name) {
            pose[index] = *weight;
        }
    }
    pose
}

/// Inner products of the shapes' displacements on screen inside a mask, normalised to a trace of 1.
fn metric(skin: &Part, mask: &[f32]) -> Vec<[f32; SHAPES]> {
    let inside: Vec<usize> = (0..mask.len()).filter(|&vertex| mask[vertex] > 0.02).collect();
    let roots: Vec<f32> = mask.iter().map(|share| share.sqrt()).collect();
    let rows = skin.screen_displacements(&roots).into_iter().map(|(shape, row)| {
        let kept: Vec<f32> = inside.iter().flat_map(|&vertex| [row[2 * vertex], row[2 * vertex + 1]]).collect();
        (shape, kept)
    });
    let rows: Vec<(usize, Vec<f32>)> = rows.filter(|(_, row)| row.iter().any(|value| *value != 0.0)).collect();
    let mut metric = vec![[0.0; SHAPES]; SHAPES];
    for (i, a) in &rows {
        for (j, b) in rows.iter().filter(|(j, _)| j >= i) {
            let sum: f32 = a.iter().zip(b).map(|(a, b)| a * b).sum();
            metric[*i][*j] = sum;
            metric[*j][*i] = sum;
        }
    }
    let trace: f32 = (0..SHAPES).map(|i| metric[i][i]).sum::<f32>().max(1e-12);
    metric.iter_mut().flatten().for_each(|value| *value /= trace);
    (0..SHAPES).filter(|&i| metric[i][i] > 1e-7).collect::<Vec<_>>().into_iter().for_each(|i| metric[i][i] += 1e-5);
    metric
}

fn largest_eigenvalue(gram: &[Vec<f32>]) -> f32 {
    let mut vector = vec![1.0_f32; gram.len()];
    let mut value = 0.0_f32;
    for _ in 0..200 {
        let next: Vec<f32> = gram.iter().map(|row| row.iter().zip(&vector).map(|(a, b)| a * b).sum()).collect();
        value = next.iter().map(|x| x * x).sum::<f32>().sqrt();
        if value < 1e-12 {
            return 0.0;
        }
        vector = next.into_iter().map(|x| x / value).collect();
    }
    value * 1.02
}
