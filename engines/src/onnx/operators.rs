//! The operators of an ONNX graph that some GPUs do not support.
//!
//! Decides nothing: `crate::compatibility` decides what to refuse.

use std::collections::BTreeMap;

use super::reader::{fields, messages, numbers, text};

/// Operators that not every GPU runs: the first node of each kind, by its name or that of its first output.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Operators {
    /// A matrix product in f32.
    pub f32_matmul: Option<String>,
    /// A convolution over three spatial dimensions.
    pub conv_3d: Option<String>,
    /// A tensor of bfloat16.
    pub bf16: Option<String>,
}

/// ONNX's numbers of element types.
const FLOAT: u64 = 1;
const BFLOAT16: u64 = 16;

/// Types and ranks of tensors that the file declares: initialisers, inputs, outputs, annotated values.
type Known = BTreeMap<String, (u64, usize)>;

impl Operators {
    /// Reads them from an ONNX model; `None` if the bytes are not one. Nested graphs (`If`, `Loop`) are not searched.
    #[must_use]
    pub fn read(onnx: &[u8]) -> Option<Self> {
        let model = fields(onnx)?;
        let graph = fields(messages(&model, 7).last()?)?;
        let known = known(&graph)?;
        let bf16 = known.iter().find(|(_, (dtype, _))| *dtype == BFLOAT16).map(|(name, _)| name.clone());
        let mut found = Self { bf16, ..Self::default() };
        for node in messages(&graph, 1) {
            found.note(node, &known)?;
        }
        Some(found)
    }

    fn note(&mut self, node: &[u8], known: &Known) -> Option<()> {
        let node = fields(node)?;
        let inputs: Vec<String> =
            messages(&node, 1).into_iter().map(|name| String::from_utf8_lossy(name).into()).collect();
        let name = Some(text(&node, 3)).filter(|name| !name.is_empty()).unwrap_or_else(|| text(&node, 2));
        match text(&node, 4).as_str() {
            "MatMul" | "Gemm" | "Einsum" if is_f32(&inputs, known) => _ = self.f32_matmul.get_or_insert(name),
            "Conv" | "ConvTranspose"
                if inputs.get(1).and_then(|w| known.get(w)).is_some_and(|(_, rank)| *rank == 5) =>
            {
                self.conv_3d.get_or_insert(name);
            }
            _ => (),
        }
        Some(())
    }
}

/// Whether a product is in f32, by the declared type of an operand, or else by the graph's weights.
fn is_f32(inputs: &[String], known: &Known) -> bool {
    let declared = inputs.iter().find_map(|input| known.get(input)).map(|(dtype, _)| *dtype);
    let has_narrower = || known.values().any(|(dtype, rank)| [10, BFLOAT16].contains(dtype) && *rank > 1);
    declared.map_or_else(|| !has_narrower(), |dtype| dtype == FLOAT)
}

fn known(graph: &[(u64, super::reader::Content<'_>)]) -> Option<Known> {
    let mut known = Known::new();
    for tensor in messages(graph, 5) {
        let tensor = fields(tensor)?;
        let dtype = numbers(&tensor, 2).last().copied().unwrap_or(0);
        known.insert(text(&tensor, 8), (dtype, numbers(&tensor, 1).len()));
    }
    for info in [11, 12, 13].into_iter().flat_map(|number| messages(graph, number)) {
        let info = fields(info)?;
        let Some(kind) = messages(&info, 2).last().copied().and_then(fields) else { continue };
        let Some(tensor) = messages(&kind, 1).last().copied().and_then(fields) else { continue };
        let rank = messages(&tensor, 2).last().copied().and_then(fields).map_or(0, |shape| messages(&shape, 1).len());
        known.insert(text(&info, 1), (numbers(&tensor, 1).last().copied().unwrap_or(0), rank));
    }
    Some(known)
}
