//! `visage top`: the GPUs, sessions and cores, once a second: of a server, or of this machine.
//!
//! Decides what is printed. GPU readings come from `gpu_load`, a server is queried through `api_client`.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use visage_kernels::gpu_watch::GpuWatch;

use super::error::CliError;
use super::flags::{ListFlags, TopFlags};
use super::lists::print_rows;
use crate::api_client::{ApiClient, ApiError};
use crate::gpu_load::{Allowance, GpuReading, slowed_by};
use crate::telemetry::MachineCpu;
use crate::time::Wall;

/// Interval between readings.
const PAUSE: Duration = Duration::from_secs(1);
/// Clears a terminal and moves the cursor to its first line.
const WIPE: &str = "\x1b[2J\x1b[H";
/// The width of a terminal of 80 columns; longer texts get a line of their own.
const COLUMNS: &[&str] = &["gpu", "name", "temp", "busy", "memory", "power", "clock", "enc"];
/// Displayed characters of a GPU's name.
const NAME_LETTERS: usize = 18;

/// The source of the readings.
enum Watched {
    /// A server, elsewhere or here.
    Server(Box<ApiClient>),
    /// This machine, with its GPUs if it has any.
    Here(Option<Box<GpuWatch>>),
}

/// How often to read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Repeat {
    One,
    Many,
}

/// One reading.
#[derive(Debug, Default, PartialEq, Serialize)]
struct Reading {
    server: Option<ServerReading>,
    cores: Cores,
    #[serde(flatten)]
    gpus: GpuReadings,
}

#[derive(Debug, PartialEq, Serialize)]
struct ServerReading {
    pack: Value,
    backend: Value,
    sessions: Value,
}

/// Cores in use: by the server alone, or in total on this machine. `None` if the system does not report it.
#[derive(Debug, Default, PartialEq, Serialize)]
struct Cores {
    busy: Option<f64>,
    of: Option<usize>,
}

/// As `GET /v1/gpus` returns it.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct GpuReadings {
    gpus: Vec<GpuReading>,
    reading_age_ms: Option<u64>,
    admission: Option<Allowance>,
}

/// Processor time spent up to a moment.
#[derive(Clone, Copy)]
struct CpuTime {
    busy_s: Option<f64>,
    at: Instant,
}

/// Reads once a second until stopped, or once: for JSON, and if the output is not a terminal.
pub fn run(wanted: &TopFlags) -> Result<(), CliError> {
    let is_once = wanted.json || !std::io::stdout().is_terminal();
    let looks = if is_once { Repeat::One } else { Repeat::Many };
    Runtime::new()?.block_on(async {
        let mut watched = Watched::open(wanted)?;
        let mut ticks = tokio::time::interval(PAUSE);
        ticks.tick().await;
        let mut before = watched.spent().await?;
        loop {
            ticks.tick().await;
            let now = watched.spent().await?;
            let look = watched.look(before, now).await?;
            before = now;
            print_result(wanted, &look, looks);
            if looks == Repeat::One {
                return Ok(());
            }
        }
    })
}

impl Watched {
    fn open(wanted: &TopFlags) -> Result<Self, CliError> {
        let Some(url) = &wanted.url else { return Ok(Self::Here(GpuWatch::open().map(Box::new))) };
        Ok(Self::Server(Box::new(ApiClient::new(url, wanted.token.clone()).map_err(with_hint)?)))
    }

    async fn spent(&self) -> Result<CpuTime, CliError> {
        let busy_s = match self {
            Self::Server(server) => cpu_seconds(&server.metrics().await.map_err(with_hint)?),
            Self::Here(_) => MachineCpu::read().map(|used| used.busy_s),
        };
        Ok(CpuTime { busy_s, at: Wall.now() })
    }

