//! NVIDIA's compatibility requirements as tables: the driver for each CUDA toolkit, the support of each compute capability.
//!
//! Contains no verdicts; the checks decide. Each row names its source, and no other file contains these figures.

use visage_engines::{Flavour, Sm, Version};

use super::machine::System;

/// A CUDA toolkit and the first driver that supports all of it.
#[derive(Clone, Copy, Debug)]
pub struct ToolkitRow {
    /// The toolkit.
    pub cuda: Version,
    /// The first driver on Linux.
    pub linux: Version,
    /// The first driver on Windows; `None` where the toolkit includes none (from 13.0 on).
    pub windows: Option<Version>,
    /// A newer first driver on Linux that visage recommends, with the reason. A machine without it passes.
    pub recommended: Option<(Version, &'static str)>,
    /// The source of the row.
    pub source: &'static str,
}

const fn row(cuda: (u32, u32), linux: Version, windows: Option<Version>, source: &'static str) -> ToolkitRow {
    ToolkitRow { cuda: Version::two(cuda.0, cuda.1), linux, windows, recommended: None, source }
}

const fn recommended(row: ToolkitRow, driver: Version, why: &'static str) -> ToolkitRow {
    ToolkitRow { recommended: Some((driver, why)), ..row }
}

const fn two(major: u32, minor: u32) -> Version {
    Version::two(major, minor)
}

const fn three(major: u32, minor: u32, patch: u32) -> Version {
    Version::three(major, minor, patch)
}

const NOTES: &str = "CUDA Toolkit Release Notes, table \"CUDA Toolkit and Corresponding Driver Versions\", rows GA";
const LONG_TERM: &str = "visage policy: the long-term branch R535; R530 was a new-feature branch";
const UPDATED: &str = "visage policy: the driver that came with 12.2 Update 1 (535.86.09 in NVIDIA's table)";

/// First drivers by toolkit, oldest first. A version between two rows uses the older row.
pub const TOOLKITS: &[ToolkitRow] = &[
    row((11, 8), three(520, 61, 5), Some(two(520, 6)), NOTES),
    row((12, 0), three(525, 60, 13), Some(two(527, 41)), NOTES),
    recommended(row((12, 1), three(530, 30, 2), Some(two(531, 14)), NOTES), two(535, 54), LONG_TERM),
    recommended(row((12, 2), three(535, 54, 3), Some(two(536, 25)), NOTES), two(535, 86), UPDATED),
    row((12, 3), three(545, 23, 6), Some(two(545, 84)), NOTES),
    row((12, 4), three(550, 54, 14), Some(two(551, 61)), NOTES),
    row((12, 5), three(555, 42, 2), Some(two(555, 85)), NOTES),
    row((12, 6), three(560, 28, 3), Some(two(560, 76)), NOTES),
    row((12, 8), two(570, 26), Some(two(570, 65)), NOTES),
    row((12, 9), three(575, 51, 3), Some(two(576, 2)), NOTES),
    row((13, 0), three(580, 65, 6), None, NOTES),
    row((13, 1), three(590, 44, 1), None, NOTES),
    row((13, 2), three(595, 45, 4), None, NOTES),
    row((13, 3), three(610, 43, 2), None, NOTES),
];

/// The first driver that supports any toolkit of one major version (minor-version compatibility), oldest first.
/// Source: CUDA Compatibility, "Minor Version Compatibility", table 1 (13.x >= 580, 12.x >= 525, 11.x >= 450); its Windows
/// figures are those of the release notes: 452.39 for 11.x, that of 12.0 GA for 12.x, the same branch for 13.x.
const MAJORS: &[(u32, Version, Version)] =
    &[(11, two(450, 80), two(452, 39)), (12, two(525, 60), two(527, 41)), (13, two(580, 0), two(580, 0))];

/// The CUDA major version of the libraries that visage recommends (`tensorrt-rtx-cu13-libs`), and the oldest one available
/// (`tensorrt-rtx-cu12-libs`).
pub const CUDA_MAJOR: u32 = 13;
/// See `CUDA_MAJOR`.
pub const OLDEST_CUDA_MAJOR: u32 = 12;

/// The first driver that supports a toolkit of `major`.
#[must_use]
pub fn min_driver(major: u32, system: System) -> Option<Version> {
    let row = MAJORS.iter().find(|(known, _, _)| *known == major)?;
    Some(if system.has_windows_driver() { row.2 } else { row.1 })
}

/// The newest major version of CUDA that a driver supports.
#[must_use]
pub fn newest_major(driver: Version, system: System) -> Option<u32> {
    let runs =
        |&&(major, _, _): &&(u32, Version, Version)| min_driver(major, system).is_some_and(|least| driver >= least);
    MAJORS.iter().rev().find(runs).map(|(major, _, _)| *major)
}

/// What is known of the toolkit `cuda`: its row, or that of the newest older one of the same major version.
#[must_use]
pub fn toolkit(cuda: Version) -> Option<&'static ToolkitRow> {
    TOOLKITS.iter().rev().find(|row| row.cuda <= cuda).filter(|row| row.cuda.major() == cuda.major())
}

