//! The result of a benchmark as a table for people.

use std::fmt::Write as _;

use super::report::BenchReport;
use crate::telemetry::{Percentiles, Stage, StepTimes};

impl BenchReport {
    /// The result as a table for a terminal of 80 columns.
    #[must_use]
    pub fn table(&self) -> String {
        let mut out = String::new();
        self.headline(&mut out);
        self.ramp_steps(&mut out);
        if self.frames.due > 0 {
            self.latencies(&mut out);
            self.health(&mut out);
        }
        self.viewers(&mut out);
        self.churn(&mut out);
        self.warnings.iter().for_each(|warning| line(&mut out, &format!("  ! {warning}")));
        if !self.warnings.is_empty() {
            line(&mut out, "  ! these numbers are unreliable: measure again on a quiet machine");
        }
        out
    }

    fn headline(&self, out: &mut String) {
        let info = |name: &str| self.server[name].as_str().unwrap_or("?").to_owned();
        let codecs = self.server["video_codecs"].as_array().into_iter().flatten().filter_map(|name| name.as_str());
        let codecs = codecs.collect::<Vec<_>>().join(", ");
        let what = if self.ramp.is_empty() { sessions(self.sessions) } else { "ramp, each step".to_owned() };
        line(out, &format!("{what}, {:.0} s, {} on {}, {}", self.seconds, info("pack"), info("backend"), codecs));
        line(
            out,
            &format!(
                "{}, {} cores, {} MB, Linux {}\n",
                self.machine.cpu, self.machine.cores, self.machine.memory_mb, self.machine.kernel
            ),
        );
    }

    fn latencies(&self, out: &mut String) {
        line(
            out,
            &format!("  {:<26}{:>8}{:>8}{:>8}{:>8}{:>8}{:>8}", "milliseconds", "p50", "p90", "p95", "p99", "max", "n"),
        );
        row(out, "audio to frame", &self.audio_to_frame_ms);
        row(out, "processing", &self.processing_ms);
        self.stages(out);
        row(out, "video after audio", &self.av_offset_ms.upper());
        if self.interruption_ms.n > 0 {
            row(out, "interruption to last frame", &self.interruption_video_ms);
            row(out, "interruption to last audio", &self.interruption_audio_ms);
        }
        if self.speech_to_audio_ms.n > 0 {
            row(out, "streamed speech to audio", &self.speech_to_audio_ms);
        }
        if let Some(lag) = self.lip_lag_ms {
            row(out, "lips after audio", &lag.upper());
        }
        out.push('\n');
    }

    fn stages(&self, out: &mut String) {
        // The first stage is the origin of the times.
        for name in Stage::ALL.into_iter().skip(1).map(Stage::name) {
            let spans = self.video_stages.get(&format!("{name}_ms"));
            spans.into_iter().for_each(|spans| row(out, &format!("  {name}").replace('_', " "), spans));
            if name == Stage::Inferred.name() {
                self.gpu_steps(out);
            }
        }
        for name in ["jitter_buffer", "queue", "encode", "send"] {
            let spans = self.audio_stages.get(&format!("{name}_ms"));
            spans.into_iter().for_each(|spans| row(out, &format!("  audio: {name}").replace('_', " "), spans));
        }
    }

    fn gpu_steps(&self, out: &mut String) {
        for part in StepTimes::NAMES {
            let spans = self.gpu.get(&format!("{part}_ms"));
            spans.into_iter().for_each(|spans| row(out, &format!("    {part}"), spans));
        }
    }

    fn health(&self, out: &mut String) {
        let f = self.frames;
        let share = 100.0 * f.on_time_ratio();
        line(
            out,
            &format!(
                "  frames    {} due, {} on time ({share:.2} %), {} late, {} dropped; {} freezes",
                f.due, f.on_time, f.late, f.dropped, self.freezes
            ),
        );
        line(
            out,
            &format!(
                "  a/v sync  {:.2} % of frames within +20/-40 ms; {} of {} markers detected",
                100.0 * self.av_within_ratio,
                self.markers.found,
                self.markers.sent
            ),
        );
        let c = self.cost;
        line(
            out,
            &format!(
                "  cost      server {:.3} cores, clients {:.3}; {:.0} MB idle + {:.1} MB per session, {} threads",
                c.server_cores, c.client_cores, c.idle_mb, c.per_session_mb, c.threads
            ),
        );
    }

    fn viewers(&self, out: &mut String) {
        let Some(v) = &self.viewers else { return };
        let (on_time, worst) = (100.0 * v.frames.on_time_ratio(), 100.0 * v.worst_on_time_ratio);
        let (encodes, joined_ms) = (v.encodes_per_frame, v.join_ms.p50);
        line(
            out,
            &format!(
                "  viewers   {} besides the creator: {on_time:.2} % of their frames on time, worst viewer {worst:.2} %",
                v.viewers
            ),
        );
        line(out, &format!("            {encodes:.2} encodes per frame; connected in {joined_ms:.0} ms"));
        line(
            out,
            &format!(
                "            server {:.3} -> {:.3} cores: {:.3} % of a core per viewer; clients {:.3} -> {:.3}",
                v.server_cores_without,
                v.server_cores_with,
                v.core_percent_per_viewer,
                v.client_cores_without,
                v.client_cores_with
            ),
        );
    }

