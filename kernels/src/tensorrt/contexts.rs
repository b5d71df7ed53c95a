//! The execution contexts of an engine, and the ranges of its free axes.
//!
//! Decides that a captured context keeps its shapes. NVIDIA's guide leaves it undefined what a captured graph does once
//! its context gets other shapes or addresses. Shapes used during warm-up are captured and have
//! a context each; all others share one, because a context of a large network takes gigabytes.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use visage_engines::Profile;
use visage_engines::onnx::{Axis, Lengths, Signature};

use crate::cuda::AxisRange;

/// Contexts by the lengths that they were created for.
pub(super) struct Contexts<T> {
    captured: BTreeMap<Lengths, T>,
    shared: Option<T>,
    is_warm: bool,
}

impl<T> Default for Contexts<T> {
    fn default() -> Self {
        Self { captured: BTreeMap::new(), shared: None, is_warm: false }
    }
}

impl<T> Contexts<T> {
    /// Ends the warm-up: new shapes use the shared context.
    pub(super) fn warmed_up(&mut self) {
        self.is_warm = true;
    }

    /// The context for `lengths`, created on first use.
    pub(super) fn of<E>(&mut self, lengths: &Lengths, create: impl FnOnce() -> Result<T, E>) -> Result<&mut T, E> {
        if self.is_warm && !self.captured.contains_key(lengths) {
            if self.shared.is_none() {
                self.shared = Some(create()?);
            }
            return Ok(self.shared.as_mut().expect("created above"));
        }
        match self.captured.entry(lengths.clone()) {
            Entry::Occupied(created) => Ok(created.into_mut()),
            Entry::Vacant(vacant) => Ok(vacant.insert(create()?)),
        }
    }
}

/// The range of each free axis, by the profile that the engine was built with.
///
/// # Errors
/// If an axis has no range.
pub(super) fn ranges(signature: &Signature, profile: Option<&Profile>) -> Result<BTreeMap<String, AxisRange>, String> {
    let mut ranges: BTreeMap<String, AxisRange> = BTreeMap::new();
    for input in &signature.inputs {
        let range = profile.and_then(|profile| profile.0.get(&input.name));
        for (at, axis) in input.shape.iter().enumerate() {
            let Axis::Free { name, times: 1 } = axis else { continue };
            let length = |shape: &[u64]| shape.get(at).and_then(|length| usize::try_from(*length).ok());
            let found = range.and_then(|range| Some((length(&range.min)?, length(&range.opt)?, length(&range.max)?)));
            let missing = || format!("\"{}\" without a profile for its axis {name}: build it with one", input.name);
            let (min, opt, max) = found.ok_or_else(missing)?;
            let range = ranges.entry(name.clone()).or_insert(AxisRange { min, opt, max });
            *range = AxisRange { min: range.min.max(min), opt: range.opt.min(opt), max: range.max.min(max) };
        }
    }
    Ok(ranges)
}

#[cfg(test)]
mod tests {
    use visage_engines::onnx::TensorInfo;
    use visage_engines::{DType, ShapeRange};

    use super::*;

    fn lengths(rows: usize) -> Lengths {
        [("rows".to_owned(), rows)].into()
    }

    fn signature() -> Signature {
        let info = |name: &str| TensorInfo {
            name: name.to_owned(),
            dtype: DType::F32,
            shape: vec![Axis::free("rows"), Axis::Fixed(3)],
        };
        Signature { inputs: vec![info("x"), info("state")], outputs: vec![info("y")] }
    }

    fn profile(all: &[(&str, [u64; 3])]) -> Profile {
        let shape = |rows| vec![rows, 3];
        let range = |[min, opt, max]: [u64; 3]| ShapeRange { min: shape(min), opt: shape(opt), max: shape(max) };
        Profile(all.iter().map(|(name, rows)| ((*name).to_owned(), range(*rows))).collect())
    }

    #[test]
    fn captured_shapes_keep_their_contexts_and_all_others_share_one() {
        let (mut contexts, mut created) = (Contexts::default(), 0);
        let mut of = |contexts: &mut Contexts<i32>, rows| {
            let create = || {
                created += 1;
                Ok::<_, ()>(created)
            };
            *contexts.of(&lengths(rows), create).expect("created")
        };
        assert_eq!([1, 2, 1, 4, 2, 4].map(|rows| of(&mut contexts, rows)), [1, 2, 1, 3, 2, 3]);
        contexts.warmed_up();
        assert_eq!([1, 3, 5, 2, 3].map(|rows| of(&mut contexts, rows)), [1, 4, 4, 2, 4]);
        let mut contexts = Contexts::default();
        assert_eq!(contexts.of(&lengths(3), || Err("no memory")), Err("no memory"));
        assert_eq!(contexts.of(&lengths(3), || Ok::<_, ()>(9)), Ok(&mut 9), "a failed creation is tried again");
    }

    #[test]
    fn the_range_of_an_axis_is_the_intersection_over_all_inputs() {
        let of = |all: &[(&str, [u64; 3])]| ranges(&signature(), Some(&profile(all)));
        let range = of(&[("x", [1, 2, 8]), ("state", [2, 2, 3])]).expect("ranges")["rows"];
        assert_eq!(range, AxisRange { min: 2, opt: 2, max: 3 });
        let error = of(&[("x", [1, 2, 8])]).expect_err("no range for the state");
        assert!(error.contains("\"state\" without a profile for its axis rows"), "{error}");
        let fixed = Signature { inputs: Vec::new(), outputs: Vec::new() };
        assert_eq!(ranges(&fixed, None), Ok(BTreeMap::new()));
    }
}
