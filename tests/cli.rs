//! The command line: output, files left behind, and exit codes.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use visage::time::Wall;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn visage(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_visage")).args(arguments).output().expect("the program runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn speech_file() -> String {
    root().join("engines/packs/portrait/mouth/golden.wav").display().to_string()
}

fn has(tool: &str) -> bool {
    Command::new(tool).arg("-version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

#[test]
fn help_names_every_command_and_the_exit_codes() {
    let help = text(&visage(&["--help"]).stdout);
    for word in ["serve", "render", "bench", "top", "avatars", "packs", "completions", "Exit codes", "Examples"] {
        assert!(help.contains(word), "no \"{word}\" in\n{help}");
    }
    assert!(help.lines().count() < 50, "the help is long:\n{help}");
}

#[test]
fn wrong_usage_exits_with_2_and_a_failure_with_1() {
    assert_eq!(visage(&["serve", "--prot", "1"]).status.code(), Some(2));
    let output = visage(&["render", "--audio", "/nowhere/speech_file.wav", "--out", "/tmp/x.mp4"]);
    let printed = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        printed.contains("error: ") && printed.contains("hint:  ") && printed.contains("/nowhere/speech_file.wav"),
        "{printed}"
    );
}

#[test]
fn an_unknown_variable_is_wrong_usage_and_the_nearest_one_is_named() {
    let packs = |name: &str| {
        Command::new(env!("CARGO_BIN_EXE_visage")).arg("packs").env(name, "1").output().expect("the program runs")
    };
    let output = packs("VISAGE_MAX_SESSION");
    let printed = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{printed}");
    assert!(printed.contains("VISAGE_MAX_SESSION ") && printed.contains("hint:  VISAGE_MAX_SESSIONS "), "{printed}");
    assert_eq!(packs("VISAGE_BUILD_ENGINES").status.code(), Some(0), "variables of the build are allowed");
}

#[test]
fn avatars_as_json_is_a_list() {
    let output = visage(&["avatars", "--json"]);
    let list: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let names: Vec<_> =
        list.as_array().expect("a list").iter().map(|row| row["name"].as_str().expect("a name")).collect();
    assert_eq!(names.first(), Some(&"mira"));
    assert!(names.len() >= 3, "{names:?}");
}

#[test]
fn completions_name_the_flags() {
    assert!(text(&visage(&["completions", "bash"]).stdout).contains("--max-sessions"));
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a readable folder") {
        let entry = entry.expect("a readable entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a copy");
        }
    }
}

#[test]
fn a_damaged_pack_is_named_by_its_file() {
    let folder = tempfile::tempdir().expect("a folder");
    copy(&root().join("engines/packs/portrait"), folder.path());
    let pack = folder.path().to_str().expect("a plain path");
    assert_eq!(visage(&["--pack", pack, "packs"]).status.code(), Some(0));
    let graph = folder.path().join("mouth/mouth.onnx");
    let mut bytes = fs::read(&graph).expect("the graph");
    bytes[5000] ^= 1;
    fs::write(&graph, bytes).expect("a damaged graph");
    let output = visage(&["--pack", pack, "packs"]);
    let printed = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(printed.contains("mouth/mouth.onnx") && printed.contains("damaged"), "{printed}");
}

