//! Symptoms that a library tells in words or a code.
//!
//! Decides their causes, in order of likelihood, and what to do.

use super::evidence::{
    broken_memory, container, cuda, device_files, driver_missing, driver_old, driver_older_than_card, driver_version,
    engines_of_another_card, engines_of_another_version, hidden, instances, memory, nvrtc_older_than_card, too_old,
};
use super::{Cause, DRIVER, Sign, Symptom};

const REBUILD: &[&str] = &["visage engines prune --keep-gb 0", "visage engines build"];
const XID: &[&str] = &["sudo dmesg | grep -i xid"];

const NO_KERNEL_IMAGE: Symptom = Symptom {
    id: "no-kernel-image",
    title: "no kernel image is available for execution on the device",
    texts: &["no kernel image", "invalid device function", "is not compatible with the current pytorch installation"],
    sights: &[],
    codes: &[
        "98",
        "209",
        "218",
        "cuda_error_no_binary_for_gpu",
        "cuda_error_invalid_ptx",
        "cudaerrornokernelimagefordevice",
        "cudaerrorinvaliddevicefunction",
        "cudaerrorinvalidptx",
    ],
    causes: &[
        Cause {
            says: "the engine was compiled for another card",
            sign: engines_of_another_card,
            remedy: "compile it for this card",
            types: REBUILD,
        },
        Cause {
            says: "the card is too old: nothing compiles for it any more",
            sign: too_old,
            remedy: "SM 7.5 or newer (RTX 20xx and later), or the CPU",
            types: &["visage serve"],
        },
        Cause {
            says: "NVRTC is older than the card",
            sign: nvrtc_older_than_card,
            remedy: "CUDA 12.8 or newer for RTX 50xx",
            types: &["pip install nvidia-cuda-nvrtc"],
        },
        Cause {
            says: "the driver is older than the card",
            sign: driver_older_than_card,
            remedy: "install a newer driver",
            types: DRIVER,
        },
    ],
};

const INSUFFICIENT_DRIVER: Symptom = Symptom {
    id: "insufficient-driver",
    title: "the driver is too old for the CUDA that the libraries were made with",
    texts: &[
        "insufficient for cuda",
        "driver version is insufficient",
        "insufficient driver",
        "driver on your system is too old",
        "driver is too old",
        "unsupported display driver",
        "unsupported toolchain",
        "forward compatibility was attempted",
    ],
    sights: &[],
    codes: &[
        "35",
        "222",
        "803",
        "804",
        "cuda_error_system_driver_mismatch",
        "cuda_error_compat_not_supported_on_device",
        "cuda_error_unsupported_ptx_version",
        "cudaerrorinsufficientdriver",
        "cudaerrorsystemdrivermismatch",
        "cudaerrorcompatnotsupportedondevice",
        "cudaerrorunsupportedptxversion",
    ],
    causes: &[
        Cause {
            says: "the driver is older than the libraries' CUDA needs",
            sign: driver_version,
            remedy: "install driver 580 or newer, or the libraries for CUDA 12",
            types: DRIVER,
        },
        Cause {
            says: "the driver was updated and the kernel still runs the old one",
            sign: driver_missing,
            remedy: "restart the machine",
            types: &["sudo reboot"],
        },
        Cause {
            says: "another libcuda stands before the driver's: a toolkit's stub, or cuda-compat in an image",
            sign: cuda,
            remedy: "take it out of the loader's path",
            types: &["ldconfig -p | grep libcuda", "echo $LD_LIBRARY_PATH"],
        },
    ],
};

const INITIALIZATION_FAILED: Symptom = Symptom {
    id: "initialization-failed",
    title: "CUDA does not start",
    texts: &[
        "initialization error",
        "no cuda-capable device",
        "no cuda gpus are available",
        "cuda unknown error",
        "driver/library version mismatch",
        "could not select device driver",
        "no devices were found",
        "fallen off the bus",
        "libcuda.so",
    ],
    sights: &[(
        &["cuda", "nvml", "nvidia", "gpu", "graphics card"],
        &[
            "initiali",
            "init fail",
            "does not start",
            "not start",
            "couldn't communicate",
            "could not communicate",
            "is not available",
            "is_available() is false",
            "is lost",
            "not found",
            "not detected",
        ],
    )],
    codes: &[
        "3",
        "34",
        "46",
        "100",
        "101",
        "304",
        "802",
        "805",
        "999",
        "cuda_error_not_initialized",
        "cuda_error_no_device",
        "cuda_error_unknown",
        "cuda_error_stub_library",
        "cuda_error_device_unavailable",
        "cuda_error_invalid_device",
        "cuda_error_operating_system",
        "cuda_error_system_not_ready",
        "cuda_error_mps_connection_failed",
        "cudaerrornodevice",
        "cudaerrorinitializationerror",
        "cudaerrorunknown",
        "cudaerrorstublibrary",
        "cudaerrordevicesunavailable",
        "cudaerrorsystemnotready",
    ],
    causes: &[
        Cause {
            says: "no driver is loaded, nouveau is, kernel and libraries differ, or the card fell off the bus",
            sign: driver_missing,
            remedy: "install NVIDIA's driver and restart",
            types: DRIVER,
        },
        Cause {
            says: "the container was started without the card",
            sign: container,
            remedy: "start it with the card",
            types: &["docker run --gpus all ..."],
        },
        Cause {
            says: "the device files are missing or not this user's",
            sign: device_files,
            remedy: "make them, or join their group",
            types: &["sudo nvidia-modprobe -c 0 -u", "sudo usermod -aG video,render $USER"],
        },
        Cause {
            says: "a setting hides the card",
            sign: hidden,
            remedy: "run without it",
            types: &["unset CUDA_VISIBLE_DEVICES NVIDIA_VISIBLE_DEVICES"],
        },
        Cause {
            says: "CUDA's part of the driver is stuck (after a suspend), missing, or waits for another program of NVIDIA's",
            sign: cuda,
            remedy: "load its module anew; on machines with NVSwitch start the fabric manager",
            types: &["sudo rmmod nvidia_uvm", "sudo modprobe nvidia_uvm"],
        },
    ],
};

