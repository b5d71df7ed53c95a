//! Limits of `rig.json`: sizes and numbers that cannot overflow arithmetic.
//!
//! References by name are checked where they are resolved.

use super::error::RigError;
use super::format::{LayerFile, ParamsFile, RigFile, Table};

const LAYERS_MAX: usize = 64;
const SHAPES_MAX: usize = 256;
const GRID_MAX: usize = 129;
/// Largest magnitude of any number, in canvas units.
const MAGNITUDE_MAX: f32 = 16_384.0;

/// Returns an error that names the expected value, unless the condition is true.
macro_rules! want {
    ($is_so:expr, $($what:tt)+) => {
        let is_so: bool = $is_so;
        if !is_so {
            let found = format!("expected {}", format_args!($($what)+));
            return Err($crate::face::drawn::error::format_error(found));
        }
    };
}
pub(super) use want;

/// Checks the sizes and numbers of a rig.
pub(super) fn check(file: &RigFile) -> Result<(), RigError> {
    let side = file.canvas[0];
    want!((64.0..=4096.0).contains(&side) && (side - file.canvas[1]).abs() < 0.5, "a square canvas of 64 to 4096");
    if let Some([left, top, shown]) = file.view {
        let fits = shown >= side / 8.0 && left >= 0.0 && top >= 0.0 && left.max(top) + shown <= side;
        want!(fits, "a view within the canvas and at least an eighth of it");
    }
    want!((1..=LAYERS_MAX).contains(&file.layers.len()), "1 to 64 layers");
    want!(file.shapes.len() <= SHAPES_MAX, "at most 256 shapes");
    want!(small(&[file.gaze.gx, file.gaze.gy, file.breath_px]), "gaze and breath within +-16384");
    want!(file.anchors.values().all(|at| small(at)), "anchors within +-16384");
    check_depth(file)?;
    check_params(&file.params)?;
    file.layers.iter().try_for_each(check_layer)?;
    let shares = file.arkit.values().flat_map(|groups| groups.values().flat_map(|states| states.values()));
    want!(shares.copied().all(|share| share.abs() <= 4.0), "shares of -4 to 4 in the ARKit table");
    Ok(())
}

fn check_depth(file: &RigFile) -> Result<(), RigError> {
    let depth = &file.depth;
    let sides = [depth.cols, depth.rows];
    want!(sides.iter().all(|side| (2..=GRID_MAX).contains(side)), "depth grids of 2 to 129 columns and rows");
    let spans = |side: &usize| (side - 1) as f32 * depth.step >= file.canvas[0] - 0.5;
    want!(small(&[depth.step]) && sides.iter().all(spans), "a depth grid that spans the canvas");
    let is_whole = |values: &Vec<f32>| values.len() == depth.cols * depth.rows && small(values);
    want!(depth.grids.values().all(is_whole), "depth grids with cols x rows numbers");
    Ok(())
}

fn check_params(params: &ParamsFile) -> Result<(), RigError> {
    let keys = &params.blink_keys;
    want!(keys.len() == 3 && (0.05..=0.95).contains(&keys[1].0), "three blink keys, the middle one within 0 to 1");
    want!(params.mouth_sum_max > 0.0, "a mouth_sum_max above 0");
    let shares =
        [params.look_down_to_blink, params.iris_wide_scale, params.close_to_mbp, params.tongue_minus_jaw].map(f32::abs);
    want!(shares.iter().all(|share| *share <= 0.9), "parameters of -0.9 to 0.9");
    want!(small(&params.smile_eye), "smile_eye within +-16384");
    Ok(())
}

fn check_layer(layer: &LayerFile) -> Result<(), RigError> {
    let known = layer.kind == "svg" || layer.kind == "shapes";
    want!(known, "\"svg\" or \"shapes\" as the type of layer {}", layer.id);
    want!((0.0..=1.0).contains(&layer.opacity), "an opacity of 0 to 1 in layer {}", layer.id);
    let tables = [&layer.fx, &layer.fy, &layer.fr];
    want!(tables.iter().all(|table| rises(table)), "tables of 1 to 16 ascending rows in layer {}", layer.id);
    let lag = layer.lag.as_ref().is_none_or(|lag| {
        small(&[lag.px, lag.y0, lag.y1]) && (0.1..=8.0).contains(&lag.pow) && lag.sway.abs() <= 1.0 && lag.sway_s >= 0.1
    });
    let jaw = layer.jaw.as_ref().is_none_or(|jaw| small(&[jaw.px, jaw.y0, jaw.y1]));
    want!(lag && jaw, "valid lag and jaw in layer {}", layer.id);
    let eye = layer.gaze.as_ref().is_none_or(|gaze| ["L", "R"].contains(&gaze.eye.as_str()) && gaze.k.abs() <= 4.0);
    want!(eye, "\"L\" or \"R\" as the eye of layer {}", layer.id);
    Ok(())
}

fn rises(table: &Table) -> bool {
    (1..=16).contains(&table.len())
        && table.iter().all(|row| small(row))
        && table.windows(2).all(|pair| pair[0][0] < pair[1][0])
}

/// Whether no number exceeds [`MAGNITUDE_MAX`] (or is NaN).
pub(super) fn small(numbers: &[f32]) -> bool {
    numbers.iter().all(|number| number.abs() <= MAGNITUDE_MAX)
}
