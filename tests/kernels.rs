//! `visage kernels` with the real compiler: every kernel for every supported GPU, without a GPU.

#![expect(clippy::disallowed_methods, reason = "the environment names the library for tests")]
#![expect(clippy::print_stdout, reason = "skipped tests and figures are printed")]

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

const SMS: &str = "7.5,8.0,8.6,8.9,9.0,10.0,12.0";

fn visage(data: &Path, line: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_visage"));
    command.args(line.split(' ')).arg("--data-dir").arg(data).output().expect("it runs")
}

fn rows(output: &Output) -> Vec<Value> {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn has_library() -> bool {
    let is_set = std::env::var_os("VISAGE_NVRTC_LIB").is_some();
    if !is_set {
        println!("skipped: kernels: VISAGE_NVRTC_LIB does not say where NVRTC is");
    }
    is_set
}

#[test]
fn all_kernels_are_compiled_once_for_all_gpus_and_again_if_damaged() {
    if !has_library() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let build = format!("kernels build --json --sm {SMS}");
    let made = rows(&visage(folder.path(), &build));
    assert_eq!(made.len(), 7 * 6);
    for row in &made {
        let bytes = std::fs::read(row["path"].as_str().expect("a path")).expect("a cubin");
        // ELF machine 190 is CUDA; newer ABI versions have the SM in the second byte of the flags.
        assert_eq!((&bytes[..4], u16::from_le_bytes([bytes[18], bytes[19]])), (&b"\x7fELF"[..], 190));
        let sm = if bytes[8] < 8 { bytes[48] } else { bytes[49] };
        assert_eq!(format!("{}.{}", sm / 10, sm % 10), row["sm"].as_str().expect("an SM"));
        println!("kernels: {} for {}: {} bytes in {} s", row["source"], row["sm"], row["bytes"], row["seconds"]);
    }
    assert!(rows(&visage(folder.path(), &build)).iter().all(|row| row["state"] == "exists"));
    let path = made[0]["path"].as_str().expect("a path");
    std::fs::write(path, b"\x7fELF").expect("written");
    let again = visage(folder.path(), &build);
    let printed = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(printed.contains("compiled again") && printed.contains(path), "{printed}");
    let compiled = rows(&again).into_iter().filter(|row| row["state"] == "compiled").collect::<Vec<_>>();
    assert!(compiled.len() == 1 && compiled[0]["path"] == path, "{compiled:?}");
    let listed = rows(&visage(folder.path(), "kernels list --json"));
    assert!(listed.len() == 20 && listed.iter().all(|row| row["compiled_for"] == SMS), "{listed:?}");
}

#[test]
fn a_missing_or_wrong_library_is_one_error_with_what_to_install() {
    let folder = tempfile::tempdir().expect("a folder");
    for (path, found) in [("/nowhere", "not found"), ("/lib/x86_64-linux-gnu/libm.so.6", "nvrtcVersion")] {
        if path != "/nowhere" && !Path::new(path).exists() {
            println!("skipped: kernels: a wrong library ({path} is not on this machine)");
            continue;
        }
        let output = visage(folder.path(), &format!("kernels build --sm 8.9 --nvrtc-lib {path}"));
        let printed = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), printed.matches("error:").count()), (Some(1), 1), "{printed}");
        assert!(printed.contains(found) && printed.contains("pip install nvidia-cuda-nvrtc-cu12"), "{printed}");
    }
}