const OUT_OF_MEMORY: Symptom = Symptom {
    id: "out-of-memory",
    title: "the card has no memory left, at load or at the next session",
    texts: &["out of memory", "outofmemory", "not enough memory on the device", "failed to allocate device memory"],
    sights: &[(
        &["vram", "gpu memory", "gpu's memory", "video memory"],
        &["full", "not enough", "exhaust", "exceed", "runs out"],
    )],
    codes: &[
        "2",
        "oom",
        "cuda_error_out_of_memory",
        "cudaerrormemoryallocation",
        "cublas_status_alloc_failed",
        "cudnn_status_alloc_failed",
    ],
    causes: &[
        Cause {
            says: "the driver: an old one keeps more for itself; check it first",
            sign: driver_old,
            remedy: "install a newer driver",
            types: DRIVER,
        },
        Cause { says: "another program holds the memory", sign: memory, remedy: "end it", types: &["nvidia-smi"] },
        Cause {
            says: "the picture is larger than the card can draw",
            sign: |_| Sign::Hidden("it fails at load or at the first picture, and no longer with --resolution-px 512"),
            remedy: "768 pixels or fewer, and graphs in fp16",
            types: &["visage engines build --precision fp16", "visage serve --resolution-px 512"],
        },
        Cause {
            says: "more sessions than fit",
            sign: |_| Sign::Hidden("the first session runs, the second ends"),
            remedy: "admit fewer",
            types: &["visage serve --max-sessions 1"],
        },
        Cause {
            says: "the card is cut into instances, and one has too little",
            sign: instances,
            remedy: "take a larger instance, or make the card whole",
            types: &["nvidia-smi -L", "sudo nvidia-smi -mig 0"],
        },
    ],
};

const ILLEGAL_ACCESS: Symptom = Symptom {
    id: "illegal-access",
    title: "an illegal memory access was encountered",
    texts: &[
        "illegal memory access",
        "illegal address",
        "illegal instruction was encountered",
        "misaligned address",
        "unspecified launch failure",
        "invalid program counter",
    ],
    sights: &[],
    codes: &[
        "700",
        "715",
        "716",
        "718",
        "719",
        "cuda_error_illegal_address",
        "cuda_error_illegal_instruction",
        "cuda_error_misaligned_address",
        "cuda_error_launch_failed",
        "cudaerrorillegaladdress",
        "cudaerrorillegalinstruction",
        "cudaerrormisalignedaddress",
        "cudaerrorlaunchfailure",
    ],
    causes: &[
        Cause {
            says: "an engine of another version of TensorRT, or a damaged one",
            sign: engines_of_another_version,
            remedy: "hold the engines to their digests, and compile anew what is not right",
            types: &["visage engines verify", "visage engines build"],
        },
        Cause {
            says: "the card's memory is broken, or run too fast",
            sign: broken_memory,
            remedy: "take back any overclocking, reset the card",
            types: &["nvidia-smi -q -d ECC", "sudo nvidia-smi -r"],
        },
        Cause {
            says: "a fault of the driver",
            sign: |_| {
                Sign::Hidden("the kernel's log says Xid 13 or 31 for a program's fault, 48, 63 or 79 for the card's")
            },
            remedy: "install another driver of the same branch",
            types: XID,
        },
        Cause {
            says: "a fault of visage",
            sign: |_| Sign::Hidden("it comes with whole engines, on more than one card, after the same steps"),
            remedy: "report it with what doctor found",
            types: &["visage doctor --for gpu --json > machine.json"],
        },
    ],
};

const PLAN_NOT_COMPATIBLE: Symptom = Symptom {
    id: "plan-not-compatible",
    title: "an engine is not compatible with the library or the card",
    texts: &[
        "serialization error",
        "serialization assertion",
        "deserializecudaengine",
        "version tag does not match",
        "magic tag does not match",
    ],
    sights: &[(
        &["engine", "plan"],
        &[
            "not compatible",
            "incompatible",
            "different version",
            "another version",
            "another card",
            "deserializ",
            "not load",
        ],
    )],
    codes: &[],
    causes: &[
        Cause {
            says: "the engine was compiled by another version of TensorRT",
            sign: engines_of_another_version,
            remedy: "compile it anew: visage does that by itself for engines of its own folder",
            types: REBUILD,
        },
        Cause {
            says: "the engine was compiled for another card",
            sign: engines_of_another_card,
            remedy: "compile it for this card",
            types: REBUILD,
        },
        Cause {
            says: "the engine is of the other flavour, or damaged",
            sign: |_| Sign::Hidden("`visage engines verify` holds each to its digest; its name says rtx or trt"),
            remedy: "hold the engines to their digests",
            types: &["visage engines verify"],
        },
    ],
};

/// Symptoms that a library tells.
pub const SYMPTOMS: &[Symptom] =
    &[NO_KERNEL_IMAGE, INSUFFICIENT_DRIVER, INITIALIZATION_FAILED, OUT_OF_MEMORY, ILLEGAL_ACCESS, PLAN_NOT_COMPATIBLE];
