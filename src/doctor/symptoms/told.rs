//! Symptoms that a library tells in words or a code.
//!
//! Decides their causes, in order of likelihood, and what to do.

use super::signs::{
    broken_memory, container, cuda, device_files, driver_missing, driver_old, driver_older_than_card, driver_version,
    engines_of_another_card, engines_of_another_version, hidden, instances, memory, nvrtc_older_than_card, too_old,
};
use super::{Cause, Sign, Symptom};

const REBUILD: &[&str] = &["visage engines prune --keep-gb 0", "visage engines build"];
const DRIVER: &[&str] = &["sudo apt-get install nvidia-driver-580", "sudo reboot"];
const XID: &[&str] = &["sudo dmesg | grep -i xid"];

const NO_KERNEL_IMAGE: Symptom = Symptom {
    id: "no-kernel-image",
    title: "no kernel image is available for execution on the device",
    texts: &["no kernel image"],
    codes: &["209", "cuda_error_no_binary_for_gpu", "cudaerrornokernelimagefordevice"],
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
    texts: &["insufficient for cuda", "driver version is insufficient", "insufficient driver"],
    codes: &["35", "cudaerrorinsufficientdriver", "cuda_error_system_driver_mismatch", "803"],
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
        "cuda initialization failed",
        "cuda initialization failure",
        "cuda initialization error",
        "initialization error",
        "no cuda-capable device",
        "cuda unknown error",
        "failed to initialize nvml",
    ],
    codes: &[
        "3",
        "100",
        "802",
        "999",
        "cuda_error_not_initialized",
        "cuda_error_no_device",
        "cuda_error_unknown",
        "cudaerrornodevice",
        "cudaerrorinitializationerror",
    ],
    causes: &[
        Cause {
            says: "no driver is loaded, nouveau is, or kernel and libraries differ",
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
            says: "the driver's memory module is stuck (after a suspend), or the fabric manager does not run",
            sign: cuda,
            remedy: "load the module anew; on machines with NVSwitch start the fabric manager",
            types: &["sudo rmmod nvidia_uvm", "sudo modprobe nvidia_uvm"],
        },
    ],
};

const OUT_OF_MEMORY: Symptom = Symptom {
    id: "out-of-memory",
    title: "the card has no memory left, at load or at the next session",
    texts: &["out of memory", "gpu oom", "cuda oom", "outofmemory", "not enough memory on the device"],
    codes: &["2", "oom", "cuda_error_out_of_memory", "cudaerrormemoryallocation"],
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
            sign: |_| Sign::Hidden("it fails at load or at the first picture, and no longer with --picture-px 512"),
            remedy: "768 pixels or fewer, and graphs in fp16",
            types: &["visage engines build --precision fp16", "visage serve --picture-px 512"],
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
    texts: &["illegal memory access", "illegal address"],
    codes: &["700", "cuda_error_illegal_address", "cudaerrorillegaladdress"],
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
        "engine plan not compatible",
        "plan file is not compatible",
        "plan is not compatible",
        "engine is not compatible",
        "serialization error",
        "version tag does not match",
        "incompatible engine",
    ],
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