/// On a machine with a GPU the comparison runs there and this test is skipped.
#[test]
fn parity_exits_with_1_if_a_lower_precision_exceeds_the_tolerance_or_fails() {
    let folder = tempfile::tempdir().expect("a folder");
    let graph = fs::read(root().join("engines/packs/portrait/mouth/mouth.onnx")).expect("the graph");
    let mut off = graph.clone();
    // The weights, independent of the tool that wrote the file.
    off[graph.len() / 2..][..4000].fill(0);
    let manifest = "name='p'\ntitle='P'\nmodel='portrait'\nlicence='MIT'\navatars=['a']\n[[graphs]]\nname='mouth'\nshapes='1'\nonnx={fp32='a.onnx', fp16='b.onnx'}\n";
    let parity = |narrow: &[u8]| {
        let mut sums = String::new();
        for (name, bytes) in [("pack.toml", manifest.as_bytes()), ("a.onnx", &graph), ("b.onnx", narrow)] {
            fs::write(folder.path().join(name), bytes).expect("written");
            writeln!(sums, "{}  {name}", visage_engines::Digest::of(bytes)).expect("a string");
        }
        fs::write(folder.path().join("SHA256SUMS"), sums).expect("written");
        let output = visage(&["engines", "parity", "--json", "--pack", folder.path().to_str().expect("a plain path")]);
        let rows: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let verdict = rows.as_array().and_then(|rows| rows.last()).map(|row| row["verdict"].clone());
        (output.status.code(), verdict.and_then(|verdict| verdict.as_str().map(str::to_owned)).expect("a verdict"))
    };
    if cfg!(feature = "tensorrt-rtx") && !visage_kernels::find_gpus().is_empty() {
        println!("skipped: files compared on the CPU (there is a GPU)");
        return;
    }
    assert_eq!(parity(&graph), (Some(0), "within".to_owned()));
    assert_eq!(parity(&off), (Some(1), "exceeds its tolerance".to_owned()));
    assert_eq!(parity(b"no graph"), (Some(1), "failed".to_owned()));
}

#[test]
fn render_writes_a_complete_video_that_decodes() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("talk.mp4");
    let arguments = ["render", "--json", "--audio", &speech_file(), "--out", out.to_str().expect("a plain path")];
    let output = visage(&arguments);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(report["frames"].as_u64().is_some_and(|n| (70..85).contains(&n)), "{report}");
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1, "no other file is left");
    if !has("ffprobe") {
        println!("skipped: the video was not probed (no ffprobe on this machine)");
        return;
    }
    let entries = "stream=codec_name,nb_read_frames,width";
    let probe = Command::new("ffprobe")
        .args(["-v", "error", "-count_frames", "-show_entries", entries, "-of", "compact"])
        .arg(&out)
        .output()
        .expect("ffprobe runs");
    let printed = text(&probe.stdout);
    assert!(
        probe.stderr.is_empty()
            && printed.contains("h264")
            && printed.contains("opus")
            && printed.contains("width=512"),
        "{printed}"
    );
}

#[test]
fn a_full_disk_leaves_no_incomplete_video() {
    let full = Path::new("/dev/full");
    if !full.exists() {
        println!("skipped: a full disk (no /dev/full on this machine)");
        return;
    }
    let output = visage(&["render", "--audio", &speech_file(), "--out", "/dev/full"]);
    let printed = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{printed}");
    assert!(printed.contains("No space left") && printed.contains("hint:"), "{printed}");
}

/// A folder with an audio file in which `visage render` runs.
#[cfg(unix)]
struct Renders(tempfile::TempDir);

#[cfg(unix)]
impl Renders {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::copy(speech_file(), folder.path().join("speech_file.wav")).expect("a copy");
        Self(folder)
    }

    fn command(&self, out: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_visage"));
        command.args(["render", "--audio", "speech_file.wav", "--out", out]).current_dir(self.0.path());
        command
    }

    fn run(&self, out: &str) -> (Option<i32>, String) {
        let output = self.command(out).output().expect("the program runs");
        (output.status.code(), text(&output.stderr))
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).expect("a file")
    }

    fn unfinished(&self) -> Option<std::path::PathBuf> {
        let mut paths = fs::read_dir(self.0.path()).expect("a folder").map(|entry| entry.expect("an entry").path());
        paths.find(|path| path.extension().is_some_and(|extension| extension == "unfinished"))
    }
}

#[cfg(unix)]
fn is_mp4(bytes: &[u8]) -> bool {
    bytes.get(4..8) == Some(b"ftyp") && bytes.windows(4).any(|window| window == b"moov")
}

