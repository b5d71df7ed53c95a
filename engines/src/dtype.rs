//! Element types of tensors, graphs and kernels.
//!
//! Decides their names and sizes.

use std::fmt;

/// The type of a tensor's elements, for host memory, device memory, graphs and kernels alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DType {
    /// `f32`, `float` in CUDA, `FLOAT` in ONNX.
    F32,
    /// Half precision, `FLOAT16` in ONNX.
    F16,
    /// `i16`, `short` in CUDA: PCM samples.
    I16,
    /// `i32`, `INT32` in ONNX.
    I32,
    /// `i64`, `INT64` in ONNX: indices and shapes.
    I64,
    /// `u8`, `UINT8` in ONNX: pixels.
    U8,
}

impl DType {
    /// Size of one element in bytes, which is also its alignment.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::I16 | Self::F16 => 2,
            Self::I32 | Self::F32 => 4,
            Self::I64 => 8,
        }
    }

    /// The name in errors and reports: `f32`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::I16 => "i16",
            Self::I32 => "i32",
            Self::I64 => "i64",
            Self::U8 => "u8",
        }
    }
}

/// The element type of an ONNX tensor (`TensorProto.DataType` in onnx.proto).
impl DType {
    pub(crate) fn from_onnx(code: u64) -> Option<Self> {
        Some(match code {
            1 => Self::F32,
            2 => Self::U8,
            5 => Self::I16,
            6 => Self::I32,
            7 => Self::I64,
            10 => Self::F16,
            _ => return None,
        })
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
