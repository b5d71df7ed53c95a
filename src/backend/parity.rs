//! Whether two engines agree on a graph: the same inputs for both, and how far their outputs are apart.
//!
//! Decides what the inputs are and how a distance is told. How far is too far, the pack says.

use serde::Serialize;

use super::{BackendError, Graph, Tensor, Value};

/// What a graph takes and gives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signature {
    /// Names of inputs with the length of each axis; none where any length goes.
    pub inputs: Vec<(String, Vec<Option<usize>>)>,
    /// Names of outputs.
    pub outputs: Vec<String>,
}

/// How far the second engine's output is from the first's.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// Its name.
    pub output: String,
    /// Cosine of the angle between the two.
    pub cosine: f64,
    /// Peak to noise: the first's range over the root of the mean squared error, in dB; 200 at most, for equal outputs.
    pub psnr_db: f64,
    /// The greatest error of a value.
    pub max_error: f64,
    /// The mean error of the values.
    pub mean_error: f64,
}

/// Outputs that cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum ParityError {
    /// An engine failed.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// They are of different shapes.
    #[error("wanted \"{output}\" of the shape {wanted:?}, the other engine gave {found:?}")]
    Shape {
        /// Which output.
        output: String,
        /// The first engine's.
        wanted: Vec<usize>,
        /// The second's.
        found: Vec<usize>,
    },
}

/// The greatest ratio that is told.
const MOST_DB: f64 = 200.0;

/// Tensors for the inputs of `signature`, each value between -1 and 1, the same for the same seed. Axes of any length have
/// what `length` says of them: the input's name and the axis.
#[must_use]
pub fn seeded(signature: &Signature, seed: u64, length: &dyn Fn(&str, usize) -> usize) -> Vec<(String, Tensor)> {
    let mut state = seed;
    let mut next = || {
        // SplitMix64 (Steele, Lea, Flood 2014).
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
    };
    let tensor = |name: &str, axes: &[Option<usize>], next: &mut dyn FnMut() -> f32| {
        let shape: Vec<usize> =
            axes.iter().enumerate().map(|(at, axis)| axis.unwrap_or_else(|| length(name, at))).collect();
        let values = (0..shape.iter().product()).map(|_| next()).collect();
        Tensor { shape, values }
    };
    signature.inputs.iter().map(|(name, axes)| (name.clone(), tensor(name, axes, &mut next))).collect()
}

/// Runs a step of both graphs and compares every output.
///
/// # Errors
/// If an engine fails, or the outputs have different shapes.
pub fn compare(
    first: &dyn Graph,
    second: &dyn Graph,
    signature: &Signature,
    inputs: &[(String, Tensor)],
) -> Result<Vec<Difference>, ParityError> {
    let wanted = run(first, signature, inputs)?;
    let found = run(second, signature, inputs)?;
    let pairs = signature.outputs.iter().zip(wanted.iter().zip(&found));
    pairs.map(|(name, (wanted, found))| difference(name, wanted, found)).collect()
}

/// Runs one step and gives every output.
///
/// # Errors
/// If the engine fails.
pub fn run(graph: &dyn Graph, signature: &Signature, inputs: &[(String, Tensor)]) -> Result<Vec<Tensor>, BackendError> {
    let values: Vec<(&str, Value)> =
        inputs.iter().map(|(name, tensor)| (name.as_str(), tensor.clone().into())).collect();
    let lent: Vec<(&str, &Value)> = values.iter().map(|(name, value)| (*name, value)).collect();
    let names: Vec<&str> = signature.outputs.iter().map(String::as_str).collect();
    graph.slot()?.step(&lent, &names)?.into_iter().map(Value::take).collect()
}

