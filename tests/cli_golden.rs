//! What the command line prints, word for word: transcripts of help, lists and errors in `tests/assets/cli/`.
//!
//! After a change that was meant: `UPDATE_EXPECT=1 cargo test --release --test cli_golden`, then read the diff.

use std::fmt::Write as _;
use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Command, Output};

use expect_test::{ExpectFile, expect_file};
use tempfile::TempDir;

/// A folder with files, and a transcript of commands run in it.
struct Shell {
    folder: TempDir,
    transcript: String,
    /// Values that differ between runs, and their replacements.
    names: Vec<(String, &'static str)>,
}

impl Shell {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let names = vec![(env!("CARGO_PKG_VERSION").to_owned(), "VERSION")];
        Self { folder, transcript: String::new(), names }
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        fs::write(self.folder.path().join(name), bytes).expect("a written file");
    }

    /// Runs `line` in the folder, without any variable that a setting or a message could come from.
    fn run(&self, line: &str) -> Output {
        ended_at_last()
            .args(line.split_whitespace().skip(1))
            .current_dir(self.folder.path())
            .env_clear()
            .env("HOME", self.folder.path())
            .env("PATH", "/usr/bin:/bin")
            .output()
            .expect("the program runs")
    }

    fn enter(&mut self, line: &str) {
        let output = self.run(line);
        let code = output.status.code().expect("an exit code");
        let (printed, talk) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        write!(self.transcript, "$ {line}\n{printed}{talk}[{code}]\n\n").expect("a String has room");
    }

    fn compare(self, golden: &ExpectFile) {
        let named = self.names.iter().fold(self.transcript, |text, (found, name)| text.replace(found, name));
        golden.assert_eq(&without_speed(&named));
    }
}

/// The program; a server that starts where it should not is ended after 20 s, with an exit code of its own.
fn ended_at_last() -> Command {
    let program = env!("CARGO_BIN_EXE_visage");
    if !cfg!(target_os = "linux") {
        return Command::new(program);
    }
    let mut command = Command::new("timeout");
    command.args(["20", program]);
    command
}

/// Removes the speed of rendering, which depends on the machine.
fn without_speed(text: &str) -> String {
    let lines = text.split_inclusive('\n').map(|line| match line.split_once(" frames, ") {
        Some((video, _)) => format!("{video} frames, N times real time\n"),
        None => line.to_owned(),
    });
    lines.collect()
}

#[test]
fn help_matches_the_golden_files() {
    let mut shell = Shell::new();
    for line in ["visage --help", "visage --version", "visage", "visage serv", "visage completions powersh"] {
        shell.enter(line);
    }
    shell.compare(&expect_file!["./assets/cli/help.txt"]);
    for (command, golden) in [
        ("serve", expect_file!["./assets/cli/serve.txt"]),
        ("render", expect_file!["./assets/cli/render.txt"]),
        ("bench", expect_file!["./assets/cli/bench.txt"]),
        ("top", expect_file!["./assets/cli/top.txt"]),
        ("avatars", expect_file!["./assets/cli/avatars.txt"]),
        ("packs", expect_file!["./assets/cli/packs.txt"]),
        ("doctor", expect_file!["./assets/cli/doctor_help.txt"]),
        ("engines", expect_file!["./assets/cli/engines.txt"]),
        ("engines build", expect_file!["./assets/cli/engines_build.txt"]),
        ("kernels", expect_file!["./assets/cli/kernels.txt"]),
        ("kernels build", expect_file!["./assets/cli/kernels_build.txt"]),
        ("completions", expect_file!["./assets/cli/completions.txt"]),
    ] {
        let mut shell = Shell::new();
        shell.enter(&format!("visage {command} --help"));
        shell.compare(&golden);
    }
}

