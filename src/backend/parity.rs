//! Parity of two backends on a graph: the same inputs for both, and the differences of their outputs.
//!
//! Decides the inputs and the measures. The pack states which difference is too large.

use serde::Serialize;
use visage_kernels::Half;

use super::{Axis, BackendError, DType, Elements, Graph, Signature, Tensor, TensorInfo, Value};

/// The difference between the second backend's output and the first's.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// The output's name.
    pub output: String,
    /// Cosine similarity.
    pub cosine: f64,
    /// Peak signal-to-noise ratio: the first's range over the root mean squared error, in dB; 200 at most, for equal outputs.
    pub psnr_db: f64,
    /// The largest absolute error.
    pub max_error: f64,
    /// The mean absolute error.
    pub mean_error: f64,
}

/// Outputs that cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum ParityError {
    /// A backend failed.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// The second backend returned zeros only, which no rounding explains.
    #[error(
        "wanted \"{output}\" as on the CPU, found zeros only: the GPU does not run an operator of the graph (TensorRT for RTX on compute capability 7.5 returns zeros from f32 matrix products with dynamic shapes); export the graph in fp16 or with fixed shapes, or use --backend cpu"
    )]
    AllZero {
        /// Which output.
        output: String,
    },
    /// The outputs have different shapes.
    #[error("wanted \"{output}\" of the shape {wanted:?}, the other backend returned {found:?}")]
    Shape {
        /// Which output.
        output: String,
        /// The first backend's.
        wanted: Vec<usize>,
        /// The second's.
        found: Vec<usize>,
    },
}

/// The largest ratio reported.
const MAX_DB: f64 = 200.0;
/// Seeded integers are below this number: small enough for an index, large enough to differ.
const INTEGERS: f32 = 4.0;

/// Tensors for the inputs of `signature`, the same for the same seed: floats between -1 and 1, integers of 0 to 3. A free
/// axis has the length that `length` returns for the input's name and the axis.
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
    let tensor = |input: &TensorInfo, next: &mut dyn FnMut() -> f32| {
        let lengths = input.shape.iter().enumerate();
        let lengths =
            lengths.map(|(at, axis)| if let Axis::Fixed(fixed) = axis { *fixed } else { length(&input.name, at) });
        let shape: Vec<usize> = lengths.collect();
        let values = (0..shape.iter().product()).map(|_| next()).collect();
        Tensor::new(&shape, of_type(input.dtype, values)).unwrap_or_else(|| Tensor::zeros(input.dtype, &shape))
    };
    signature.inputs.iter().map(|input| (input.name.clone(), tensor(input, &mut next))).collect()
}

fn of_type(dtype: DType, values: Vec<f32>) -> Elements {
    let whole = |value: &f32| (value.abs() * INTEGERS) as u8;
    match dtype {
        DType::F32 => values.into(),
        DType::F16 => values.into_iter().map(Half::of).collect::<Vec<_>>().into(),
        DType::I16 => values.iter().map(|value| i16::from(whole(value))).collect::<Vec<_>>().into(),
        DType::I32 => values.iter().map(|value| i32::from(whole(value))).collect::<Vec<_>>().into(),
        DType::I64 => values.iter().map(|value| i64::from(whole(value))).collect::<Vec<_>>().into(),
        DType::U8 => values.iter().map(whole).collect::<Vec<_>>().into(),
    }
}

/// The elements of a tensor as `f64`.
fn values(tensor: &Tensor) -> Vec<f64> {
    match tensor.elements() {
        Elements::F32(all) => all.iter().map(|value| f64::from(*value)).collect(),
        Elements::F16(all) => all.iter().map(|half| f64::from(half.value())).collect(),
        Elements::I16(all) => all.iter().map(|value| f64::from(*value)).collect(),
        Elements::I32(all) => all.iter().map(|value| f64::from(*value)).collect(),
        Elements::I64(all) => all.iter().map(|value| *value as f64).collect(),
        Elements::U8(all) => all.iter().map(|value| f64::from(*value)).collect(),
    }
}