    async fn look(&mut self, before: CpuTime, now: CpuTime) -> Result<Reading, CliError> {
        let span_s = (now.at - before.at).as_secs_f64();
        let busy = now.busy_s.zip(before.busy_s).map(|(now, before)| (now - before).max(0.0) / span_s);
        let busy = busy.map(|cores| (cores * 100.0).round() / 100.0);
        match self {
            Self::Here(gpus) => {
                let of = std::thread::available_parallelism().ok().map(usize::from);
                let read = gpus.as_mut().map(|gpus| gpus.read());
                let gpus = GpuReadings {
                    reading_age_ms: read.as_ref().map(|_| 0),
                    gpus: read.unwrap_or_default(),
                    admission: None,
                };
                Ok(Reading { server: None, cores: Cores { busy, of }, gpus })
            }
            Self::Server(server) => {
                let mut about = server.server_info().await.map_err(with_hint)?;
                let mut part = |name: &str| about[name].take();
                let (pack, backend, sessions) = (part("pack"), part("backend"), part("sessions"));
                let printed = ServerReading { pack, backend, sessions };
                let gpus = serde_json::from_value(server.gpu_status().await.map_err(with_hint)?)?;
                Ok(Reading { server: Some(printed), cores: Cores { busy, of: None }, gpus })
            }
        }
    }
}

/// The server's own processor time, from its metrics.
fn cpu_seconds(metrics: &str) -> Option<f64> {
    metrics.lines().find_map(|line| line.strip_prefix("process_cpu_seconds_total "))?.parse().ok()
}

fn with_hint(error: ApiError) -> CliError {
    let hint = match &error {
        ApiError::Refused { status: 401, .. } => "--token or VISAGE_TOKEN gives the server's token",
        ApiError::Refused { status: 404, .. } => "a visage of this version must answer there",
        _ => {
            "--url names a server that answers over http, such as http://127.0.0.1:8010; without it this machine is watched"
        }
    };
    CliError::new(error, hint)
}

fn print_result(wanted: &TopFlags, look: &Reading, looks: Repeat) {
    if wanted.json {
        println!("{}", json!(look));
        return;
    }
    if looks == Repeat::Many {
        print!("{WIPE}");
    }
    lines(look).iter().for_each(|line| println!("{line}"));
    if !look.gpus.gpus.is_empty() {
        print_rows(&ListFlags { json: false }, &look.gpus.gpus.iter().map(row).collect::<Vec<_>>(), COLUMNS);
        look.gpus.gpus.iter().filter_map(gpu_problem).for_each(|line| println!("{line}"));
    }
}

/// The lines above the table of GPUs.
fn lines(look: &Reading) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(ServerReading { pack, backend, sessions }) = &look.server {
        lines.push(format!("server    {} on {}", text(pack), text(backend)));
        lines.push(format!("sessions  {} of {}", sessions["active"], sessions["capacity"]));
    }
    if let Cores { busy: Some(busy), of } = look.cores {
        let of = of.map_or_else(|| "used by the server".to_owned(), |of| format!("of {of} in use"));
        lines.push(format!("cores     {busy:.2} {of}"));
    }
    match (&look.server, look.gpus.gpus.is_empty()) {
        (None, true) => {
            lines.push("gpus      no NVIDIA GPU responds; --url shows a server's sessions".to_owned());
        }
        (Some(_), true) => {
            lines.push("gpus      none at the server; showing sessions and cores".to_owned());
        }
        _ => lines.extend(look.gpus.admission.map(admission)),
    }
    lines.extend(
        look.gpus
            .reading_age_ms
            .filter(|ms| *ms > 5000)
            .map(|ms| format!("read      {} s ago: the driver does not respond", ms / 1000)),
    );
    lines
}

fn admission(Allowance { capacity, max_capacity, additional_sessions, .. }: Allowance) -> String {
    let memory = additional_sessions.map_or_else(String::new, |fit| format!(", its memory fits {fit} more"));
    format!("admitted  {capacity} of {max_capacity}{memory}")
}

fn row(gpu: &GpuReading) -> Value {
    let gigabytes = |bytes: u64| bytes as f64 / 1e9;
    let memory = gpu.memory_used_bytes.zip(gpu.memory_bytes);
    let memory = memory.map(|(used, all)| format!("{:.1}/{:.1} GB", gigabytes(used), gigabytes(all)));
    let limit = gpu.power_limit_w.map_or_else(String::new, |limit| format!("/{limit:.0}"));
    json!({
        "gpu": gpu.index,
        "name": short(&gpu.name),
        "temp": gpu.temperature_c.map(|degrees| format!("{degrees} C")),
        "busy": gpu.utilization_percent.map(|percent| format!("{percent} %")),
        "memory": memory,
        "power": gpu.power_w.map(|watts| format!("{watts:.0}{limit} W")),
        "clock": gpu.sm_clock_mhz.map(|megahertz| format!("{megahertz} MHz")),
        "enc": gpu.encoder_sessions,
    })
}