#[test]
fn lists_match_the_golden_files() {
    let mut shell = Shell::new();
    let packs: serde_json::Value = serde_json::from_slice(&shell.run("visage packs --json").stdout).expect("JSON");
    shell.names.push((packs[0]["bytes"].to_string(), "BYTES"));
    for line in ["visage avatars", "visage avatars --json", "visage packs", "visage packs --json"] {
        shell.enter(line);
    }
    shell.compare(&expect_file!["./assets/cli/lists.txt"]);
}

#[test]
fn a_video_that_cannot_be_rendered_has_a_hint() {
    if !cfg!(target_os = "linux") {
        println!("skipped: texts of errors (the golden files have those of Linux)");
        return;
    }
    let mut shell = Shell::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let audio = fs::read(root.join("web/samples/hello.wav")).expect("a audio");
    fs::create_dir(shell.folder.path().join("folder")).expect("a folder");
    shell.put("audio.wav", &audio[..]);
    shell.put("truncated.wav", &audio[..20_000]);
    shell.put("header.wav", &audio[..44]);
    shell.put("empty.wav", b"");
    shell.put("notes.txt", b"eggs, milk, bread\n");
    for line in [
        "visage render",
        "visage render --audio missing.wav --out talk.mp4",
        "visage render --audio folder --out talk.mp4",
        "visage render --audio empty.wav --out talk.mp4",
        "visage render --audio header.wav --out talk.mp4",
        "visage render --audio notes.txt --out talk.mp4",
        "visage render --audio truncated.wav --out talk.mp4",
        "visage render --audio audio.wav --out nowhere/talk.mp4",
        "visage render --audio audio.wav --out folder",
        "visage render --audio audio.wav --out talk.mp4 --avatar bob",
        "visage render --audio audio.wav --out talk.mp4 --resolution-px 7",
        "visage avatars --jsn",
        "visage --log loud avatars",
        "visage --pack nowhere packs",
    ] {
        shell.enter(line);
    }
    shell.compare(&expect_file!["./assets/cli/render_errors.txt"]);
}

#[test]
fn a_server_that_cannot_start_has_a_hint() {
    if !cfg!(target_os = "linux") {
        println!("skipped: texts of errors (the golden files have those of Linux)");
        return;
    }
    let mut shell = Shell::new();
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a port");
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let port = tcp.local_addr().expect("an address").port();
    let udp_port = udp.local_addr().expect("an address").port();
    shell.names.extend([(port.to_string(), "PORT"), (udp_port.to_string(), "UDP")]);
    shell.put("nonsense.pem", b"nonsense\n");
    fs::create_dir(shell.folder.path().join("folder")).expect("a folder");
    for line in [
        "visage serve --port {port}",
        "visage serve --port 0 --udp-port {udp}",
        "visage serve --port 0 --udp-port 0 --tls-cert missing.pem --tls-key missing.pem",
        "visage serve --port 0 --udp-port 0 --tls-cert nonsense.pem --tls-key nonsense.pem",
        "visage serve --tls-cert nonsense.pem",
        "visage serve --port 0 --udp-port 0 --tls self-signed --data-dir nonsense.pem",
        "visage serve --port 0 --udp-port 0 --trace folder",
        "visage serve --max-sessions 0",
        "visage serve --host somewhere",
        "visage bench --url http://127.0.0.1:1",
        "visage bench --pack missing",
        "visage bench --compare missing.json missing.json",
        "visage bench --compare nonsense.pem nonsense.pem",
    ] {
        let line = line.replace("{port}", &port.to_string()).replace("{udp}", &udp_port.to_string());
        shell.enter(&line);
    }
    shell.compare(&expect_file!["./assets/cli/server_errors.txt"]);
}