fn difference(output: &str, wanted: &Tensor, found: &Tensor) -> Result<Difference, ParityError> {
    if wanted.shape != found.shape {
        let (wanted, found) = (wanted.shape.clone(), found.shape.clone());
        return Err(ParityError::Shape { output: output.to_owned(), wanted, found });
    }
    let (mut dot, mut first, mut second) = (0.0_f64, 0.0_f64, 0.0_f64);
    let (mut sum, mut squares, mut max_error) = (0.0_f64, 0.0_f64, 0.0_f64);
    let (mut least, mut most) = (f64::INFINITY, f64::NEG_INFINITY);
    for (a, b) in wanted.values.iter().zip(&found.values).map(|(a, b)| (f64::from(*a), f64::from(*b))) {
        (dot, first, second) = (dot + a * b, first + a * a, second + b * b);
        // A value that is no number is as wrong as can be, and must not be lost in a comparison.
        let error = if a.total_cmp(&b).is_eq() { 0.0 } else { (a - b).abs() };
        let error = if error.is_nan() { f64::INFINITY } else { error };
        (sum, squares, max_error) = (sum + error, squares + error * error, max_error.max(error));
        (least, most) = (least.min(a), most.max(a));
    }
    let count = wanted.values.len().max(1) as f64;
    let lengths = (first * second).sqrt();
    let cosine = match lengths {
        lengths if lengths.is_nan() => -1.0,
        lengths if lengths > 0.0 => dot / lengths,
        _ => f64::from(u8::from(first + second <= 0.0)),
    };
    let noise = (squares / count).sqrt();
    let psnr_db = if noise > 0.0 { 20.0 * ((most - least).max(f64::MIN_POSITIVE) / noise).log10() } else { MOST_DB };
    Ok(Difference {
        output: output.to_owned(),
        cosine,
        psnr_db: psnr_db.clamp(-MOST_DB, MOST_DB),
        max_error: max_error.min(f64::MAX),
        mean_error: (sum / count).min(f64::MAX),
    })
}

#[cfg(test)]
mod tests {
    use super::super::Slot;
    use super::*;

    /// Doubles its input and is wrong by `error` at the first value.
    struct Doubling {
        error: f32,
    }

    impl Graph for Doubling {
        fn slot(&self) -> Result<Box<dyn Slot>, BackendError> {
            Ok(Box::new(Doubling { error: self.error }))
        }
    }

    impl Slot for Doubling {
        fn step(&mut self, inputs: &[(&str, &Value)], _outputs: &[&str]) -> Result<Vec<Value>, BackendError> {
            let shape = inputs[0].1.shape().to_vec();
            let mut values = vec![2.0; shape.iter().product()];
            values[0] = self.error + 4.0;
            Ok(vec![Tensor { shape, values }.into()])
        }
    }

    fn signature() -> Signature {
        Signature { inputs: vec![("x".into(), vec![None, Some(8)])], outputs: vec!["y".into()] }
    }

    fn compared(error: f32) -> Difference {
        let inputs = seeded(&signature(), 7, &|_, _| 3);
        assert_eq!(inputs[0].1.shape, [3, 8]);
        compare(&Doubling { error: 0.0 }, &Doubling { error }, &signature(), &inputs).expect("compared").remove(0)
    }

    #[test]
    fn equal_outputs_are_at_no_distance() {
        let same = compared(0.0);
        assert!((same.cosine - 1.0).abs() < 1e-12, "{same:?}");
        assert_eq!((same.psnr_db, same.max_error, same.mean_error), (MOST_DB, 0.0, 0.0));
    }

    #[test]
    fn one_wrong_value_is_measured() {
        let off = compared(0.24);
        assert!((off.max_error - 0.24).abs() < 1e-6 && (off.mean_error - 0.01).abs() < 1e-6, "{off:?}");
        // The range is 2, the root of the mean squared error 0.24 / sqrt(24).
        assert!((off.psnr_db - 20.0 * (2.0 / (0.24 / 24.0_f64.sqrt())).log10()).abs() < 1e-4, "{off:?}");
        assert!(off.cosine < 1.0 && off.cosine > 0.99, "{off:?}");
    }

    #[test]
    fn a_value_that_is_no_number_is_past_every_tolerance() {
        let broken = compared(f32::NAN);
        assert!(broken.max_error > 1e300 && broken.cosine < 0.0 && broken.psnr_db < 0.0, "{broken:?}");
        serde_json::to_string(&broken).expect("it can be told");
    }

    #[test]
    fn inputs_are_the_same_for_the_same_seed_and_within_one() {
        let [a, b, other] = [7, 7, 8].map(|seed| seeded(&signature(), seed, &|_, _| 100));
        assert_eq!(a, b);
        assert_ne!(a, other);
        assert!(a[0].1.values.iter().all(|value| value.abs() <= 1.0));
        let mean: f32 = a[0].1.values.iter().sum::<f32>() / 800.0;
        assert!(mean.abs() < 0.1, "{mean}");
    }
}