#[cfg(unix)]
#[test]
fn render_refuses_to_overwrite_its_own_input_by_any_name() {
    let renders = Renders::new();
    let before = renders.bytes("speech_file.wav");
    std::os::unix::fs::symlink("speech_file.wav", renders.path("link.wav")).expect("a link");
    fs::hard_link(renders.path("speech_file.wav"), renders.path("hard.wav")).expect("a link");
    for out in ["speech_file.wav", "./speech_file.wav", "link.wav", "hard.wav"] {
        let (code, printed) = renders.run(out);
        assert_eq!(code, Some(1), "{out}: {printed}");
        assert!(printed.contains("the same one") && printed.contains("hint:"), "{out}: {printed}");
        assert_eq!(renders.bytes("speech_file.wav"), before, "{out}");
    }
}

#[cfg(unix)]
#[test]
fn render_keeps_links_devices_and_fifos_as_they_are() {
    use std::os::unix::fs::FileTypeExt;
    let renders = Renders::new();
    std::os::unix::fs::symlink("talk.mp4", renders.path("link.mp4")).expect("a link");
    assert_eq!(renders.run("link.mp4").0, Some(0));
    assert!(renders.path("link.mp4").is_symlink() && is_mp4(&renders.bytes("talk.mp4")));
    std::os::unix::fs::symlink("/dev/null", renders.path("null.mp4")).expect("a link");
    for out in ["/dev/null", "null.mp4"] {
        assert_eq!(renders.run(out).0, Some(0), "{out}");
        assert!(fs::metadata("/dev/null").expect("a device").file_type().is_char_device());
    }
    assert!(Command::new("mkfifo").arg(renders.path("fifo.mp4")).status().expect("mkfifo runs").success());
    let (code, printed) = renders.run("fifo.mp4");
    assert!(code == Some(1) && printed.contains("found a FIFO") && printed.contains("hint:"), "{printed}");
    assert!(fs::metadata(renders.path("fifo.mp4")).expect("a FIFO").file_type().is_fifo());
    assert_eq!(renders.unfinished(), None);
}

#[cfg(unix)]
#[test]
fn two_renders_to_one_path_leave_a_complete_video() {
    let renders = Renders::new();
    let mut both = [0, 1].map(|_| renders.command("talk.mp4").stdout(Stdio::null()).spawn().expect("the program runs"));
    for child in &mut both {
        assert_eq!(child.wait().expect("ended").code(), Some(0));
    }
    assert!(is_mp4(&renders.bytes("talk.mp4")) && renders.unfinished().is_none());
    assert_eq!(renders.run("alone.mp4").0, Some(0));
    assert_eq!(renders.bytes("talk.mp4").len(), renders.bytes("alone.mp4").len(), "no bytes of two writers are mixed");
}

#[cfg(unix)]
#[test]
fn a_render_that_is_killed_leaves_the_old_file() {
    let renders = Renders::new();
    fs::write(renders.path("talk.mp4"), "old").expect("written");
    let mut child = renders.command("talk.mp4").stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it runs");
    while renders.unfinished().is_none() {
        assert!(child.try_wait().expect("a child").is_none(), "it exited before it wrote anything");
        std::thread::yield_now();
    }
    child.kill().expect("killed");
    child.wait().expect("ended");
    assert_eq!(renders.bytes("talk.mp4"), b"old");
    assert_eq!(renders.run("talk.mp4").0, Some(0));
    assert!(is_mp4(&renders.bytes("talk.mp4")));
}

/// A server process, killed on drop.
struct Server(Child, serde_json::Value);

impl Server {
    fn start(more: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_visage"));
        command.args(["serve", "--json", "--port", "0", "--udp-port", "0"]).args(more);
        Self::of(command)
    }