/// Runs a step of both graphs and compares every output.
///
/// # Errors
/// If a backend fails, outputs have different shapes, or the second's are all zero where the first's are not.
pub fn compare(
    first: &dyn Graph,
    second: &dyn Graph,
    signature: &Signature,
    inputs: &[(String, Tensor)],
) -> Result<Vec<Difference>, ParityError> {
    let wanted = run(first, signature, inputs)?;
    let found = run(second, signature, inputs)?;
    let pairs = signature.outputs.iter().zip(wanted.iter().zip(&found));
    pairs.map(|(output, (wanted, found))| difference(&output.name, wanted, found)).collect()
}

/// Runs one step and waits for every output.
///
/// # Errors
/// If the backend fails.
pub fn run(graph: &dyn Graph, signature: &Signature, inputs: &[(String, Tensor)]) -> Result<Vec<Tensor>, BackendError> {
    let values: Vec<(&str, Value)> =
        inputs.iter().map(|(name, tensor)| (name.as_str(), tensor.clone().into())).collect();
    let lent: Vec<(&str, &Value)> = values.iter().map(|(name, value)| (*name, value)).collect();
    let names: Vec<&str> = signature.outputs.iter().map(|output| output.name.as_str()).collect();
    graph.slot()?.submit(&lent, &names)?.into_iter().map(Value::take).collect()
}

fn difference(output: &str, wanted: &Tensor, found: &Tensor) -> Result<Difference, ParityError> {
    if wanted.shape() != found.shape() {
        let (wanted, found) = (wanted.shape().to_vec(), found.shape().to_vec());
        return Err(ParityError::Shape { output: output.to_owned(), wanted, found });
    }
    let (wanted, found) = (values(wanted), values(found));
    let is_zero = |values: &[f64]| values.iter().all(|value| *value == 0.0);
    if is_zero(&found) && !is_zero(&wanted) {
        return Err(ParityError::AllZero { output: output.to_owned() });
    }
    Ok(distance(output, &wanted, &found))
}

