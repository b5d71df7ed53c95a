//! Dense tensors in host memory.
//!
//! Decides the layout in bytes: row major, little endian, as on devices and in files.

use visage_kernels::{DType, Half};

/// The elements of a tensor, by their type.
#[derive(Clone, Debug, PartialEq)]
pub enum Elements {
    /// [`DType::F32`].
    F32(Vec<f32>),
    /// [`DType::F16`].
    F16(Vec<Half>),
    /// [`DType::I16`].
    I16(Vec<i16>),
    /// [`DType::I32`].
    I32(Vec<i32>),
    /// [`DType::I64`].
    I64(Vec<i64>),
    /// [`DType::U8`].
    U8(Vec<u8>),
}

/// Runs an expression with the elements as a slice or vector of their type.
macro_rules! for_elements {
    ($elements:expr, $values:ident => $body:expr) => {
        match $elements {
            Elements::F32($values) => $body,
            Elements::F16($values) => $body,
            Elements::I16($values) => $body,
            Elements::I32($values) => $body,
            Elements::I64($values) => $body,
            Elements::U8($values) => $body,
        }
    };
}

macro_rules! from_vec {
    ($($type:ty: $kind:ident),*) => {
        $(impl From<Vec<$type>> for Elements {
            fn from(values: Vec<$type>) -> Self {
                Self::$kind(values)
            }
        })*
    };
}

from_vec!(f32: F32, Half: F16, i16: I16, i32: I32, i64: I64, u8: U8);

impl Elements {
    fn dtype(&self) -> DType {
        match self {
            Self::F32(_) => DType::F32,
            Self::F16(_) => DType::F16,
            Self::I16(_) => DType::I16,
            Self::I32(_) => DType::I32,
            Self::I64(_) => DType::I64,
            Self::U8(_) => DType::U8,
        }
    }

    fn len(&self) -> usize {
        for_elements!(self, values => values.len())
    }

    /// `bytes` as elements of a type; an incomplete last element is dropped.
    fn from_bytes(dtype: DType, bytes: &[u8]) -> Self {
        fn all<const N: usize, T>(bytes: &[u8], of: impl Fn([u8; N]) -> T) -> Vec<T> {
            bytes.chunks_exact(N).filter_map(|chunk| chunk.try_into().ok()).map(of).collect()
        }
        match dtype {
            DType::F32 => all(bytes, f32::from_le_bytes).into(),
            DType::F16 => all(bytes, |bytes| Half(u16::from_le_bytes(bytes))).into(),
            DType::I16 => all(bytes, i16::from_le_bytes).into(),
            DType::I32 => all(bytes, i32::from_le_bytes).into(),
            DType::I64 => all(bytes, i64::from_le_bytes).into(),
            DType::U8 => bytes.to_vec().into(),
        }
    }
}

/// A dense tensor in host memory, row major.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    elements: Elements,
}

impl Tensor {
    /// A tensor of these elements, or `None` if there are more or fewer than the shape has.
    ///
    /// ```
    /// use visage::backend::Tensor;
    ///
    /// let ids = Tensor::new(&[2, 3], vec![0_i64, 1, 2, 3, 4, 5]).unwrap();
    /// assert_eq!(ids.dtype().name(), "i64");
    /// assert!(Tensor::new(&[7], vec![0_u8; 6]).is_none());
    /// ```
    #[must_use]
    pub fn new(shape: &[usize], elements: impl Into<Elements>) -> Option<Self> {
        let elements = elements.into();
        (count(shape) == Some(elements.len())).then(|| Self { shape: shape.to_vec(), elements })
    }

    /// A vector.
    #[must_use]
    pub fn vector(elements: impl Into<Elements>) -> Self {
        let elements = elements.into();
        Self { shape: vec![elements.len()], elements }
    }

    /// Zeros.
    #[must_use]
    pub fn zeros(dtype: DType, shape: &[usize]) -> Self {
        let bytes = vec![0; shape.iter().product::<usize>() * dtype.bytes()];
        Self { shape: shape.to_vec(), elements: Elements::from_bytes(dtype, &bytes) }
    }

    /// The length of each axis.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The type of its elements.
    #[must_use]
    pub fn dtype(&self) -> DType {
        self.elements.dtype()
    }

    /// Its elements.
    #[must_use]
    pub fn elements(&self) -> &Elements {
        &self.elements
    }

    /// Its elements, owned.
    #[must_use]
    pub fn into_elements(self) -> Elements {
        self.elements
    }

    /// Its elements if they are `f32`, else an empty vector.
    #[must_use]
    pub fn into_f32(self) -> Vec<f32> {
        if let Elements::F32(values) = self.elements { values } else { Vec::new() }
    }

    /// Its size in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.elements.len() * self.dtype().bytes()
    }

    /// The same elements in another shape, or `None` if that has more or fewer.
    #[must_use]
    pub fn reshaped(self, shape: &[usize]) -> Option<Self> {
        Self::new(shape, self.elements)
    }

    /// The tensor that `bytes` holds, or `None` if they are too few.
    #[must_use]
    pub fn from_bytes(dtype: DType, shape: &[usize], bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..count(shape)?.checked_mul(dtype.bytes())?)?;
        Self::new(shape, Elements::from_bytes(dtype, bytes))
    }

    /// Writes its elements to the start of `bytes`, as many as fit.
    pub fn write_to(&self, bytes: &mut [u8]) {
        fn all<const N: usize, T: Copy>(values: &[T], bytes: &mut [u8], of: impl Fn(T) -> [u8; N]) {
            bytes.chunks_exact_mut(N).zip(values).for_each(|(bytes, value)| bytes.copy_from_slice(&of(*value)));
        }
        match &self.elements {
            Elements::F32(values) => all(values, bytes, f32::to_le_bytes),
            Elements::F16(values) => all(values, bytes, |half: Half| half.0.to_le_bytes()),
            Elements::I16(values) => all(values, bytes, i16::to_le_bytes),
            Elements::I32(values) => all(values, bytes, i32::to_le_bytes),
            Elements::I64(values) => all(values, bytes, i64::to_le_bytes),
            Elements::U8(values) => all(values, bytes, |byte: u8| [byte]),
        }
    }

    /// Its bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.bytes()];
        self.write_to(&mut bytes);
        bytes
    }
}

/// Number of elements of a shape; `None` on overflow.
fn count(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1_usize, |count, length| count.checked_mul(*length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_of_every_type_survive_a_round_trip_through_bytes() {
        let tensors = [
            Tensor::vector(vec![1.5_f32, -2.0]),
            Tensor::vector(vec![Half::of(1.5), Half::of(-0.25)]),
            Tensor::vector(vec![i16::MIN, 7]),
            Tensor::vector(vec![i32::MIN, 7]),
            Tensor::vector(vec![i64::MIN, 7]),
            Tensor::vector(vec![3_u8, 255]),
        ];
        for tensor in tensors {
            let bytes = tensor.to_bytes();
            assert_eq!(bytes.len(), 2 * tensor.dtype().bytes());
            assert_eq!(Tensor::from_bytes(tensor.dtype(), &[2], &bytes), Some(tensor.clone()));
            assert_eq!(Tensor::from_bytes(tensor.dtype(), &[3], &bytes), None, "too few bytes");
            assert_eq!(tensor.clone().reshaped(&[2, 1]).map(|tensor| tensor.shape), Some(vec![2, 1]));
            assert_eq!(tensor.reshaped(&[usize::MAX, 4]), None);
        }
        assert_eq!(Tensor::zeros(DType::I64, &[2, 2]).into_elements(), Elements::I64(vec![0; 4]));
    }
}
