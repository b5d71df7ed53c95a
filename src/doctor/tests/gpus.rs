//! Machines with faults of the GPUs or of NVIDIA's libraries.

use visage_engines::{Flavour, Sm};
use visage_kernels::nvml::MemoryUser;

use super::{Case, GB, ada, case, device, hopper, library, only_device, version, with};
use crate::doctor::machine::{Probed, System};

/// The GPUs themselves and NVIDIA's libraries.
pub(super) const GPU_CASES: &[Case] = &[
    case(
        "GTX 1080",
        || {
            with(ada(), |machine| {
                machine.gpu.devices = vec![device("GeForce GTX 1080", Sm::new(6, 1), 8)];
            })
        },
        &["capability"],
        &[],
        "no tensor cores",
    ),
    case(
        "RTX 2080 Ti",
        || {
            with(ada(), |machine| {
                machine.gpu.devices = vec![device("GeForce RTX 2080 Ti", Sm::SM75, 11)];
            })
        },
        &[],
        &["capability", "turing"],
        "mixed precision",
    ),
    case(
        "A100 with TensorRT for RTX, without NVENC",
        || with(ada(), |machine| machine.gpu.devices = vec![device("A100-SXM4-80GB", Sm::SM80, 80)]),
        &[],
        &["encoder"],
        "no NVENC on NVIDIA A100-SXM4-80GB",
    ),
    case("H200 with classic TensorRT", hopper, &[], &["encoder"], "TensorRT supports SM 9.0"),
    case(
        "H100 with TensorRT for RTX",
        || {
            with(hopper(), |machine| {
                machine.libraries.built_for = Some(Flavour::Rtx);
                machine.libraries.tensorrt_wanted = Some(version("1.7"));
                machine.libraries.tensorrt = library("libtensorrt_rtx.so.1", "1.7.1");
            })
        },
        &["flavour"],
        &["encoder"],
        "cargo build --release --features tensorrt",
    ),
    case(
        "an RTX GPU and the default build",
        || with(ada(), |machine| machine.libraries.built_for = None),
        &["flavour"],
        &[],
        "cargo build --release --features tensorrt-rtx",
    ),
    case(
        "an old GPU beside a good one",
        || with(ada(), |machine| machine.gpu.devices.insert(0, device("GeForce GTX 1080", Sm::new(6, 1), 8))),
        &[],
        &[],
        "GPU 1: SM 8.9",
    ),
    case(
        "two GPUs, the memory of CUDA's first one in use",
        || {
            with(ada(), |machine| {
                let place = |bus: u8| Some(format!("00000000:{bus:02X}:00.0"));
                machine.gpu.devices.push(device("GeForce RTX 4090", Sm::SM89, 24));
                (0..2).for_each(|at| machine.gpu.devices[at].bus_address = place(at as u8));
                machine.gpu.devices[1].memory_free_bytes = GB / 5;
                machine.gpu.first_device_bus_id = place(1);
            })
        },
        &["gpu-memory"],
        &[],
        "GPU 1: wanted at least 0.5 GB, found 0.2 GB of 24.0 GB free",
    ),
    case(
        "GB10, which shares the system memory",
        || {
            with(ada(), |machine| {
                machine.gpu.devices = vec![device("GB10", Sm::SM121, 1)];
                (only_device(machine).memory_bytes, only_device(machine).memory_free_bytes) = (0, 0);
            })
        },
        &[],
        &["capability"],
        "some share the system memory",
    ),
    case(
        "a future GPU",
        || with(ada(), |machine| machine.gpu.devices = vec![device("GeForce RTX 7090", Sm::new(14, 0), 48)]),
        &[],
        &[],
        "newer than this version of visage",
    ),
    case(
        "TensorRT missing",
        || with(ada(), |machine| machine.libraries.tensorrt = Probed::Missing("/opt/trt (not found)".into())),
        &["tensorrt"],
        &[],
        "pip install tensorrt-rtx-cu13-libs",
    ),
    case(
        "TensorRT of another version",
        || with(ada(), |machine| machine.libraries.tensorrt = library("libtensorrt_rtx.so.1", "1.4.0")),
        &["tensorrt"],
        &[],
        "wanted TensorRT-RTX 1.7, found 1.4.0",
    ),
    case(
        "another library under TensorRT's name",
        || with(ada(), |machine| machine.libraries.tensorrt = Probed::Failed("a library without f: libx".into())),
        &["tensorrt"],
        &[],
        "the file is another library",
    ),
    case(
        "NVRTC missing",
        || with(ada(), |machine| machine.libraries.nvrtc = Probed::Missing("the library search path".into())),
        &[],
        &["nvrtc"],
        "pip install nvidia-cuda-nvrtc",
    ),
    case(
        "MIG mode",
        || with(hopper(), |machine| only_device(machine).is_mig = Some(true)),
        &[],
        &["mig", "encoder"],
        "sudo nvidia-smi -mig 0",
    ),
    case(
        "ECC errors",
        || with(hopper(), |machine| only_device(machine).ecc_errors = Some(3)),
        &["ecc"],
        &["encoder"],
        "3 uncorrectable errors",
    ),
    case(
        "laptop on battery",
        || {
            with(ada(), |machine| {
                machine.gpu.devices = vec![device("GeForce RTX 4070 Laptop GPU", Sm::SM89, 8)];
                only_device(machine).is_on_battery = Some(true);
            })
        },
        &[],
        &["power"],
        "plug it in",
    ),
    case(
        "a hot laptop on battery, under Windows",
        || {
            with(ada(), |machine| {
                machine.system = System::Windows;
                machine.gpu.driver = Some(version("581.15"));
                machine.gpu.devices = vec![device("GeForce RTX 4070 Laptop GPU", Sm::SM89, 8)];
                only_device(machine).is_on_battery = Some(true);
                only_device(machine).temperature_c = Some(85);
            })
        },
        &[],
        &["power", "temperature"],
        "powercfg.exe /setactive SCHEME_MIN",
    ),
    case(
        "laptop with a quiet profile",
        || {
            with(ada(), |machine| {
                machine.gpu.devices = vec![device("GeForce RTX 4070 Laptop GPU", Sm::SM89, 8)];
                only_device(machine).power_limit_w = Some(55);
                only_device(machine).power_default_w = Some(115);
            })
        },
        &[],
        &["power"],
        "the laptop's power profile",
    ),
    case(
        "too hot",
        || {
            with(ada(), |machine| {
                only_device(machine).temperature_c = Some(88);
                only_device(machine).slowed_by = vec!["hw_thermal_slowdown".into()];
            })
        },
        &[],
        &["temperature", "power"],
        "throttled by heat",
    ),
    case(
        "memory held by another process",
        || {
            with(ada(), |machine| {
                only_device(machine).memory_free_bytes = GB;
                let name = "/usr/bin/python3".to_owned();
                only_device(machine).memory_users = vec![MemoryUser { pid: 4242, name, bytes: Some(21 * GB) }];
            })
        },
        &[],
        &["gpu-memory"],
        "used by /usr/bin/python3 (pid 4242): 21.0 GB",
    ),
    case(
        "a GPU with 4 GB",
        || with(ada(), |machine| machine.gpu.devices = vec![device("GeForce RTX 3050", Sm::SM86, 4)]),
        &[],
        &["gpu-memory"],
        "--max-sessions 1",
    ),
    case(
        "no room for engines",
        || with(ada(), |machine| machine.disk.free_bytes = Some(2 * GB)),
        &[],
        &["engines-disk"],
        "visage engines prune",
    ),
];