/// The name without "NVIDIA", which all share.
fn short(name: &str) -> String {
    let name = name.trim_start_matches("NVIDIA ");
    if name.chars().count() <= NAME_LETTERS {
        return name.to_owned();
    }
    name.chars().take(NAME_LETTERS - 1).chain(['…']).collect()
}

/// A problem of a GPU, printed below the table.
fn gpu_problem(gpu: &GpuReading) -> Option<String> {
    if let Some(silence) = &gpu.error {
        return Some(format!("silent    GPU {}: {silence}", gpu.index));
    }
    (!gpu.throttle_reasons.is_empty())
        .then(|| format!("throttled GPU {}: by {}", gpu.index, slowed_by(&gpu.throttle_reasons)))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_a_gpu_is_reported() {
        let mut look = Reading { cores: Cores { busy: Some(0.5), of: Some(2) }, ..Reading::default() };
        let printed = lines(&look);
        assert_eq!(printed[0], "cores     0.50 of 2 in use");
        assert!(printed.len() == 2 && printed[1].contains("no NVIDIA GPU responds"), "{printed:?}");
        let sessions = json!({ "active": 2, "capacity": 8 });
        look.server = Some(ServerReading { pack: json!("portrait"), backend: json!("cpu"), sessions });
        look.cores.of = None;
        let wanted = [
            "server    portrait on cpu",
            "sessions  2 of 8",
            "cores     0.50 used by the server",
            "gpus      none at the server; showing sessions and cores",
        ];
        assert_eq!(lines(&look), wanted);
    }

    #[test]
    fn values_that_a_gpu_does_not_report_are_blank() {
        let gpu = GpuReading { temperature_c: Some(62), power_w: Some(312.4), ..GpuReading::default() };
        let printed = row(&gpu);
        assert_eq!(
            (&printed["temp"], &printed["power"], &printed["memory"]),
            (&json!("62 C"), &json!("312 W"), &Value::Null)
        );
        let silent = GpuReading { error: Some("a GPU was lost".into()), ..GpuReading::default() };
        assert_eq!(gpu_problem(&silent).as_deref(), Some("silent    GPU 0: a GPU was lost"));
    }

    #[test]
    fn the_longest_gpu_name_fits_into_80_columns() {
        let gpu = GpuReading {
            index: 15,
            name: "NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition".into(),
            temperature_c: Some(100),
            memory_bytes: Some(288_000_000_000),
            memory_used_bytes: Some(287_000_000_000),
            utilization_percent: Some(100),
            power_w: Some(999.0),
            power_limit_w: Some(1000.0),
            sm_clock_mhz: Some(2520),
            encoder_sessions: Some(12),
            throttle_reasons: vec!["hw_slowdown".into(), "hw_thermal_slowdown".into(), "sw_power_cap".into()],
            ..GpuReading::default()
        };
        let printed = row(&gpu);
        let cell =
            |column: &&str| printed[*column].as_str().map_or_else(|| printed[*column].to_string(), str::to_owned);
        let width = |column: &&str| cell(column).chars().count().max(column.len());
        let all = COLUMNS.iter().map(width).sum::<usize>() + 2 * (COLUMNS.len() - 1);
        assert!(all <= 80, "{all}: {printed}");
        assert_eq!(gpu_problem(&gpu).as_deref(), Some("throttled GPU 15: by heat, its power limit"));
    }

    #[test]
    fn the_cpu_time_of_a_server_is_read_from_its_metrics() {
        let metrics = "# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total 12.5\nprocess_threads 9\n";
        assert_eq!(cpu_seconds(metrics), Some(12.5));
        assert_eq!(cpu_seconds("process_threads 9\n"), None);
    }
}