fn distance(output: &str, wanted: &[f64], found: &[f64]) -> Difference {
    let (mut dot, mut first, mut second) = (0.0_f64, 0.0_f64, 0.0_f64);
    let (mut sum, mut squares, mut max_error) = (0.0_f64, 0.0_f64, 0.0_f64);
    let (mut least, mut most) = (f64::INFINITY, f64::NEG_INFINITY);
    for (&a, &b) in wanted.iter().zip(found) {
        (dot, first, second) = (dot + a * b, first + a * a, second + b * b);
        // NaN is an infinite error: comparisons would drop it.
        let error = if a.total_cmp(&b).is_eq() { 0.0 } else { (a - b).abs() };
        let error = if error.is_nan() { f64::INFINITY } else { error };
        (sum, squares, max_error) = (sum + error, squares + error * error, max_error.max(error));
        (least, most) = (least.min(a), most.max(a));
    }
    let count = wanted.len().max(1) as f64;
    let lengths = (first * second).sqrt();
    let cosine = match lengths {
        lengths if lengths.is_nan() => -1.0,
        lengths if lengths > 0.0 => dot / lengths,
        _ => f64::from(u8::from(first + second <= 0.0)),
    };
    let noise = (squares / count).sqrt();
    let psnr_db = if noise > 0.0 { 20.0 * ((most - least).max(f64::MIN_POSITIVE) / noise).log10() } else { MAX_DB };
    Difference {
        output: output.to_owned(),
        cosine,
        psnr_db: psnr_db.clamp(-MAX_DB, MAX_DB),
        max_error: max_error.min(f64::MAX),
        mean_error: (sum / count).min(f64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Slot;
    use super::*;

    /// Doubles its input, and is wrong by `error` at the first value; or returns zeros.
    #[derive(Clone, Copy)]
    struct Doubling {
        error: f32,
        is_zero: bool,
    }

    impl Graph for Doubling {
        fn signature(&self) -> &Signature {
            unreachable!("tests pass the signature")
        }

        fn slot(&self) -> Result<Box<dyn Slot>, BackendError> {
            Ok(Box::new(*self))
        }
    }

    impl Slot for Doubling {
        fn submit(&mut self, inputs: &[(&str, &Value)], _outputs: &[&str]) -> Result<Vec<Value>, BackendError> {
            let shape = inputs[0].1.shape();
            let mut values = vec![2.0; shape.iter().product()];
            values[0] = self.error + 4.0;
            values.iter_mut().filter(|_| self.is_zero).for_each(|value| *value = 0.0);
            Ok(vec![Tensor::new(shape, values).expect("as many").into()])
        }
    }

    fn signature(dtype: DType) -> Signature {
        let info = |name: &str, shape: Vec<Axis>| TensorInfo { name: name.to_owned(), dtype, shape };
        let shape = vec![Axis::free("rows"), Axis::Fixed(8)];
        Signature { inputs: vec![info("x", shape.clone())], outputs: vec![info("y", shape)] }
    }

    fn compared(second: Doubling) -> Result<Difference, ParityError> {
        let signature = signature(DType::F32);
        let inputs = seeded(&signature, 7, &|_, _| 3);
        assert_eq!(inputs[0].1.shape(), [3, 8]);
        let first = Doubling { error: 0.0, is_zero: false };
        compare(&first, &second, &signature, &inputs).map(|mut differences| differences.remove(0))
    }

    fn distance_of(error: f32) -> Difference {
        compared(Doubling { error, is_zero: false }).expect("compared")
    }

    #[test]
    fn equal_outputs_have_no_distance() {
        let same = distance_of(0.0);
        assert!((same.cosine - 1.0).abs() < 1e-12, "{same:?}");
        assert_eq!((same.psnr_db, same.max_error, same.mean_error), (MAX_DB, 0.0, 0.0));
    }

    #[test]
    fn one_wrong_value_is_measured() {
        let off = distance_of(0.24);
        assert!((off.max_error - 0.24).abs() < 1e-6 && (off.mean_error - 0.01).abs() < 1e-6, "{off:?}");
        // The range is 2, the root mean squared error 0.24 / sqrt(24).
        assert!((off.psnr_db - 20.0 * (2.0 / (0.24 / 24.0_f64.sqrt())).log10()).abs() < 1e-4, "{off:?}");
        assert!(off.cosine < 1.0 && off.cosine > 0.99, "{off:?}");
    }

    #[test]
    fn nan_exceeds_every_tolerance() {
        let broken = distance_of(f32::NAN);
        assert!(broken.max_error > 1e300 && broken.cosine < 0.0 && broken.psnr_db < 0.0, "{broken:?}");
        serde_json::to_string(&broken).expect("it can be reported");
    }

    #[test]
    fn an_output_of_only_zeros_fails_with_a_hint() {
        let zero = compared(Doubling { error: 0.0, is_zero: true }).expect_err("zeros").to_string();
        assert!(zero.contains("\"y\"") && zero.contains("zeros only") && zero.contains("export the graph"), "{zero}");
        let is_zero = Tensor::zeros(DType::F32, &[2]);
        assert!(difference("y", &is_zero, &is_zero).is_ok(), "where the first is zero as well");
    }

    #[test]
    fn inputs_are_the_same_for_the_same_seed_and_within_one() {
        let [a, b, other] = [7, 7, 8].map(|seed| seeded(&signature(DType::F32), seed, &|_, _| 100));
        assert_eq!(a, b);
        assert_ne!(a, other);
        let all = values(&a[0].1);
        assert!(all.iter().all(|value| value.abs() <= 1.0));
        let mean: f64 = all.iter().sum::<f64>() / 800.0;
        assert!(mean.abs() < 0.1, "{mean}");
        for dtype in [DType::F16, DType::I16, DType::I32, DType::I64, DType::U8] {
            let seeded = seeded(&signature(dtype), 7, &|_, _| 100);
            let all = values(&seeded[0].1);
            assert!(
                seeded[0].1.dtype() == dtype && all.iter().any(|value| value.to_bits() != all[0].to_bits()),
                "{dtype}"
            );
        }
    }
}
