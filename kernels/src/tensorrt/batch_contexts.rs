//! Rows of an engine: how many a run may have, and what is kept for each number of them.
//!
//! Decides that a context is used for one number of rows only. NVIDIA's guide leaves undefined what a captured graph does once
//! the context that it was captured from is given other shapes or addresses, so every number of rows that is captured has its
//! own.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use visage_engines::Profile;

use crate::cuda::{Port, Side};

/// One of something for each number of rows.
pub(super) struct ByRows<T>(BTreeMap<usize, T>);

impl<T> Default for ByRows<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T> ByRows<T> {
    /// The one for `rows`, made when it is first asked for.
    pub(super) fn of<E>(&mut self, rows: usize, make: impl FnOnce() -> Result<T, E>) -> Result<&mut T, E> {
        match self.0.entry(rows) {
            Entry::Occupied(there) => Ok(there.into_mut()),
            Entry::Vacant(place) => Ok(place.insert(make()?)),
        }
    }
}

/// The most rows that an engine of these ports takes, by the profile that it was compiled with.
///
/// # Errors
/// If it does not take single rows.
pub(super) fn rows_of(profile: Option<&Profile>, ports: &[Port]) -> Result<usize, String> {
    let mut most = usize::MAX;
    let free = ports.iter().filter(|port| port.side == Side::Input && port.shape.first().is_some_and(Option::is_none));
    for port in free {
        let Some(range) = profile.and_then(|profile| profile.0.get(&port.name)) else { continue };
        let first = |shape: &[u64]| shape.first().and_then(|rows| usize::try_from(*rows).ok()).unwrap_or(usize::MAX);
        if first(&range.min) > 1 {
            return Err(format!(
                "\"{}\" takes at least {} rows: compile it with a profile that begins at one",
                port.name,
                first(&range.min)
            ));
        }
        most = most.min(first(&range.max));
    }
    Ok(most)
}

#[cfg(test)]
mod tests {
    use visage_engines::ShapeRange;

    use super::*;

    fn port(name: &str, side: Side, rows: Option<usize>) -> Port {
        Port { name: name.to_owned(), side, shape: vec![rows, Some(3)] }
    }

    fn profile(ranges: &[(&str, [u64; 3])]) -> Profile {
        let shape = |rows| vec![rows, 3];
        let range = |[min, opt, max]: [u64; 3]| ShapeRange { min: shape(min), opt: shape(opt), max: shape(max) };
        Profile(ranges.iter().map(|(name, rows)| ((*name).to_owned(), range(*rows))).collect())
    }

    #[test]
    fn every_number_of_rows_has_its_own_that_is_made_once() {
        let (mut contexts, mut made) = (ByRows::default(), 0);
        let mut of = |rows| {
            let make = || {
                made += 1;
                Ok::<_, ()>(made)
            };
            *contexts.of(rows, make).expect("made")
        };
        assert_eq!([1, 2, 1, 4, 2, 4].map(&mut of), [1, 2, 1, 3, 2, 3]);
        assert_eq!(contexts.of(3, || Err("no memory")), Err("no memory"));
        assert_eq!(contexts.of(3, || Ok::<_, ()>(9)), Ok(&mut 9), "what was not made is tried again");
    }

    #[test]
    fn no_run_has_more_rows_than_the_profile_of_any_input() {
        let ports = [port("x", Side::Input, None), port("state", Side::Input, None), port("y", Side::Output, None)];
        let rows = |ranges: &[(&str, [u64; 3])]| rows_of(Some(&profile(ranges)), &ports);
        assert_eq!(rows(&[("x", [1, 2, 8]), ("state", [1, 1, 3])]), Ok(3));
        assert_eq!(rows_of(None, &[port("x", Side::Input, Some(1))]), Ok(usize::MAX), "nothing is free");
        let error = rows(&[("x", [2, 2, 8]), ("state", [1, 1, 3])]).expect_err("never a single row");
        assert!(error.contains("\"x\" takes at least 2 rows"), "{error}");
    }
}
