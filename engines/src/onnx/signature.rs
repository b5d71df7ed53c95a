//! The inputs and outputs of an ONNX graph: names, element types, shapes with free axes.
//!
//! Decides how free axes relate: axes of one name have one length. An output's axis is fixed, equal to an input's axis, or an
//! integer multiple of one (`"8*height"`), so that output shapes follow from input shapes before anything runs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use thiserror::Error;

use super::reader::{Content, fields, messages, numbers, text};
use crate::DType;

/// One axis of a tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Axis {
    /// Of this length.
    Fixed(usize),
    /// An integer multiple of a length that the inputs determine.
    Free {
        /// The name that axes of the same length share: `batch`.
        name: String,
        /// The factor: 1 except for outputs such as `8*height`.
        times: usize,
    },
}

/// The lengths of free axes by name.
pub type Lengths = BTreeMap<String, usize>;

impl Axis {
    /// A free axis called `name`.
    #[must_use]
    pub fn free(name: &str) -> Self {
        Self::Free { name: name.to_owned(), times: 1 }
    }

    /// From ONNX's `dim_param`: a name, `8*name` or `name*8`.
    fn parse(text: &str) -> Self {
        let factor = |(a, b): (&str, &str)| {
            let (a, b) = (a.trim(), b.trim());
            let (times, name) =
                a.parse().map(|times| (times, b)).or_else(|_| b.parse().map(|times| (times, a))).ok()?;
            Some(Self::Free { name: name.to_owned(), times })
        };
        text.split_once('*').and_then(factor).unwrap_or_else(|| Self::free(text))
    }

    /// Its length, if the free axis that it depends on is known.
    #[must_use]
    pub fn length(&self, lengths: &Lengths) -> Option<usize> {
        match self {
            Self::Fixed(length) => Some(*length),
            Self::Free { name, times } => lengths.get(name)?.checked_mul(*times),
        }
    }
}

impl fmt::Display for Axis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(length) => write!(f, "{length}"),
            Self::Free { name, times: 1 } => f.write_str(name),
            Self::Free { name, times } => write!(f, "{times}*{name}"),
        }
    }
}

/// One input or output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its name.
    pub name: String,
    /// The type of its elements.
    pub dtype: DType,
    /// Its axes, the outermost first.
    pub shape: Vec<Axis>,
}

impl TensorInfo {
    /// Its shape for these lengths; `None` if a free axis is unknown.
    #[must_use]
    pub fn shape_for(&self, lengths: &Lengths) -> Option<Vec<usize>> {
        self.shape.iter().map(|axis| axis.length(lengths)).collect()
    }

    /// Its size in bytes for these lengths; `None` if a free axis is unknown or the size overflows.
    #[must_use]
    pub fn bytes_for(&self, lengths: &Lengths) -> Option<usize> {
        let shape = self.shape_for(lengths)?;
        shape.into_iter().try_fold(self.dtype.bytes(), usize::checked_mul)
    }

    /// Its shape as errors show it: `[batch, 3, 64]`.
    #[must_use]
    pub fn shape_text(&self) -> String {
        format!("[{}]", self.shape.iter().map(Axis::to_string).collect::<Vec<_>>().join(", "))
    }

    /// Whether it fits a tensor, whose free axes are added to `lengths`.
    fn fit(&self, dtype: DType, shape: &[usize], lengths: &mut Lengths) -> bool {
        let mut fits = |(axis, length): (&Axis, &usize)| match axis {
            Axis::Fixed(wanted) => wanted == length,
            Axis::Free { name, times: 1 } => *lengths.entry(name.clone()).or_insert(*length) == *length,
            Axis::Free { .. } => axis.length(lengths) == Some(*length),
        };
        self.dtype == dtype && self.shape.len() == shape.len() && self.shape.iter().zip(shape).all(&mut fits)
    }
}

/// What a graph takes and returns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signature {
    /// Its inputs.
    pub inputs: Vec<TensorInfo>,
    /// Its outputs.
    pub outputs: Vec<TensorInfo>,
}

