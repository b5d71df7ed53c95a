//! Graphs that a compiler accepts but a GPU runs incorrectly: refused before compilation.
//!
//! Decides from the graph's operators. NVIDIA's release notes of TensorRT for RTX 1.x list for compute capability 7.5: f32
//! matrix products with dynamic shapes return zeros; 3-D convolutions and bfloat16 fail.

use crate::onnx::Operators;
use crate::{Flavour, Profile, Sm};

/// Why a graph must not be compiled for these GPUs, and what to do about it; `None` if it may.
#[must_use]
pub fn refusal(flavour: Flavour, sm: Sm, operators: &Operators, profiles: &[Profile]) -> Option<String> {
    if flavour != Flavour::Rtx || sm != Sm::SM75 {
        return None;
    }
    let is_dynamic = profiles.iter().flat_map(|profile| profile.0.values()).any(|range| range.min != range.max);
    if let Some(node) = operators.f32_matmul.as_ref().filter(|_| is_dynamic) {
        return Some(format!(
            "the f32 matrix product \"{node}\" with dynamic shapes, which returns zeros there: export the graph in fp16 or with fixed shapes"
        ));
    }
    if let Some(node) = &operators.conv_3d {
        return Some(format!(
            "the 3-D convolution \"{node}\", which fails there: use a GPU of compute capability 8.0 or newer, or --backend cpu"
        ));
    }
    let tensor = operators.bf16.as_ref()?;
    Some(format!("the bf16 tensor \"{tensor}\", which fails there: export the graph in fp16"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::ShapeRange;

    fn range(min: u64, max: u64) -> Vec<Profile> {
        let range = ShapeRange { min: vec![min, 3], opt: vec![max, 3], max: vec![max, 3] };
        vec![Profile(BTreeMap::from([("x".to_owned(), range)]))]
    }

    #[test]
    fn graphs_that_return_zeros_or_fail_on_compute_capability_7_5_are_refused_with_a_hint() {
        let step = Operators::read(include_bytes!("../../tests/assets/step.onnx")).expect("a model");
        assert!(step.f32_matmul.is_some() && step.conv_3d.is_none() && step.bf16.is_none(), "{step:?}");
        let refused = |sm, operators: &Operators, profiles: &[Profile]| refusal(Flavour::Rtx, sm, operators, profiles);
        let zeros = refused(Sm::SM75, &step, &range(1, 4)).expect("refused");
        assert!(zeros.contains("returns zeros") && zeros.contains("export"), "{zeros}");
        for (operators, word) in [
            (Operators { conv_3d: Some("c".to_owned()), ..Operators::default() }, "3-D convolution \"c\""),
            (Operators { bf16: Some("t".to_owned()), ..Operators::default() }, "bf16 tensor \"t\""),
        ] {
            assert!(refused(Sm::SM75, &operators, &[]).is_some_and(|text| text.contains(word)));
            assert_eq!(refused(Sm::SM89, &operators, &[]), None);
        }
        // Fixed shapes, other GPUs and classic TensorRT are not affected.
        assert_eq!(refused(Sm::SM75, &step, &range(4, 4)), None);
        assert_eq!(refused(Sm::SM75, &step, &[]), None);
        assert_eq!(refused(Sm::SM86, &step, &range(1, 4)), None);
        assert_eq!(refusal(Flavour::Classic, Sm::SM75, &step, &range(1, 4)), None);
    }
}