    fn churn(&self, out: &mut String) {
        let Some(c) = &self.churn else { return };
        line(
            out,
            &format!(
                "  churn     {} connected ({} failed) in {:.0} ms (p95 {:.0}); {} sessions leaked",
                c.joined, c.failed, c.join_ms.p50, c.join_ms.p95, c.leaked_sessions
            ),
        );
        line(
            out,
            &format!(
                "            memory {:.1} -> {:.1} MB ({:+.1} %), threads {} -> {}",
                c.before_mb,
                c.after_mb,
                100.0 * (c.after_mb / c.before_mb.max(1e-9) - 1.0),
                c.threads_before,
                c.threads_after
            ),
        );
        c.first_failure.iter().for_each(|why| line(out, &format!("            first failure: {why}")));
    }

    /// The steps of a ramp and the capacity that they result in.
    fn ramp_steps(&self, out: &mut String) {
        let Some(last) = self.ramp.last() else { return };
        line(out, "  sessions   on time   late p95 latency p95   server cores   client cores");
        for s in &self.ramp {
            let mut text = format!("  {:>8}", s.sessions);
            if s.client_cores > 0.0 || s.on_time_ratio > 0.0 {
                let (late, latency) = (s.lateness_p95_ms, s.audio_to_frame_p95_ms);
                let (on_time, server, clients) = (100.0 * s.on_time_ratio, s.server_cores, s.client_cores);
                let _ =
                    write!(text, " {on_time:>7.2} % {late:>7.1} ms {latency:>8.1} ms {server:>14.2} {clients:>14.2}");
            }
            if !s.passes {
                let _ = write!(text, "   fails: {}", s.failures.join(", "));
            }
            line(out, &text);
        }
        let most = self.ramp.iter().filter(|s| s.passes).map(|s| s.sessions).max();
        let capacity = match most {
            None => "capacity: less than 1 session; the table below is the first step".to_owned(),
            Some(most) if last.passes => format!("capacity: at least {} (the last step tried)", sessions(most)),
            Some(most) => format!("capacity: {}", sessions(most)),
        };
        line(out, &format!("\n{capacity}\n"));
    }
}

fn sessions(count: usize) -> String {
    format!("{count} session{}", if count == 1 { "" } else { "s" })
}

fn line(out: &mut String, text: &str) {
    // Writing into a String cannot fail.
    let _ = writeln!(out, "{text}");
}

fn row(out: &mut String, name: &str, p: &Percentiles) {
    line(out, &format!("  {name:<26}{:>8.1}{:>8.1}{:>8.1}{:>8.1}{:>8.1}{:>8}", p.p50, p.p90, p.p95, p.p99, p.max, p.n));
}

#[cfg(test)]
mod tests {
    use super::super::measure::FrameTally;
    use super::super::report::RampStep;
    use super::*;

    #[test]
    fn gpu_times_are_listed_below_the_inference_stage_and_only_with_a_gpu() {
        let mut report =
            BenchReport { frames: FrameTally { due: 1, ..FrameTally::default() }, ..BenchReport::default() };
        report.video_stages.insert("inference_ms".into(), Percentiles::default());
        report.video_stages.insert("render_ms".into(), Percentiles::default());
        let names = |report: &BenchReport| {
            let table = report.table();
            let rows = table.lines().filter(|line| line.starts_with("  ") && line.ends_with('0'));
            rows.map(|line| line[..20].trim_end().to_owned()).collect::<Vec<_>>()
        };
        let rows = names(&report);
        let inference = rows.iter().position(|name| name == "    inference").expect("a row");
        assert_eq!(rows[inference + 1], "    render");
        report.gpu = StepTimes::NAMES.map(|part| (format!("{part}_ms"), Percentiles::default())).into();
        assert_eq!(
            names(&report)[inference + 1..][..4],
            ["      upload", "      compute", "      download", "    render"]
        );
    }

    #[test]
    fn a_ramp_reports_its_capacity_and_why_the_next_step_fails() {
        let good = |sessions| RampStep { sessions, on_time_ratio: 1.0, passes: true, ..RampStep::default() };
        let bad = RampStep { sessions: 3, on_time_ratio: 0.9, failures: vec!["late".into()], ..RampStep::default() };
        let table = |ramp: Vec<RampStep>| BenchReport { ramp, ..BenchReport::default() }.table();
        let failed = table(vec![good(1), good(2), bad.clone()]);
        assert!(failed.contains("capacity: 2 sessions\n") && failed.contains("fails: late"), "{failed}");
        assert!(table(vec![good(1)]).contains("capacity: at least 1 session (the last step tried)"));
        assert!(table(vec![RampStep { sessions: 1, ..bad }]).contains("capacity: less than 1 session"));
    }
}
