//! Prometheus' text format, version 0.0.4.
//!
//! Decides how families of metrics are written. Does not decide which exist.

use std::fmt::Write as _;

use super::Distribution;

/// The type of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// It only increases; its name ends in `_total`.
    Counter,
    /// It increases and decreases.
    Gauge,
}

impl MetricKind {
    fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
        }
    }
}

/// Label names and their values.
pub type Labels<'a> = &'a [(&'a str, &'a str)];

/// A page of metrics being written, family by family. Each family is written once.
#[derive(Debug, Default)]
pub struct Exposition(String);

impl Exposition {
    /// A family with one value and no labels.
    pub fn one(&mut self, kind: MetricKind, name: &str, help: &str, value: f64) {
        self.head(kind.name(), name, help);
        self.sample(name, &[], value);
    }

    /// A family with one label, and one value for each value of the label.
    pub fn by<'a, Rows>(&mut self, kind: MetricKind, name: &str, help: &str, (label, rows): (&str, Rows))
    where
        Rows: Iterator<Item = (&'a str, f64)>,
    {
        self.head(kind.name(), name, help);
        rows.for_each(|(of, value)| self.sample(name, &[(label, of)], value));
    }

    /// A family whose values each have their own labels.
    pub fn rows<'a>(
        &mut self,
        kind: MetricKind,
        name: &str,
        help: &str,
        rows: impl Iterator<Item = (Vec<(&'a str, &'a str)>, f64)>,
    ) {
        self.head(kind.name(), name, help);
        rows.for_each(|(labels, value)| self.sample(name, &labels, value));
    }

    /// A gauge of a value that each session has: minimum, median and maximum, so that the page does not grow with the
    /// number of sessions. Without sessions the family has no samples.
    pub fn spread(&mut self, name: &str, help: &str, values: impl Iterator<Item = f64>) {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let at = [("min", 0), ("median", values.len() / 2), ("max", values.len().saturating_sub(1))];
        let rows = at.into_iter().filter_map(|(of, place)| Some((of, *values.get(place)?)));
        self.by(MetricKind::Gauge, name, help, ("stat", rows));
    }

    /// A gauge that is always 1 and carries its information in labels.
    pub fn info(&mut self, name: &str, help: &str, labels: Labels<'_>) {
        self.head("gauge", name, help);
        self.sample(name, labels, 1.0);
    }

    /// A histogram. `rows` are label values (unused if `label` is empty) and durations in seconds.
    pub fn histogram<'a>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        rows: impl Iterator<Item = (&'a str, &'a Distribution)>,
    ) {
        self.head("histogram", name, help);
        rows.for_each(|(of, measured)| self.buckets(name, (label, of), measured));
    }

    /// The page.
    #[must_use]
    pub fn finish(self) -> String {
        self.0
    }

    fn buckets(&mut self, name: &str, label: (&str, &str), measured: &Distribution) {
        let labelled = |le: &'static str| [label, ("le", le)];
        let own: &[(&str, &str)] = if label.0.is_empty() { &[] } else { &[label] };
        let skip = usize::from(label.0.is_empty());
        let bucket = format!("{name}_bucket");
        for (le, count) in measured.buckets() {
            self.sample(&bucket, &labelled(le)[skip..], count as f64);
        }
        self.sample(&bucket, &labelled("+Inf")[skip..], measured.count as f64);
        self.sample(&format!("{name}_sum"), own, measured.sum_s);
        self.sample(&format!("{name}_count"), own, measured.count as f64);
    }

    // Writing to a string cannot fail.
    fn head(&mut self, kind: &str, name: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {}\n# TYPE {name} {kind}", escaped(help));
    }

    fn sample(&mut self, name: &str, labels: Labels<'_>, value: f64) {
        self.0.push_str(name);
        for (index, (label, of)) in labels.iter().enumerate() {
            let opening = if index == 0 { '{' } else { ',' };
            let _ = write!(self.0, "{opening}{label}=\"{}\"", escaped(of).replace('"', "\\\""));
        }
        let closing = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.0, "{closing} {value}");
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Histogram;
    use std::time::Duration;

    #[test]
    fn labels_are_escaped() {
        let mut page = Exposition::default();
        page.info("a_info", "Says a\nthing.", &[("pack", "back\\slash \"quoted\"\nline")]);
        let wanted = "# HELP a_info Says a\\nthing.\n# TYPE a_info gauge\na_info{pack=\"back\\\\slash \\\"quoted\\\"\\nline\"} 1\n";
        assert_eq!(page.finish(), wanted);
    }

    #[test]
    fn sessions_are_summarised_by_minimum_median_and_maximum() {
        let mut page = Exposition::default();
        page.spread("rtt_seconds", "Round trip.", [0.3, 0.1, 0.2].into_iter());
        page.spread("depth_seconds", "Depth.", std::iter::empty());
        let text = page.finish();
        for line in
            ["rtt_seconds{stat=\"min\"} 0.1", "rtt_seconds{stat=\"median\"} 0.2", "rtt_seconds{stat=\"max\"} 0.3"]
        {
            assert!(text.contains(&format!("{line}\n")), "{line} in\n{text}");
        }
        assert!(text.ends_with("# HELP depth_seconds Depth.\n# TYPE depth_seconds gauge\n"), "{text}");
    }

    #[test]
    fn buckets_hold_everything_below_their_bound() {
        let mut histogram = Histogram::default();
        [3, 15, 90, 2000].map(Duration::from_millis).into_iter().for_each(|span| histogram.record(span));
        let mut page = Exposition::default();
        page.histogram("delay_seconds", "Delay.", "", [("", &histogram.distribution())].into_iter());
        let text = page.finish();
        for line in
            ["_bucket{le=\"0.005\"} 1", "_bucket{le=\"0.02\"} 2", "_bucket{le=\"1\"} 3", "_bucket{le=\"+Inf\"} 4"]
        {
            assert!(text.contains(&format!("delay_seconds{line}\n")), "{line} in\n{text}");
        }
        assert!(text.contains("delay_seconds_count 4\n") && text.contains("delay_seconds_sum 2.1"));
    }
}
