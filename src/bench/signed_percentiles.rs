//! Percentiles of values that may be negative.

use serde::{Deserialize, Serialize};

use crate::telemetry::Percentiles;

/// Percentiles of a signed quantity in milliseconds, with the lower tail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct SignedPercentiles {
    pub n: u64,
    pub min: f64,
    pub p01: f64,
    pub p50: f64,
    pub p90: f64,
    pub p95: f64,
    pub p99: f64,
    pub max: f64,
}

impl SignedPercentiles {
    /// Without the lower tail. The sum is not known here and stays zero.
    #[must_use]
    pub fn upper(self) -> Percentiles {
        let Self { n, p50, p90, p95, p99, max, .. } = self;
        Percentiles { n, p50, p90, p95, p99, max, ..Percentiles::default() }
    }
}

/// Nearest-rank percentile of sorted values, rounded to microseconds; 0 if there are none.
fn percentile(sorted: &[f64], quantile: f64) -> f64 {
    let rank = (quantile * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).map_or(0.0, |ms| (ms * 1000.0).round() / 1000.0)
}

/// Percentiles of `values`, lower tail included.
#[must_use]
pub fn signed(values: impl IntoIterator<Item = f64>) -> SignedPercentiles {
    let mut sorted: Vec<f64> = values.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    SignedPercentiles {
        n: sorted.len() as u64,
        min: percentile(&sorted, 0.0),
        p01: percentile(&sorted, 0.01),
        p50: percentile(&sorted, 0.50),
        p90: percentile(&sorted, 0.90),
        p95: percentile(&sorted, 0.95),
        p99: percentile(&sorted, 0.99),
        max: percentile(&sorted, 1.0),
    }
}

/// Percentiles of `values`.
#[must_use]
pub fn unsigned(values: impl IntoIterator<Item = f64>) -> Percentiles {
    signed(values).upper()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_tails_are_kept() {
        let found = signed((-50..50).map(f64::from));
        assert_eq!((found.n, found.min, found.p50, found.p99, found.max), (100, -50.0, -1.0, 48.0, 49.0));
        assert_eq!(signed([]), SignedPercentiles::default());
    }
}
