//! Durations by percentile.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Durations from 1 microsecond to 1 minute with three significant digits.
#[derive(Clone, Debug)]
pub struct Histogram(hdrhistogram::Histogram<u64>);

/// Percentiles of a histogram, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Percentiles {
    pub n: u64,
    pub p50: f64,
    pub p90: f64,
    pub p95: f64,
    pub p99: f64,
    pub max: f64,
    #[serde(skip)]
    pub sum: f64,
}

const MAX_US: u64 = 60_000_000;

impl Default for Histogram {
    fn default() -> Self {
        Self(hdrhistogram::Histogram::new_with_bounds(1, MAX_US, 3).expect("bounds are constants"))
    }
}

impl Histogram {
    /// Counts one duration; longer than a minute counts as a minute.
    pub fn record(&mut self, span: Duration) {
        let us = u64::try_from(span.as_micros()).unwrap_or(MAX_US);
        self.0.saturating_record(us.clamp(1, MAX_US));
    }

    /// Adds all that `other` counted.
    pub fn merge(&mut self, other: &Self) {
        // Both have the same bounds, so nothing can be out of range.
        let _ = self.0.add(&other.0);
    }

    /// Number of durations.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// Sum of all in seconds, to the precision of the buckets.
    fn sum_seconds(&self) -> f64 {
        self.0.mean() * self.0.len() as f64 / 1e6
    }

    /// The value at `quantile` (0 to 1), in milliseconds.
    #[must_use]
    pub fn quantile_ms(&self, quantile: f64) -> f64 {
        self.0.value_at_quantile(quantile) as f64 / 1000.0
    }

    /// The usual percentiles.
    #[must_use]
    pub fn percentiles(&self) -> Percentiles {
        Percentiles {
            n: self.count(),
            p50: self.quantile_ms(0.50),
            p90: self.quantile_ms(0.90),
            p95: self.quantile_ms(0.95),
            p99: self.quantile_ms(0.99),
            max: self.0.max() as f64 / 1000.0,
            sum: self.sum_seconds() * 1000.0,
        }
    }
}

/// Upper bounds of the exported buckets: as text for Prometheus, and in microseconds.
const BOUNDS: [(&str, u64); 16] = [
    ("0.001", 1_000),
    ("0.0025", 2_500),
    ("0.005", 5_000),
    ("0.01", 10_000),
    ("0.02", 20_000),
    ("0.03", 30_000),
    ("0.04", 40_000),
    ("0.06", 60_000),
    ("0.08", 80_000),
    ("0.1", 100_000),
    ("0.12", 120_000),
    ("0.16", 160_000),
    ("0.2", 200_000),
    ("0.3", 300_000),
    ("0.5", 500_000),
    ("1", 1_000_000),
];

/// Durations by bucket, for metrics that are summed over time and servers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Distribution {
    /// Number of durations.
    pub count: u64,
    /// Their sum in seconds.
    pub sum_s: f64,
    upto: [u64; BOUNDS.len()],
}

impl Distribution {
    /// Upper bounds in seconds, and the number of durations up to each.
    pub fn buckets(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        BOUNDS.iter().zip(self.upto).map(|((bound, _), count)| (*bound, count))
    }
}

impl Histogram {
    /// The durations by bucket.
    #[must_use]
    pub fn distribution(&self) -> Distribution {
        let mut found = Distribution { count: self.count(), sum_s: self.sum_seconds(), ..Distribution::default() };
        for value in self.0.iter_recorded() {
            let at = BOUNDS.partition_point(|(_, bound)| *bound < self.0.lowest_equivalent(value.value_iterated_to()));
            found.upto[at..].iter_mut().for_each(|count| *count += value.count_at_value());
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_a_hundred_values_are_exact() {
        let mut histogram = Histogram::default();
        (1..=100).for_each(|ms| histogram.record(Duration::from_millis(ms)));
        let found = histogram.percentiles();
        assert_eq!(found.n, 100);
        assert!((found.p95 - 95.0).abs() < 0.2 && (found.p50 - 50.0).abs() < 0.2);
    }
}