#[test]
fn faults_in_a_machine_description_have_hints() {
    let mut shell = Shell::new();
    let machines = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/assets/machines");
    for name in ["bare.json", "h100.json", "laptop.json"] {
        shell.put(name, &fs::read(machines.join(name)).expect("a machine description"));
    }
    shell.put("nonsense.json", b"{\"gpus\": 1}");
    for line in [
        "visage doctor --machine bare.json",
        "visage doctor --machine bare.json --for gpu",
        "visage doctor --machine bare.json --json",
        "visage doctor --machine h100.json --for gpu",
        "visage doctor --machine h100.json --for gpu --fix-hints",
        "visage doctor --machine laptop.json --for gpu",
        "visage doctor --machine laptop.json --explain no-kernel-image",
        "visage doctor --machine bare.json --explain 700",
        "visage doctor --machine bare.json --explain mouth --json",
        "visage doctor --rules",
        "visage doctor --machine bare.json --explain elephants",
        "visage doctor --machine missing.json",
        "visage doctor --machine nonsense.json",
        "visage doctor --for tpu",
        "visage doctor --turn turns:host",
    ] {
        shell.enter(line);
    }
    shell.compare(&expect_file!["./assets/cli/doctor.txt"]);
}

#[test]
fn doctor_passes_for_the_cpu_and_lists_what_a_gpu_needs() {
    let shell = Shell::new();
    let ports = "--port 0 --udp-port 0";
    let cpu = shell.run(&format!("visage doctor --for cpu {ports} --json"));
    assert_eq!(cpu.status.code(), Some(0), "{cpu:?}");
    let report: serde_json::Value = serde_json::from_slice(&cpu.stdout).expect("JSON");
    assert_eq!((&report["target"], &report["is_fine"]), (&"cpu".into(), &true.into()));
    // The machine description is printed again unchanged.
    shell.put("here.json", &cpu.stdout);
    let again = shell.run("visage doctor --machine here.json --for cpu --json");
    assert_eq!(String::from_utf8_lossy(&again.stdout), String::from_utf8_lossy(&cpu.stdout));
    let gpu = shell.run(&format!("visage doctor --for gpu {ports} --json"));
    let report: serde_json::Value = serde_json::from_slice(&gpu.stdout).expect("JSON");
    let (has_gpu, code) = (report["machine"]["gpu"]["devices"][0].is_object(), gpu.status.code());
    assert!(has_gpu || code == Some(1), "no GPU, and {code:?}");
    assert_eq!(code, Some(i32::from(report["is_fine"] != true)));
    if !has_gpu {
        let refused = shell.run("visage serve --port 0 --udp-port 0 --backend tensorrt");
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(refused.status.code() == Some(1) && said.contains("(visage doctor: gpu)"), "{said}");
    }
}

#[test]
fn engine_commands_match_the_golden_files() {
    if cfg!(feature = "tensorrt-rtx") || cfg!(feature = "tensorrt") {
        println!("skipped: texts about engines (the golden files have those of a program without TensorRT)");
        return;
    }
    let mut shell = Shell::new();
    shell.names.push((shell.folder.path().display().to_string(), "HOME"));
    for line in [
        "visage engines",
        "visage engines build --sm 8.9",
        "visage engines build --sm nine",
        "visage engines build --sm 8.9 --precision fp7",
        "visage engines list",
        "visage engines list --json",
        "visage engines verify",
        "visage engines prune --keep-gb 1",
        "visage engines prune --keep-gb many",
        "visage engines path",
        "visage engines path --json",
        "visage engines parity",
        "visage engines parity --json",
        "visage serve --port 0 --udp-port 0 --sm 8.9",
    ] {
        shell.enter(line);
    }
    shell.compare(&expect_file!["./assets/cli/engines_words.txt"]);
}

#[test]
fn kernel_commands_match_the_golden_files() {
    if cfg!(feature = "cuda") {
        println!("skipped: texts about kernels (the golden files have those of a program without NVRTC)");
        return;
    }
    let mut shell = Shell::new();
    shell.names.push((shell.folder.path().display().to_string(), "HOME"));
    for line in [
        "visage kernels",
        "visage kernels list",
        "visage kernels build --sm 8.9",
        "visage kernels build --sm nine",
        "visage kernels check",
    ] {
        shell.enter(line);
    }
    shell.compare(&expect_file!["./assets/cli/kernels_words.txt"]);
}
