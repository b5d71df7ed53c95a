//! Checks of the GPUs themselves: their capabilities and their state.

use visage_engines::{Flavour, Sm};
use visage_kernels::nvml::GpuState;

use super::driver::NO_GPU;
use super::gigabytes;
use crate::doctor::compatibility::{self, GPU_MEMORY_BYTES, MIN_GPU_MEMORY_BYTES, SmRow, Support, flavours};
use crate::doctor::{CheckResult, Machine, Verdict};
use crate::gpu_load::{HOT_C, slowed_by};

/// Runs `check` on the GPU that CUDA lists first; where that is unknown, the best result of all GPUs counts. With several GPUs
/// the finding names the number.
fn on_drawing_device(machine: &Machine, run: impl Fn(&GpuState) -> CheckResult) -> CheckResult {
    let gpu = &machine.gpu;
    if gpu.devices.is_empty() {
        return CheckResult::unknown(if machine.has_gpu() { "no GPU responds" } else { NO_GPU });
    }
    let named = |(number, device): (usize, &GpuState)| match run(device) {
        checked_devices if gpu.devices.len() == 1 => checked_devices,
        checked_devices => {
            CheckResult { finding: format!("GPU {number}: {}", checked_devices.finding), ..checked_devices }
        }
    };
    let mut all: Vec<CheckResult> = gpu.checked_devices().into_iter().map(named).collect();
    all.sort_by_key(|result| match result.verdict {
        Verdict::Ok => 0,
        Verdict::Warn => 1,
        Verdict::Unknown => 2,
        Verdict::Fail => 3,
    });
    all.swap_remove(0)
}

fn row(device: &GpuState) -> Result<&'static SmRow, CheckResult> {
    let unknown =
        |sm: Sm| CheckResult::unknown(format!("{}: SM {sm} is newer than this version of visage", device.name));
    let sm = device
        .sm
        .ok_or_else(|| CheckResult::unknown(format!("{} does not report its compute capability", device.name)))?;
    compatibility::capability(sm).ok_or_else(|| unknown(sm))
}

/// What the GPU supports.
pub fn capability(machine: &Machine) -> CheckResult {
    on_drawing_device(machine, |device| {
        let row = match row(device) {
            Ok(row) => row,
            Err(unknown) => return unknown,
        };
        let said = format!("SM {}, {}", device.sm.unwrap_or(row.sm), row.note);
        match row.support {
            Support::Full => CheckResult::ok(said),
            Support::Limited => {
                CheckResult::warn(said).hint("start with a low resolution", &["visage serve --resolution-px 256"])
            }
            Support::None => CheckResult::fail(said)
                .cause("wanted SM 7.5 or newer (RTX 20xx and later)")
                .hint("use the CPU backend, or an RTX GPU", &["visage serve"]),
        }
    })
}

/// Which TensorRT supports the GPU, and whether this program was built with it.
pub fn flavour(machine: &Machine) -> CheckResult {
    on_drawing_device(machine, |device| {
        let Some(sm) = device.sm else {
            return CheckResult::unknown(format!("{} does not report its compute capability", device.name));
        };
        let runs = flavours(sm);
        let Some(best) = runs.first() else {
            return CheckResult::unknown(format!("no known TensorRT supports SM {sm}"));
        };
        let names = runs.iter().map(|flavour| flavour.name()).collect::<Vec<_>>().join(" or ");
        match machine.libraries.built_for {
            Some(built) if runs.contains(&built) => CheckResult::ok(format!("{built} supports SM {sm}")),
            Some(built) => CheckResult::fail(format!("SM {sm} needs {names}, this program was built with {built}"))
                .cause(format!("NVIDIA's support matrix does not list SM {sm} for {built}"))
                .hint(format!("build it with {best}"), &[build_with(*best)]),
            None => CheckResult::fail(format!("SM {sm} needs {names}, this program was built without"))
                .cause("the default build uses the CPU and needs no NVIDIA software")
                .hint(format!("build it with {best}"), &[build_with(*best)]),
        }
    })
}