/// Why a signature cannot be read, or tensors do not fit it.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SignatureError {
    /// The bytes are not an ONNX model.
    #[error("not an ONNX model")]
    NotOnnx,
    /// A tensor has a type that visage does not pass to graphs.
    #[error("wanted \"{name}\" in f32, f16, i16, i32, i64 or u8, found ONNX element type {code}")]
    DType {
        /// The input or output.
        name: String,
        /// The number of its type in onnx.proto.
        code: u64,
    },
    /// Inputs are missing, unknown or given twice.
    #[error("wanted each of {wanted} once, found {found}")]
    Names {
        /// The graph's inputs.
        wanted: String,
        /// The names given.
        found: String,
    },
    /// A tensor has another type or shape.
    #[error("wanted \"{name}\" as {wanted}, found {found}")]
    Shape {
        /// The input.
        name: String,
        /// The graph's type and shape.
        wanted: String,
        /// The tensor's.
        found: String,
    },
}

impl Signature {
    /// Reads the signature of the ONNX model in `onnx`. Initialisers that older models list among the inputs are left out.
    ///
    /// # Errors
    /// If the bytes are not an ONNX model, or a tensor has a type that visage does not use.
    pub fn read(onnx: &[u8]) -> Result<Self, SignatureError> {
        let graph = fields(onnx).and_then(|model| messages(&model, 7).last().copied()).and_then(fields);
        let graph = graph.ok_or(SignatureError::NotOnnx)?;
        let initialisers: BTreeSet<String> =
            messages(&graph, 5).into_iter().filter_map(|tensor| Some(text(&fields(tensor)?, 8))).collect();
        let infos = |number| messages(&graph, number).into_iter().map(tensor_info).collect::<Result<Vec<_>, _>>();
        let mut inputs = infos(11)?;
        inputs.retain(|input| !initialisers.contains(&input.name));
        Ok(Self { inputs, outputs: infos(12)? })
    }

    /// The lengths of free axes that named tensors have.
    ///
    /// # Errors
    /// If not every input is given once, or a tensor has another type or shape than its input.
    pub fn lengths(&self, given: &[(&str, DType, &[usize])]) -> Result<Lengths, SignatureError> {
        let named = |input: &TensorInfo| given.iter().filter(|(name, ..)| *name == input.name).count() == 1;
        if given.len() != self.inputs.len() || !self.inputs.iter().all(named) {
            let wanted = names(self.inputs.iter().map(|input| input.name.as_str()));
            return Err(SignatureError::Names { wanted, found: names(given.iter().map(|(name, ..)| *name)) });
        }
        let mut lengths = Lengths::new();
        for input in &self.inputs {
            let tensor = given.iter().find(|(name, ..)| *name == input.name);
            if let Some((_, dtype, shape)) = tensor
                && !input.fit(*dtype, shape, &mut lengths)
            {
                let wanted = format!("{} {}", input.dtype, input.shape_text());
                let found = format!("{dtype} {shape:?} (with {lengths:?})");
                return Err(SignatureError::Shape { name: input.name.clone(), wanted, found });
            }
        }
        Ok(lengths)
    }

    /// The names of the inputs' free axes.
    #[must_use]
    pub fn free_axes(&self) -> BTreeSet<&str> {
        let axes = self.inputs.iter().flat_map(|input| &input.shape);
        axes.filter_map(|axis| if let Axis::Free { name, .. } = axis { Some(name.as_str()) } else { None }).collect()
    }
}

/// Names as errors list them, sorted.
fn names<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let mut names: Vec<&str> = names.collect();
    names.sort_unstable();
    names.join(", ")
}