    fn of(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the program runs");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        Self(child, serde_json::from_str(&line).expect("JSON"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn top_reads_a_server_or_this_machine_and_reports_what_is_missing() {
    let json = |arguments: &[&str]| -> serde_json::Value {
        let output = visage(arguments);
        assert!(output.status.success(), "{}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("JSON")
    };
    let here = json(&["top", "--json"]);
    let has_gpu = here["gpus"].as_array().is_some_and(|gpus| !gpus.is_empty());
    assert!(here["server"].is_null() && here["cores"]["of"].as_u64() > Some(0), "{here}");
    assert_eq!(text(&visage(&["top"]).stdout).contains("no NVIDIA GPU responds"), !has_gpu);
    let server = Server::start(&["--token", "s3cret", "--max-sessions", "3"]);
    let url = server.1["url"].as_str().expect("a url");
    let there = json(&["top", "--json", "--url", url, "--token", "s3cret"]);
    assert_eq!(there["server"]["sessions"], serde_json::json!({ "active": 0, "capacity": 3 }), "{there}");
    let refused = visage(&["top", "--url", url]);
    assert!(refused.status.code() == Some(1) && text(&refused.stderr).contains("--token"), "{refused:?}");
}

#[cfg(unix)]
#[test]
fn the_maximum_of_every_numeric_flag_is_accepted_and_larger_values_are_wrong_usage() {
    for (flag, value) in [("--workers", "100000"), ("--workers", "0"), ("--max-sessions", "1025"), ("--token", "")] {
        let refused = visage(&["serve", "--port", "0", "--udp-port", "0", flag, value]);
        assert_eq!(refused.status.code(), Some(2), "{flag} {value}: {}", text(&refused.stderr));
    }
    let mut server = Server::start(&["--workers", "1024", "--max-sessions", "1024"]);
    let pid = server.0.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs").success());
    assert_eq!(server.0.wait().expect("ended").code(), Some(0));
}

#[cfg(target_os = "linux")]
#[test]
fn a_server_raises_its_limit_of_open_files_to_the_hard_limit() {
    let mut command = Command::new("sh");
    let program = env!("CARGO_BIN_EXE_visage");
    command.args(["-c", "ulimit -Sn 256; ulimit -Hn 2048; exec \"$0\" serve --json --port 0 --udp-port 0", program]);
    let server = Server::of(command);
    let limits = fs::read_to_string(format!("/proc/{}/limits", server.0.id())).expect("limits");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("a line");
    assert_eq!(line.split_whitespace().filter(|word| *word == "2048").count(), 2, "{line}");
}

/// A folder with a stub of NVML, which reads its answers from a file in the folder; `None` without a C
/// compiler.
fn folder_with_nvml_stub() -> Option<tempfile::TempDir> {
    let folder = tempfile::tempdir().expect("a folder");
    compile("nvml.c", &folder.path().join("libnvidia-ml.so.1")).then_some(folder)
}

/// Compiles a C file of the tests to a shared library. Returns false without a C compiler.
fn compile(source: &str, library: &Path) -> bool {
    let source = root().join("tests/assets").join(source);
    let built =
        Command::new("cc").args(["-shared", "-fPIC", "-Wall", "-Werror", "-o"]).arg(library).arg(source).status();
    built.is_ok_and(|built| {
        assert!(built.success(), "the stub compiles");
        true
    })
}

#[test]
fn doctor_survives_a_driver_that_ends_its_process_and_checks_the_first_gpu_of_cuda() {
    let folder = folder_with_nvml_stub().filter(|_| cfg!(target_os = "linux"));
    let Some(folder) = folder.filter(|folder| compile("cuda.c", &folder.path().join("libcuda.so.1"))) else {
        println!("skipped: doctor with a stub driver (needs Linux and a C compiler)");
        return;
    };
    let say = |name: &str, line: &str| fs::write(folder.path().join(name), line).expect("a written file");
    let doctor = |setting: Option<&str>| -> serde_json::Value {
        let mut command = Command::new(env!("CARGO_BIN_EXE_visage"));
        command.args(["doctor", "--for", "gpu", "--json"]).current_dir(folder.path());
        command.env("LD_LIBRARY_PATH", folder.path()).env_remove("CUDA_VISIBLE_DEVICES");
        setting.into_iter().for_each(|value| {
            command.env("CUDA_VISIBLE_DEVICES", value);
        });
        serde_json::from_slice(&command.output().expect("the program runs").stdout).expect("JSON")
    };
    let found = |report: &serde_json::Value, id: &str| {
        let checks = report["checks"].as_array().expect("checks").iter();
        checks.filter(|check| check["id"] == id).map(|check| check["finding"].to_string()).collect::<String>()
    };
    say("gpu", "62 4000");
    let report = doctor(None);
    assert_eq!(report["machine"]["gpu"]["first_device_bus_id"], "00000000:0B:00.0");
    assert_eq!(found(&report, "cuda"), "\"CUDA 13.0\"");
    assert!(found(&report, "temperature").contains("GPU 1: "), "and not GPU 0, which is cool: {report}");
    say("cuda", "100");
    let report = doctor(Some("7"));
    assert!(found(&report, "visible").contains("CUDA_VISIBLE_DEVICES=7 hides every GPU"), "{report}");
    say("cuda", "crash");
    let report = doctor(None);
    assert!(found(&report, "cuda").contains("the driver ended the query process (signal: 6 (SIGABRT)"), "{report}");
}

#[test]
fn top_and_server_report_nvml_readings_and_a_lost_gpu() {
    if !cfg!(target_os = "linux") {
        println!("skipped: readings of an NVML stub (needs Linux)");
        return;
    }
    let Some(folder) = folder_with_nvml_stub() else {
        println!("skipped: readings of an NVML stub (no C compiler on this machine)");
        return;
    };
    let say = |line: &str| fs::write(folder.path().join("gpu"), line).expect("a written file");
    let visage = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_visage"));
        command.args(arguments).current_dir(folder.path()).env("LD_LIBRARY_PATH", folder.path());
        command
    };
    let json = |arguments: &[&str]| -> serde_json::Value {
        serde_json::from_slice(&visage(arguments).output().expect("the program runs").stdout).expect("JSON")
    };
    say("62 4000");
    let gpus = json(&["top", "--json"])["gpus"].take();
    let wanted = serde_json::json!({
        "index": 0, "name": "Stand-in 0", "bus_address": "00000000:0A:00.0", "error": null, "temperature_c": 62, "memory_bytes": 24_000_000_000_u64,
        "memory_used_bytes": 19_500_000_000_u64, "memory_free_bytes": 4_000_000_000_u64, "utilization_percent": 71,
        "memory_utilization_percent": 40, "encoder_utilization_percent": 5, "power_w": 312.5, "power_limit_w": 450.0,
        "sm_clock_mhz": 2520, "memory_clock_mhz": 10501, "throttle_reasons": ["hw_thermal_slowdown"], "encoder_sessions": 0,
    });
    assert_eq!(gpus[0], wanted);
    // The second GPU reports no values, which is not an error.
    assert_eq!((&gpus[1]["error"], &gpus[1]["temperature_c"]), (&serde_json::Value::Null, &serde_json::Value::Null));
    let table = text(&visage(&["top"]).output().expect("the program runs").stdout);
    assert!(
        table.contains("19.5/24.0 GB") && table.contains("312/450 W") && table.contains("throttled GPU 0: by heat"),
        "{table}"
    );
    let server = Server::of(visage(&["serve", "--json", "--port", "0", "--udp-port", "0"]));
    let url = server.1["url"].as_str().expect("a url");
    let at_server = json(&["top", "--json", "--url", url]);
    assert_eq!((&at_server["gpus"][0], &at_server["admission"]), (&wanted, &serde_json::Value::Null));
    say("62 4000 lost");
    // Server and command read once a second.
    let seen = (0..10).map(|_| json(&["top", "--json", "--url", url])["gpus"][0]["error"].take());
    assert!(seen.into_iter().any(|silence| silence.is_string()), "the lost GPU is reported");
    say("62 4000");
    let seen = (0..20).map(|_| json(&["top", "--json", "--url", url])["gpus"][0]["error"].take());
    assert!(seen.into_iter().any(|silence| silence.is_null()), "the GPU and its readings are back");
}

#[test]
fn a_port_in_use_has_a_hint() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port().to_string();
    let output = visage(&["serve", "--port", &port]);
    let printed = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(printed.contains(&port) && printed.contains("--port"), "{printed}");
    let taken = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port().to_string();
    let printed = text(&visage(&["serve", "--port", "0", "--udp-port", &port]).stderr);
    assert!(printed.contains("UDP") && printed.contains(&port) && printed.contains("--udp-port"), "{printed}");
}