impl ToolkitRow {
    /// The first driver that supports all of it; `None` where NVIDIA's table has no entry.
    #[must_use]
    pub fn driver(&self, system: System) -> Option<Version> {
        if system.has_windows_driver() { self.windows } else { Some(self.linux) }
    }

    /// The recommended driver, if it is newer than the required one.
    #[must_use]
    pub fn recommended_driver(&self, system: System) -> Option<Version> {
        self.recommended.map(|(driver, _)| driver).filter(|_| !system.has_windows_driver())
    }
}

/// With less memory a GPU holds only the CUDA context of one process, which takes some hundreds of megabytes.
pub const MIN_GPU_MEMORY_BYTES: u64 = 500_000_000;
/// GPU memory for a large model: Sonic's `UNet` in fp16 is an engine of 3.14 GB with 1.12 GB of activations, as
/// built for SM 8.9; the rest is for the other graphs and buffers.
pub const GPU_MEMORY_BYTES: u64 = 6_000_000_000;
/// Disk space for the engines of such a model.
pub const ENGINES_BYTES: u64 = 8_000_000_000;
/// Disk space for the rest of the data folder: certificates.
pub const DATA_FOLDER_BYTES: u64 = 50_000_000;

/// How far visage supports a GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// All features.
    Full,
    /// With restrictions.
    Limited,
    /// Not supported.
    None,
}

/// Properties of a compute capability.
#[derive(Clone, Copy, Debug)]
pub struct SmRow {
    /// The capability.
    pub sm: Sm,
    /// GPUs with this capability.
    pub devices: &'static str,
    /// How far visage supports it.
    pub support: Support,
    /// The first CUDA that compiles for it.
    pub min_cuda: Version,
    /// The first driver for it with CUDA 12, on Linux and on Windows.
    pub min_driver: (Version, Version),
    /// A newer first driver that visage recommends on either system. A machine without it passes.
    pub recommended_driver: Option<Version>,
    /// Whether it has a video encoder (NVENC).
    pub has_encoder: bool,
    /// Remarks for the user.
    pub note: &'static str,
    /// The source of the row.
    pub source: &'static str,
}

const PROGRAMMING: &str = "CUDA C++ Programming Guide, compute capabilities; CUDA 13 release notes: below 7.5 removed";
const RTX_MATRIX: &str = "TensorRT-RTX support matrix; Video Encode and Decode GPU Support Matrix";
const CLASSIC_MATRIX: &str = "TensorRT support matrix; Video Encode and Decode GPU Support Matrix: no NVENC";
const JETSON: &str =
    "TensorRT support matrix, JetPack; Jetson Orin data sheets; visage policy: driver 535 for JetPack's CUDA 12";
const BLACKWELL: &str = "CUDA 12.8 release notes: first toolkit for Blackwell; TensorRT-RTX support matrix";