/// A `ValueInfoProto`.
fn tensor_info(bytes: &[u8]) -> Result<TensorInfo, SignatureError> {
    let broken = || SignatureError::NotOnnx;
    let info = fields(bytes).ok_or_else(broken)?;
    let name = text(&info, 1);
    let kind = messages(&info, 2).last().copied().and_then(fields).ok_or_else(broken)?;
    let tensor = messages(&kind, 1).last().copied().and_then(fields).ok_or_else(broken)?;
    let code = numbers(&tensor, 1).last().copied().unwrap_or(0);
    let dtype = DType::from_onnx(code).ok_or_else(|| SignatureError::DType { name: name.clone(), code })?;
    let dimensions = messages(&tensor, 2).last().copied().and_then(fields).unwrap_or_default();
    let axis = |(at, dimension): (usize, &[u8])| {
        let dimension = fields(dimension)?;
        let symbol = text(&dimension, 2);
        let value = dimension.iter().find_map(|(number, content)| match content {
            Content::Varint(value) if *number == 1 => usize::try_from(*value).ok(),
            _ => None,
        });
        Some(match value {
            Some(length) => Axis::Fixed(length),
            // An axis without a name is tied to no other.
            None if symbol.is_empty() => Axis::free(&format!("{name}.{at}")),
            None => Axis::parse(&symbol),
        })
    };
    let shape = messages(&dimensions, 1).into_iter().enumerate().map(axis).collect::<Option<_>>().ok_or_else(broken)?;
    Ok(TensorInfo { name, dtype, shape })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(name: &str, dtype: DType, shape: &[&str]) -> TensorInfo {
        let axis = |text: &&str| text.parse().map_or_else(|_| Axis::parse(text), Axis::Fixed);
        TensorInfo { name: name.to_owned(), dtype, shape: shape.iter().map(axis).collect() }
    }

    /// As Sonic's `UNet` and VAE have them: half precision, integer ids, several free axes, an output eight times as large.
    fn signature() -> Signature {
        Signature {
            inputs: vec![
                info("sample", DType::F16, &["batch", "frames", "8", "height", "width"]),
                info("ids", DType::I64, &["batch", "3"]),
            ],
            outputs: vec![info("image", DType::F16, &["frames", "3", "8*height", "width*8"])],
        }
    }

    #[test]
    fn the_mouth_networks_signature_is_read_from_its_file() {
        let onnx = include_bytes!("../../packs/portrait/mouth/mouth.onnx");
        let signature = Signature::read(onnx).expect("a model");
        assert_eq!(signature.inputs[0], info("mel", DType::F32, &["1", "4", "48"]));
        assert_eq!((signature.inputs.len(), signature.outputs.len()), (5, 6));
        assert!(signature.free_axes().is_empty());
        let step = include_bytes!("../../../tests/assets/step.onnx");
        let step = Signature::read(step).expect("a model");
        assert_eq!(step.free_axes().len(), 1, "{step:?}");
    }

    #[test]
    fn several_free_axes_follow_from_the_inputs_and_determine_the_outputs() {
        let (signature, sample) = (signature(), [3, 25, 8, 64, 48]);
        let lengths =
            signature.lengths(&[("ids", DType::I64, &[3, 3]), ("sample", DType::F16, &sample)]).expect("fits");
        assert_eq!(lengths.values().copied().collect::<Vec<_>>(), [3, 25, 64, 48]);
        assert_eq!(signature.outputs[0].shape_for(&lengths), Some(vec![25, 3, 512, 384]));
        assert_eq!(signature.outputs[0].bytes_for(&lengths), Some(25 * 3 * 512 * 384 * 2));
    }

    #[test]
    fn another_type_rank_or_length_or_a_missing_input_is_refused_by_name() {
        let signature = signature();
        let ids: (&str, DType, &[usize]) = ("ids", DType::I64, &[3, 3]);
        let refused =
            |sample: (&str, DType, &[usize])| signature.lengths(&[sample, ids]).expect_err("refused").to_string();
        let other_type = refused(("sample", DType::F32, &[3, 25, 8, 64, 48]));
        assert!(other_type.contains("\"sample\" as f16 [batch, frames, 8, height, width], found f32"), "{other_type}");
        assert!(refused(("sample", DType::F16, &[3, 25, 8, 64])).contains("[3, 25, 8, 64]"));
        assert!(refused(("sample", DType::F16, &[2, 25, 8, 64, 48])).contains("\"ids\""), "one batch for both");
        assert!(refused(("picture", DType::F16, &[3])).contains("each of ids, sample once, found ids, picture"));
        assert!(signature.lengths(&[ids]).is_err());
    }

    #[test]
    fn damaged_models_are_errors_and_never_a_panic() {
        let whole = include_bytes!("../../../tests/assets/step.onnx");
        for at in 0..whole.len() {
            let _ = Signature::read(&whole[..at]);
            for byte in [0, 0x7f, 0x80, 0xff] {
                let mut bytes = whole.to_vec();
                bytes[at] = byte;
                let _ = Signature::read(&bytes);
            }
        }
        assert_eq!(Signature::read(b"not a graph at all"), Err(SignatureError::NotOnnx));
    }
}
