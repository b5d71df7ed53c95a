//! Machines whose driver, container or environment keeps visage from the GPU.

use visage_engines::Sm;
use visage_kernels::nvml::Management;

use super::{Case, ada, bare, case, device, driver, driverless, hopper, library, version, with, wsl};
use crate::doctor::machine::{Probed, System};

/// Faults between visage and the GPU.
pub(super) const DRIVER_CASES: &[Case] = &[
    case("no GPU at all", bare, &["gpu"], &[], "visage serve"),
    case("everything is correct", ada, &[], &[], "580.95.05 supports CUDA 13"),
    case("a GPU and no driver", driverless, &["driver"], &[], "Secure Boot"),
    case(
        "nouveau is loaded",
        || with(driverless(), |machine| machine.gpu.modules = vec!["nouveau".into()]),
        &["driver"],
        &[],
        "nouveau",
    ),
    case(
        "driver updated, not restarted",
        || {
            with(ada(), |machine| {
                machine.gpu.management = Management::Mismatch;
                (machine.gpu.driver, machine.gpu.devices) = (None, Vec::new());
                machine.gpu.cuda_start_code = Some(803);
            })
        },
        &["driver", "cuda"],
        &[],
        "sudo reboot",
    ),
    case(
        "driver of 2022",
        || {
            with(ada(), |machine| {
                driver(machine, "515.105.01", "11.7");
                machine.libraries.nvrtc = library("libnvrtc.so.11.2", "11.8");
                machine.gpu.devices = vec![device("GeForce RTX 3090", Sm::SM86, 24)];
            })
        },
        &["driver-version"],
        &["nvrtc"],
        "wanted 525.60 or newer, found 515.105.01",
    ),
    case(
        "RTX 4090 with driver 530",
        || {
            with(ada(), |machine| {
                driver(machine, "530.30.02", "12.1");
                machine.libraries.nvrtc = library("libnvrtc.so.12", "12.1");
            })
        },
        &[],
        &["driver-version"],
        "530.30.02 supports CUDA 12, 535 or newer is recommended",
    ),
    case(
        "RTX 4090 with the first driver of CUDA 12, which NVIDIA supports",
        || {
            with(ada(), |machine| {
                driver(machine, "525.60.13", "12.0");
                machine.libraries.nvrtc = library("libnvrtc.so.12", "12.1");
            })
        },
        &[],
        &["driver-version"],
        "it came with driver 530.30.02, 535.54 is recommended; 525.60.13 supports it by minor-version compatibility",
    ),
    case(
        "the driver of 12.2, older than recommended",
        || {
            with(ada(), |machine| {
                driver(machine, "535.54.03", "12.2");
                machine.libraries.nvrtc = library("libnvrtc.so.12", "12.2");
                machine.gpu.devices = vec![device("GeForce RTX 3090", Sm::SM86, 24)];
            })
        },
        &[],
        &["driver-version"],
        "; 535.54.03 supports it, 535.86 is recommended",
    ),
    case(
        "driver 535.104, which is newer than 535.54",
        || {
            with(ada(), |machine| {
                driver(machine, "535.104.05", "12.2");
                machine.libraries.nvrtc = library("libnvrtc.so.12", "12.1");
            })
        },
        &[],
        &["driver-version"],
        "libnvrtc.so.12",
    ),
    case(
        "toolkit newer than the driver within one major version",
        || {
            with(ada(), |machine| {
                driver(machine, "550.54.14", "12.4");
                machine.libraries.nvrtc = library("libnvrtc.so.12", "12.9");
            })
        },
        &[],
        &["driver-version"],
        "minor-version compatibility within CUDA 12",
    ),
    case(
        "NVRTC of the wrong major version",
        || with(ada(), |machine| driver(machine, "570.124.06", "12.8")),
        &[],
        &["nvrtc", "driver-version"],
        "pip install nvidia-cuda-nvrtc-cu12",
    ),
    case(
        "RTX 5090 with driver 565",
        || {
            with(ada(), |machine| {
                driver(machine, "565.57.01", "12.7");
                machine.gpu.devices = vec![device("GeForce RTX 5090", Sm::SM120, 32)];
                machine.libraries.nvrtc = library("libnvrtc.so.12", "12.8");
            })
        },
        &["driver-version"],
        &[],
        "wanted 570.26 or newer, found 565.57.01",
    ),
    case(
        "RTX 5090 with NVRTC 12.4",
        || {
            with(ada(), |machine| {
                machine.gpu.devices = vec![device("GeForce RTX 5090", Sm::SM120, 32)];
                machine.libraries.nvrtc = library("libnvrtc.so.12", "12.4");
            })
        },
        &[],
        &["nvrtc"],
        "RTX 50xx need CUDA 12.8 or newer",
    ),
    case(
        "CUDA does not start after a suspend",
        || with(ada(), |machine| machine.gpu.cuda_start_code = Some(999)),
        &["cuda"],
        &[],
        "sudo rmmod nvidia_uvm",
    ),
    case(
        "a compatibility library on a GeForce",
        || {
            with(ada(), |machine| {
                driver(machine, "550.54.14", "13.0");
                machine.gpu.cuda_start_code = Some(804);
                machine.libraries.nvrtc = library("libnvrtc.so.12", "12.4");
            })
        },
        &["cuda"],
        &["driver-version"],
        "cuda-compat",
    ),
    case(
        "a compatibility library that starts",
        || {
            with(hopper(), |machine| {
                driver(machine, "550.54.14", "13.0");
                machine.libraries.nvrtc = library("libnvrtc.so.12", "12.4");
            })
        },
        &[],
        &["cuda", "driver-version", "encoder"],
        "precedes the driver's library",
    ),
    case(
        "CUDA library missing in the container",
        || with(ada(), |machine| machine.gpu.cuda = Probed::Missing("not found".into())),
        &["cuda"],
        &[],
        "libnvidia-compute",
    ),
    case(
        "device files not accessible",
        || {
            with(ada(), |machine| {
                machine.gpu.device_files[0].error = Some("Permission denied (os error 13)".into());
                machine.gpu.management = Management::Refused;
                machine.gpu.devices.clear();
                machine.gpu.cuda_start_code = Some(100);
            })
        },
        &["device-files", "cuda"],
        &[],
        "sudo usermod -aG video,render $USER",
    ),
    case(
        "device files not created yet",
        || with(ada(), |machine| machine.gpu.device_files.truncate(2)),
        &["device-files"],
        &[],
        "sudo nvidia-modprobe -c 0 -u",
    ),
    case(
        "hidden by an environment variable",
        || {
            with(ada(), |machine| {
                machine.gpu.hidden_by_variable = Some("CUDA_VISIBLE_DEVICES=-1".into());
                machine.gpu.cuda_start_code = Some(100);
            })
        },
        &["visible", "cuda"],
        &[],
        "unset CUDA_VISIBLE_DEVICES",
    ),
    case(
        "CUDA that hangs",
        || {
            with(ada(), |machine| {
                machine.gpu.cuda = Probed::TimedOut("no answer after 30 s".into());
                machine.gpu.cuda_start_code = None;
            })
        },
        &["cuda"],
        &[],
        "does not start: no answer after 30 s",
    ),
    case(
        "CUDA cannot open the driver's device files",
        || with(ada(), |machine| machine.gpu.cuda_start_code = Some(304)),
        &["cuda"],
        &[],
        "including /dev/nvidia-uvm",
    ),
    case(
        "a container that got the GPU without NVIDIA_VISIBLE_DEVICES",
        || {
            with(ada(), |machine| {
                machine.container = Some("kubernetes".into());
                machine.gpu.hidden_by_variable = Some("NVIDIA_VISIBLE_DEVICES=void".into());
            })
        },
        &[],
        &[],
        "NVIDIA_VISIBLE_DEVICES=void, but the GPU's device files exist",
    ),
    case(
        "a container whose variable excludes NVIDIA GPUs",
        || {
            with(ada(), |machine| {
                machine.container = Some("docker".into());
                machine.gpu.hidden_by_variable = Some("NVIDIA_VISIBLE_DEVICES=none".into());
                let gpu = &mut machine.gpu;
                (gpu.device_files, gpu.devices, gpu.driver) = (Vec::new(), Vec::new(), None);
                gpu.management = Management::NoLibrary;
                gpu.cuda = Probed::Missing("not found".into());
            })
        },
        &["container", "visible"],
        &[],
        "docker run --gpus all",
    ),
    case(
        "no driver on the host of a container",
        || with(driverless(), |machine| machine.container = Some("docker".into())),
        &["driver", "container"],
        &[],
        "on the host, outside of this container,",
    ),
    case(
        "RTX 50xx with the proprietary kernel modules",
        || {
            with(ada(), |machine| {
                machine.gpu.pci = vec!["0000:01:00.0 (10de:2b85)".into()];
                machine.gpu.devices.clear();
                machine.gpu.cuda_start_code = Some(100);
            })
        },
        &["driver", "cuda"],
        &[],
        "needs the driver with the open kernel modules",
    ),
    case("WSL, correct", wsl, &[], &[], "instead of /dev/nvidia*"),
    case(
        "WSL without the GPU",
        || with(bare(), |machine| machine.system = System::Wsl),
        &["gpu"],
        &[],
        "wsl.exe --update",
    ),
    case(
        "WSL with an old driver of Windows",
        || {
            with(wsl(), |machine| {
                machine.gpu.driver = Some(version("522.30"));
                machine.gpu.cuda = Probed::Found(version("11.8"));
                machine.libraries.nvrtc = library("libnvrtc.so.12", "12.1");
            })
        },
        &["driver-version"],
        &["nvrtc"],
        "start https://www.nvidia.com/drivers",
    ),
    case(
        "WSL without /usr/lib/wsl in the library search path",
        || with(wsl(), |machine| machine.gpu.cuda = Probed::Missing("not found".into())),
        &["cuda"],
        &[],
        "/usr/lib/wsl/lib",
    ),
    case(
        "container without the runtime",
        || {
            with(ada(), |machine| {
                machine.container = Some("docker".into());
                let gpu = &mut machine.gpu;
                (gpu.device_files, gpu.devices, gpu.driver) = (Vec::new(), Vec::new(), None);
                gpu.management = Management::NoLibrary;
                gpu.cuda = Probed::Missing("not found".into());
            })
        },
        &["container"],
        &[],
        "docker run --gpus all",
    ),
    case(
        "container without compute",
        || {
            with(ada(), |machine| {
                machine.container = Some("kubernetes".into());
                machine.gpu.cuda = Probed::Missing("not found".into());
            })
        },
        &["container"],
        &[],
        "NVIDIA_DRIVER_CAPABILITIES=compute",
    ),
    case(
        "container without utility",
        || {
            with(ada(), |machine| {
                machine.container = Some("docker".into());
                machine.gpu.management = Management::NoLibrary;
                machine.gpu.devices.clear();
            })
        },
        &["container"],
        &[],
        "leaves out utility",
    ),
    case(
        "partly installed driver",
        || {
            with(ada(), |machine| {
                machine.gpu.management = Management::NoLibrary;
                machine.gpu.devices.clear();
            })
        },
        &["driver"],
        &[],
        "nvidia-utils-580",
    ),
    case(
        "a GPU that fell off the bus",
        || {
            with(ada(), |machine| {
                machine.gpu.management = Management::Failed("GPU is lost".into());
                machine.gpu.devices.clear();
                machine.gpu.cuda_start_code = Some(100);
            })
        },
        &["driver", "cuda"],
        &[],
        "loaded, and does not answer: GPU is lost",
    ),
    case(
        "container, correct",
        || with(ada(), |machine| machine.container = Some("podman".into())),
        &[],
        &[],
        "in podman, with the GPU",
    ),
    case(
        "a sandbox without device files in which CUDA starts",
        || {
            with(ada(), |machine| {
                machine.container = Some("docker".into());
                let gpu = &mut machine.gpu;
                (gpu.pci, gpu.modules, gpu.device_files, gpu.kernel_driver) =
                    (Vec::new(), Vec::new(), Vec::new(), None);
            })
        },
        &[],
        &[],
        "580.95.05, and the GPU responds",
    ),
    case("macOS", || with(bare(), |machine| machine.system = System::MacOs), &["gpu"], &[], "macOS has no driver"),
];