fn build_with(flavour: Flavour) -> &'static str {
    match flavour {
        Flavour::Rtx => "cargo build --release --features tensorrt-rtx",
        Flavour::Classic => "cargo build --release --features tensorrt",
    }
}

/// Faults of TensorRT-RTX 1.7.1 on the oldest generation that it supports: fp32 matrix products with dynamic
/// shapes return zeros without an error; 3-D convolutions and bf16 are refused.
pub fn turing(machine: &Machine) -> CheckResult {
    on_drawing_device(machine, |device| match device.sm {
        None => CheckResult::unknown(format!("{} does not report its compute capability", device.name)),
        Some(sm) if sm != Sm::SM75 => CheckResult::ok("another generation"),
        Some(_) if machine.libraries.built_for == Some(Flavour::Classic) => CheckResult::ok("classic TensorRT is used"),
        Some(_) => {
            CheckResult::warn("fp32 matrix products with dynamic shapes return zeros; 3-D convolution and bf16 fail")
                .cause("faults of TensorRT-RTX 1.7 on SM 7.5 (RTX 20xx, T4)")
                .hint(
                    "compare each graph with the CPU before use, use fp16 graphs with fixed shapes, or the CPU backend",
                    &["visage engines parity", "visage serve"],
                )
        }
    })
}

/// Whether the GPU has a video encoder.
pub fn encoder(machine: &Machine) -> CheckResult {
    on_drawing_device(machine, |device| match row(device) {
        Ok(row) if row.has_encoder => CheckResult::ok(format!("NVENC on SM {}; visage encodes on the CPU", row.sm)),
        Ok(row) => CheckResult::warn(format!("no NVENC on {}", device.name))
            .cause(format!("data-centre GPUs of SM {} have no video encoder", row.sm))
            .hint("measure how many sessions the CPU can encode", &["visage bench --ramp"]),
        Err(unknown) => unknown,
    })
}

/// Whether the GPU has free memory.
pub fn memory(machine: &Machine) -> CheckResult {
    on_drawing_device(machine, |device| {
        let (free, all) = (device.memory_free_bytes, device.memory_bytes);
        if all == 0 {
            return CheckResult::unknown("the GPU does not report its memory; some share the system memory");
        }
        let (said, wanted) = (format!("{} of {} free", gigabytes(free), gigabytes(all)), gigabytes(GPU_MEMORY_BYTES));
        if free < MIN_GPU_MEMORY_BYTES {
            let wanted = gigabytes(MIN_GPU_MEMORY_BYTES);
            return CheckResult::fail(format!("wanted at least {wanted}, found {said}"))
                .cause(list_memory_users(device))
                .hint("end the programs that use it", &["nvidia-smi"]);
        }
        if free >= GPU_MEMORY_BYTES {
            return CheckResult::ok(said);
        }
        let little = CheckResult::warn(format!("{said}; a large model needs {wanted}"));
        if all < GPU_MEMORY_BYTES {
            return little
                .cause("the GPU has little memory")
                .hint("use a low resolution and one session", &["visage serve --resolution-px 256 --max-sessions 1"]);
        }
        little.cause(list_memory_users(device)).hint("end the programs that use it", &["nvidia-smi"])
    })
}

fn list_memory_users(device: &GpuState) -> String {
    let held = |bytes: Option<u64>| bytes.map_or_else(|| "some".to_owned(), gigabytes);
    let mut users: Vec<_> = device.memory_users.iter().collect();
    users.sort_by_key(|user| std::cmp::Reverse(user.bytes));
    let answer = users.iter().take(3).map(|user| format!("{} (pid {}): {}", user.name, user.pid, held(user.bytes)));
    let answer = answer.collect::<Vec<_>>().join(", ");
    if answer.is_empty() {
        "a program of another user or outside this container uses it".to_owned()
    } else {
        format!("used by {answer}")
    }
}