/// Compute capabilities, oldest first.
pub const CAPABILITIES: &[SmRow] = &[
    SmRow {
        sm: Sm::new(6, 1),
        devices: "GTX 10xx",
        support: Support::None,
        min_cuda: two(8, 0),
        min_driver: (two(367, 48), two(369, 30)),
        recommended_driver: None,
        has_encoder: true,
        note: "no tensor cores; CUDA 13 does not support it",
        source: PROGRAMMING,
    },
    SmRow {
        sm: Sm::new(7, 0),
        devices: "V100",
        support: Support::None,
        min_cuda: two(9, 0),
        min_driver: (two(384, 81), two(385, 54)),
        recommended_driver: None,
        has_encoder: true,
        note: "CUDA 13 does not support it",
        source: PROGRAMMING,
    },
    SmRow {
        sm: Sm::SM75,
        devices: "RTX 20xx, T4",
        support: Support::Limited,
        min_cuda: two(10, 0),
        min_driver: (two(525, 60), two(527, 41)),
        recommended_driver: None,
        has_encoder: true,
        note: "mixed precision in fp16 only: no bf16, no fp8, and slower than real time with large models",
        source: RTX_MATRIX,
    },
    SmRow {
        sm: Sm::SM80,
        devices: "A100, A30",
        support: Support::Full,
        min_cuda: two(11, 0),
        min_driver: (two(525, 60), two(527, 41)),
        recommended_driver: None,
        has_encoder: false,
        note: "classic TensorRT; no NVENC, so video is encoded on the CPU",
        source: CLASSIC_MATRIX,
    },
    SmRow {
        sm: Sm::SM86,
        devices: "RTX 30xx, A10",
        support: Support::Full,
        min_cuda: two(11, 1),
        min_driver: (two(525, 60), two(527, 41)),
        recommended_driver: None,
        has_encoder: true,
        note: "fp16 and bf16",
        source: RTX_MATRIX,
    },
    SmRow {
        sm: Sm::SM87,
        devices: "Jetson Orin",
        support: Support::Limited,
        min_cuda: two(11, 4),
        min_driver: (two(535, 0), two(535, 0)),
        recommended_driver: None,
        has_encoder: true,
        note: "classic TensorRT as JetPack brings it; Orin Nano has no encoder",
        source: JETSON,
    },
    SmRow {
        sm: Sm::SM89,
        devices: "RTX 40xx, L4, L40",
        support: Support::Full,
        min_cuda: two(11, 8),
        min_driver: (two(525, 60), two(527, 41)),
        recommended_driver: Some(two(535, 0)),
        has_encoder: true,
        note: "fp16, bf16 and fp8",
        source: "TensorRT-RTX support matrix; CUDA 12.0 release notes; visage policy: 535 or newer for fp8 with CUDA 12",
    },
    SmRow {
        sm: Sm::SM90,
        devices: "H100, H200",
        support: Support::Full,
        min_cuda: two(11, 8),
        min_driver: (two(525, 60), two(527, 41)),
        recommended_driver: None,
        has_encoder: false,
        note: "classic TensorRT; no NVENC, so video is encoded on the CPU",
        source: CLASSIC_MATRIX,
    },
    SmRow {
        sm: Sm::SM100,
        devices: "B200",
        support: Support::Full,
        min_cuda: two(12, 8),
        min_driver: (two(570, 26), two(570, 65)),
        recommended_driver: None,
        has_encoder: false,
        note: "classic TensorRT; no NVENC, so video is encoded on the CPU",
        source: CLASSIC_MATRIX,
    },
    SmRow {
        sm: Sm::SM120,
        devices: "RTX 50xx",
        support: Support::Full,
        min_cuda: two(12, 8),
        min_driver: (two(570, 26), two(570, 65)),
        recommended_driver: None,
        has_encoder: true,
        note: "fp16, bf16, fp8 and fp4; needs CUDA 12.8 or newer",
        source: BLACKWELL,
    },
    SmRow {
        sm: Sm::SM121,
        devices: "GB10 (DGX Spark)",
        support: Support::Limited,
        min_cuda: two(12, 9),
        min_driver: (two(580, 0), two(580, 0)),
        recommended_driver: None,
        has_encoder: true,
        note: "fp16, bf16, fp8 and fp4; an Arm machine",
        source: BLACKWELL,
    },
];

/// The row of `sm`; for capabilities older than all rows, the oldest row.
#[must_use]
pub fn capability(sm: Sm) -> Option<&'static SmRow> {
    let exact = CAPABILITIES.iter().find(|row| row.sm == sm);
    let too_old = || CAPABILITIES.first().filter(|_| sm < Sm::SM75);
    exact.or_else(too_old)
}

/// The flavours that support `sm`, the preferred one first: for data-centre GPUs, which have no encoder, the
/// classic one.
#[must_use]
pub fn flavours(sm: Sm) -> Vec<Flavour> {
    let mut both = [Flavour::Rtx, Flavour::Classic];
    if capability(sm).is_some_and(|row| !row.has_encoder) {
        both.reverse();
    }
    both.into_iter().filter(|flavour| flavour.knows(sm)).collect()
}

/// A driver version in NVIDIA's format: 535.104.05, 576.02, and 535 for the whole branch.
#[must_use]
pub fn format_driver(driver: Version) -> String {
    let text = driver.to_string();
    let mut parts = text.split('.');
    let major = parts.next().unwrap_or_default().to_owned();
    if text == format!("{major}.0") {
        return major;
    }
    parts.fold(major, |text, part| format!("{text}.{part:0>2}"))
}