#[test]
fn a_server_prints_its_address_and_ends_at_a_signal() {
    for signal in ["-INT", "-TERM"] {
        let mut server = Server::start(&[]);
        assert!(server.1["url"].as_str().is_some_and(|url| url.starts_with("http://127.0.0.1:")), "{}", server.1);
        let began = Wall.now();
        let printed = Command::new("kill").args([signal, &server.0.id().to_string()]).status().expect("kill runs");
        assert!(printed.success());
        let status = server.0.wait().expect("it ends");
        assert_eq!(status.code(), Some(0), "{signal}");
        assert!(Wall.now().duration_since(began) < Duration::from_secs(5), "{signal}: it took too long to end");
    }
}

/// Asserts that ffprobe decodes all of `video`, and that it has the reported duration.
fn assert_plays(video: &Path, length_s: f64) {
    let probe = Command::new("ffprobe")
        .args(["-v", "error", "-count_frames", "-show_entries", "format=duration", "-of", "csv=p=0"])
        .arg(video)
        .output()
        .expect("ffprobe runs");
    let found: f64 = text(&probe.stdout).trim().parse().expect("a length");
    assert!(
        probe.stderr.is_empty() && (found - length_s).abs() < 0.1,
        "{found} s {length_s} s {}",
        text(&probe.stderr)
    );
}