/// The GPU's temperature.
pub fn temperature(machine: &Machine) -> CheckResult {
    on_drawing_device(machine, |device| match device.temperature_c {
        None => CheckResult::unknown("not reported"),
        Some(degrees) if degrees > HOT_C => CheckResult::warn(format!("{degrees} C; at most {HOT_C} C for long runs"))
            .cause("a hot GPU lowers its clocks, and frames are late")
            .hint("check cooling and dust, or lower the power limit", &[&cooler(machine, device)]),
        Some(degrees) => CheckResult::ok(format!("{degrees} C")),
    })
}

/// A power limit of 80 % cools a GPU by several degrees and costs a few percent of its speed. Laptops take the limit from their
/// power profile, and WSL cannot set one.
fn cooler(machine: &Machine, device: &GpuState) -> String {
    let limit = device.power_limit_w.filter(|_| !is_laptop(device) && !machine.system.has_windows_driver());
    limit.map_or_else(
        || "nvidia-smi -q -d TEMPERATURE,POWER".to_owned(),
        |watts| format!("sudo nvidia-smi -pl {}", watts * 4 / 5),
    )
}

/// Below this share of the default power limit a GPU counts as limited.
const LOW_POWER_RATIO: f64 = 0.8;

/// What limits the GPU's power: a battery, a lowered limit, throttling.
pub fn power(machine: &Machine) -> CheckResult {
    on_drawing_device(machine, |device| {
        if device.is_on_battery == Some(true) {
            return CheckResult::warn("on battery")
                .cause("a laptop's GPU gets a fraction of its power then")
                .hint("plug it in and choose the full-power profile", full_power(machine));
        }
        if !device.slowed_by.is_empty() {
            return CheckResult::warn(format!("throttled by {}", slowed_by(&device.slowed_by)))
                .cause("the GPU reached a power or thermal limit")
                .hint("find out what limits it", &["nvidia-smi -q -d PERFORMANCE,POWER"]);
        }
        match device.power_limit_w.zip(device.power_default_w) {
            Some((limit, default)) if f64::from(limit) < LOW_POWER_RATIO * f64::from(default) => {
                let held = CheckResult::warn(format!("{limit} W of {default} W"));
                if is_laptop(device) {
                    return held
                        .cause("the laptop's power profile limits it")
                        .hint("choose the full-power profile", full_power(machine));
                }
                held.cause("a lower limit was set")
                    .hint("raise the limit again", &[&format!("sudo nvidia-smi -pl {default}")])
            }
            Some((limit, _)) => CheckResult::ok(format!("{limit} W")),
            None => CheckResult::unknown("not reported"),
        }
    })
}

fn full_power(machine: &Machine) -> &'static [&'static str] {
    // SCHEME_MIN is the Windows power plan with the least power saving.
    if machine.system.has_windows_driver() {
        &["powercfg.exe /setactive SCHEME_MIN"]
    } else {
        &["powerprofilesctl set performance"]
    }
}

fn is_laptop(device: &GpuState) -> bool {
    device.name.contains("Laptop") || device.name.contains("Max-Q") || device.name.contains("Mobile")
}

/// Memory errors of the GPU.
pub fn ecc(machine: &Machine) -> CheckResult {
    on_drawing_device(machine, |device| match device.ecc_errors {
        None => CheckResult::ok("this GPU does not count them"),
        Some(0) => CheckResult::ok("none since the driver was loaded"),
        Some(errors) => CheckResult::fail(format!("{errors} uncorrectable errors"))
            .cause("the GPU's memory is faulty or overclocked")
            .hint("reset the GPU; if they return, replace it", &["sudo nvidia-smi -r", "nvidia-smi -q -d ECC"]),
    })
}

/// Whether MIG mode is enabled.
pub fn mig(machine: &Machine) -> CheckResult {
    on_drawing_device(machine, |device| match device.is_mig {
        Some(true) => CheckResult::warn("enabled")
            .cause("visage uses one instance, with its share of the memory")
            .hint("name the instance, or turn MIG off", &["nvidia-smi -L", "sudo nvidia-smi -mig 0"]),
        Some(false) => CheckResult::ok("disabled"),
        None => CheckResult::ok("not supported by this GPU"),
    })
}