impl SmRow {
    /// The first driver for it.
    #[must_use]
    pub fn driver(&self, system: System) -> Version {
        if system.has_windows_driver() { self.min_driver.1 } else { self.min_driver.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        text.parse().expect("a version")
    }

    #[test]
    fn each_toolkit_requires_the_driver_of_its_release_notes() {
        let rows = [
            ("11.8", "520.61.05", "520.06"),
            ("12.1", "530.30.02", "531.14"),
            ("12.2", "535.54.03", "536.25"),
            ("12.3", "545.23.06", "545.84"),
            ("12.4", "550.54.14", "551.61"),
            ("12.5", "555.42.02", "555.85"),
            ("12.6", "560.28.03", "560.76"),
            ("12.7", "560.28.03", "560.76"),
            ("12.8", "570.26", "570.65"),
            ("12.9", "575.51.03", "576.02"),
        ];
        let driver = |cuda, system| toolkit(version(cuda)).expect("a row").driver(system);
        for (cuda, linux, windows) in rows {
            assert_eq!(driver(cuda, System::Linux), Some(version(linux)), "{cuda}");
            assert_eq!(driver(cuda, System::Windows), Some(version(windows)), "{cuda}");
        }
        for (cuda, linux) in
            [("13.0", "580.65.06"), ("13.1", "590.44.01"), ("13.2", "595.45.04"), ("13.3", "610.43.02")]
        {
            assert_eq!(driver(cuda, System::Linux), Some(version(linux)), "{cuda}");
            assert_eq!(driver(cuda, System::Wsl), None, "CUDA 13 includes no Windows driver");
        }
        assert!(toolkit(version("10.2")).is_none());
    }

    #[test]
    fn recommended_drivers_are_newer_than_required_ones_and_have_a_reason() {
        let recommended: Vec<_> =
            TOOLKITS.iter().filter_map(|row| Some((row.cuda, row.linux, row.recommended?))).collect();
        let drivers: Vec<_> = recommended.iter().map(|(cuda, _, (driver, _))| (*cuda, *driver)).collect();
        assert_eq!(drivers, [(two(12, 1), two(535, 54)), (two(12, 2), two(535, 86))]);
        assert!(recommended.iter().all(|(_, linux, (driver, why))| driver > linux && why.starts_with("visage policy")));
        let devices = CAPABILITIES.iter().filter_map(|row| Some((row, row.recommended_driver?)));
        assert!(
            devices.clone().count() == 1
                && devices.clone().all(|(row, driver)| row.sm == Sm::SM89 && driver > row.min_driver.1)
        );
    }

    #[test]
    fn driver_versions_are_printed_in_the_format_of_nvidia() {
        for text in ["535.104.05", "580.65.06", "576.02", "570.26", "535"] {
            assert_eq!(format_driver(version(text)), text);
        }
        assert_eq!(format_driver(two(535, 0)), "535");
    }

    #[test]
    fn a_driver_supports_every_toolkit_of_its_major_versions() {
        for (driver, major) in [("449.9", None), ("520.61", Some(11)), ("535.54.03", Some(12)), ("580.65.06", Some(13))]
        {
            assert_eq!(newest_major(version(driver), System::Linux), major, "{driver}");
        }
        assert_eq!(newest_major(version("526.0"), System::Windows), Some(11));
    }

    #[test]
    fn rows_are_sorted_and_name_their_source() {
        assert!(TOOLKITS.windows(2).all(|pair| pair[0].cuda < pair[1].cuda && pair[0].linux < pair[1].linux));
        assert!(CAPABILITIES.windows(2).all(|pair| pair[0].sm < pair[1].sm));
        assert!(TOOLKITS.iter().all(|row| !row.source.is_empty()));
        assert!(CAPABILITIES.iter().all(|row| !row.source.is_empty()));
    }

    #[test]
    fn every_gpu_that_a_flavour_compiles_for_has_a_row() {
        for sm in Sm::KNOWN {
            let row = capability(sm).expect("a row");
            assert!(row.sm == sm && row.support != Support::None && !flavours(sm).is_empty(), "{sm}");
        }
        assert_eq!(flavours(Sm::SM90), [Flavour::Classic]);
        assert_eq!(flavours(Sm::SM120), [Flavour::Rtx, Flavour::Classic]);
        assert_eq!(flavours(Sm::SM80), [Flavour::Classic, Flavour::Rtx], "a data-centre GPU");
        assert!(flavours(Sm::new(6, 1)).is_empty());
    }

    #[test]
    fn generations_that_are_too_old_are_unsupported() {
        for sm in [Sm::new(3, 5), Sm::new(5, 2), Sm::new(6, 0), Sm::new(7, 2)] {
            assert_eq!(capability(sm).map(|row| row.support), Some(Support::None), "{sm}");
        }
        assert!(capability(Sm::new(13, 0)).is_none(), "future capabilities are unknown");
    }
}