#[test]
fn a_stopped_render_leaves_a_shorter_complete_video() {
    for signal in ["-INT", "-TERM"] {
        let folder = tempfile::tempdir().expect("a folder");
        let (out, long) = (folder.path().join("talk.mp4"), folder.path().join("long.wav"));
        let mut wav = fs::read(speech_file()).expect("an audio file");
        // A header that claims more than the file has is read to the end of the file: ten minutes of silence follow.
        wav[40..44].copy_from_slice(&u32::MAX.to_le_bytes());
        wav.resize(wav.len() + 10 * 60 * 32_000, 0);
        fs::write(&long, wav).expect("written");
        let mut child = Command::new(env!("CARGO_BIN_EXE_visage"))
            .args(["render", "--json", "--audio"])
            .args([&long, Path::new("--out"), &out])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program runs");
        let is_unfinished = |entry: std::io::Result<fs::DirEntry>| {
            entry.is_ok_and(|entry| entry.path().extension().is_some_and(|extension| extension == "unfinished"))
        };
        while !fs::read_dir(folder.path()).expect("a folder").any(is_unfinished) {
            assert!(child.try_wait().expect("a child").is_none(), "it exited before it wrote anything");
            std::thread::yield_now();
        }
        let printed = Command::new("kill").args([signal, &child.id().to_string()]).status().expect("kill runs");
        assert!(printed.success());
        let began = Wall.now();
        let output = child.wait_with_output().expect("it ends");
        assert!(Wall.now().duration_since(began) < Duration::from_secs(5), "{signal}: too slow");
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert!(output.status.code() == Some(0) && report["was_stopped"] == true && out.exists(), "{signal}: {report}");
        let left = fs::read_dir(folder.path()).expect("a folder").count();
        assert_eq!(left, 2, "{signal}: wanted the audio and its video, found another file");
        if has("ffprobe") {
            assert_plays(&out, report["video_s"].as_f64().expect("a length"));
        } else {
            println!("skipped: the stopped video was not probed (no ffprobe on this machine)");
        }
    }
}

#[cfg(unix)]
#[test]
fn a_list_whose_reader_exits_ends_silently() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let child = Command::new(env!("CARGO_BIN_EXE_visage")).arg("avatars").stdout(writer).stderr(Stdio::piped()).spawn();
    let output = child.expect("the program runs").wait_with_output().expect("it ends");
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned()), (None, String::new()));
}
