//! One kernel launch as a value: which kernel, its scalar arguments, its grid and the sizes of its buffers. The same value is
//! queued on a GPU (`crate::Kernels`) or computed on the CPU by the kernel's reference implementation.
//!
//! Decides that no launch reaches beyond its buffers: only the kernels' own files create launches, from sizes that they check.
//!
//! ```
//! use visage_kernels::reference::{HostBuffer, PcmToF32};
//!
//! let launch = PcmToF32::new(2, 1.0).launch().unwrap();
//! assert_eq!(launch.bytes(), [4, 8]); // two i16 in, two f32 out
//! let pcm: Vec<u8> = [i16::MIN, 16384].iter().flat_map(|sample| sample.to_ne_bytes()).collect();
//! let mut buffers = [HostBuffer::of(&pcm), HostBuffer::of(&[0; 8])];
//! launch.compute(&mut buffers).unwrap();
//! assert_eq!(buffers[1].to_bytes(), [(-1.0_f32).to_ne_bytes(), 0.5_f32.to_ne_bytes()].concat());
//! ```

use std::ffi::c_void;

use thiserror::Error;

use super::source::Source;
use visage_engines::DType;

/// A scalar argument of a kernel, of 32 bits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scalar {
    /// `unsigned`.
    U32(u32),
    /// `int`.
    I32(i32),
    /// `float`.
    F32(f32),
}

impl Scalar {
    /// Its bits.
    #[must_use]
    pub fn bits(self) -> u32 {
        match self {
            Self::U32(value) => value,
            Self::I32(value) => value.cast_unsigned(),
            Self::F32(value) => value.to_bits(),
        }
    }
}

/// A buffer argument of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelBuffer {
    /// The argument's name in the table of kernels.
    pub name: &'static str,
    /// The type of its elements.
    pub dtype: DType,
    /// Whether the kernel writes it. A written buffer may be read as well.
    pub is_written: bool,
}

/// A kernel's reference implementation, called as the driver calls a kernel: with the addresses of its arguments, first those
/// of its buffers' addresses, then those of its scalars. It ignores the grid, the second argument.
// SAFETY: a type only; callers pass the arguments of the kernel.
pub type Reference = unsafe extern "C" fn(*const *const c_void, *const u32);

/// A kernel and its reference implementation on the CPU.
#[derive(Debug)]
pub struct Kernel {
    /// Its name in the source.
    pub name: &'static str,
    /// The source file that holds it.
    pub source: Source,
    /// Its buffers, which come first among its arguments.
    pub buffers: &'static [KernelBuffer],
    /// How many scalars follow.
    pub scalars: usize,
    /// Its reference implementation.
    pub reference: Reference,
}

impl Kernel {
    /// Sizes of its arguments in bytes.
    #[must_use]
    pub fn argument_bytes(&self) -> Vec<usize> {
        let scalars = std::iter::repeat_n(size_of::<u32>(), self.scalars);
        std::iter::repeat_n(size_of::<u64>(), self.buffers.len()).chain(scalars).collect()
    }
}

/// Sizes that a kernel does not take.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("wanted {wanted}, found {found}")]
pub struct SizeError {
    /// What the kernel takes.
    pub wanted: &'static str,
    /// What it was given.
    pub found: String,
}

/// The meaning of a kernel's scalars. Every kernel's file implements it for the type that describes its work.
pub(super) trait Work: Sized {
    /// How many scalars there are.
    const SCALARS: usize;

    /// From their bits, as the kernel gets them.
    fn of(bits: &[u32]) -> Self;

    /// The scalars in the kernel's order.
    fn scalars(&self) -> Vec<Scalar>;

    /// How many elements each buffer has.
    fn lengths(&self) -> Vec<u64>;

    /// How many threads each axis needs at least.
    fn threads(&self) -> [u32; 3];
}

/// One launch of a kernel.
#[derive(Clone, Debug)]
pub struct Launch {
    kernel: &'static Kernel,
    bytes: Vec<usize>,
    scalars: Vec<Scalar>,
    threads: [u32; 3],
}

/// Threads of a block for one-dimensional and for two-dimensional work: four warps either way.
const BLOCK_1D: [u32; 3] = [128, 1, 1];
const BLOCK_2D: [u32; 3] = [32, 4, 1];
/// The largest grid along its second and third axis, in blocks (CUDA C++ Programming Guide, "Compute Capabilities").
const MAX_BLOCKS: u32 = 65_535;
/// The threads along those axes that such a grid of [`BLOCK_2D`] covers.
const MAX_THREADS: [u32; 2] = [MAX_BLOCKS * BLOCK_2D[1], MAX_BLOCKS * BLOCK_2D[2]];
/// The largest buffer, in elements: kernels index with 32 bits, and an index times eight bytes must not wrap.
const MAX_ELEMENTS: u64 = (u32::MAX / 8) as u64;

impl Launch {
    /// The launch of `kernel` that `work` describes.
    ///
    /// # Errors
    /// If a buffer is empty or larger than 32-bit indices reach, or the grid is larger than a GPU takes.
    pub(super) fn new(kernel: &'static Kernel, work: &impl Work) -> Result<Self, SizeError> {
        let (lengths, threads, scalars) = (work.lengths(), work.threads(), work.scalars());
        let has_sizes = lengths.iter().all(|length| (1..=MAX_ELEMENTS).contains(length));
        if !has_sizes || threads[1] > MAX_THREADS[0] || threads[2] > MAX_THREADS[1] {
            let found = format!("{} over {lengths:?} elements", kernel.name);
            return Err(SizeError { wanted: "1 to 536870911 elements in every buffer", found });
        }
        debug_assert_eq!((lengths.len(), scalars.len()), (kernel.buffers.len(), kernel.scalars));
        let bytes = |(length, buffer): (&u64, &KernelBuffer)| *length as usize * buffer.dtype.bytes();
        let bytes = lengths.iter().zip(kernel.buffers).map(bytes).collect();
        Ok(Self { kernel, bytes, scalars, threads })
    }

    /// The kernel.
    #[must_use]
    pub fn kernel(&self) -> &'static Kernel {
        self.kernel
    }

    /// How many bytes each buffer must have at least, in the order of [`Kernel::buffers`].
    #[must_use]
    pub fn bytes(&self) -> &[usize] {
        &self.bytes
    }

    /// The scalars that follow the buffers.
    #[must_use]
    pub fn scalars(&self) -> &[Scalar] {
        &self.scalars
    }

    /// The grid: blocks, and threads of a block, each along x, y and z.
    ///
    /// A kernel checks its indices against its sizes, so that the last blocks may reach beyond them.
    #[must_use]
    pub fn grid(&self) -> [[u32; 3]; 2] {
        let block = if self.threads[1] == 1 { BLOCK_1D } else { BLOCK_2D };
        let blocks = |axis: usize| self.threads[axis].div_ceil(block[axis]).max(1);
        [[blocks(0), blocks(1), blocks(2)], block]
    }

    /// Computes it on the CPU by the kernel's reference implementation.
    ///
    /// # Errors
    /// If there are more or fewer buffers than the kernel has, or one is too short.
    pub fn compute(&self, buffers: &mut [HostBuffer]) -> Result<(), SizeError> {
        // SAFETY: the reference implementation takes the arguments of its kernel.
        unsafe { self.call(self.kernel.reference, buffers) }
    }

    /// Computes it by `function`, another implementation of the kernel.
    ///
    /// # Safety
    /// `function` must take the kernel's arguments and reach no further than [`Launch::bytes`].
    ///
    /// # Errors
    /// As for [`Launch::compute`].
    pub unsafe fn call(&self, function: Reference, buffers: &mut [HostBuffer]) -> Result<(), SizeError> {
        self.check(buffers)?;
        let addresses: Vec<u64> = buffers.iter_mut().map(|buffer| buffer.words.as_mut_ptr() as u64).collect();
        let bits: Vec<u32> = self.scalars.iter().map(|scalar| scalar.bits()).collect();
        let scalars = bits.iter().map(|bits| std::ptr::from_ref(bits).cast());
        let arguments: Vec<*const c_void> =
            addresses.iter().map(|address| std::ptr::from_ref(address).cast()).chain(scalars).collect();
        // SAFETY: the caller guarantees that these are the function's arguments. `check` verified the buffers' lengths;
        // each is exclusively borrowed and aligned to eight bytes. The grid has two times three numbers.
        unsafe { function(arguments.as_ptr(), self.grid().as_flattened().as_ptr()) };
        Ok(())
    }

    fn check(&self, buffers: &[HostBuffer]) -> Result<(), SizeError> {
        let is_long = |(buffer, wanted): (&HostBuffer, &usize)| buffer.bytes >= *wanted;
        if buffers.len() == self.bytes.len() && buffers.iter().zip(&self.bytes).all(is_long) {
            return Ok(());
        }
        let found =
            format!("{:?} bytes for {:?}", buffers.iter().map(HostBuffer::bytes).collect::<Vec<_>>(), self.bytes);
        Err(SizeError { wanted: "buffers as long as the launch says", found })
    }
}

/// A buffer in host memory, aligned to eight bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct HostBuffer {
    words: Vec<u64>,
    bytes: usize,
}

impl HostBuffer {
    /// With these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let word = |chunk: &[u8]| {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            u64::from_ne_bytes(word)
        };
        Self { words: bytes.chunks(8).map(word).collect(), bytes: bytes.len() }
    }

    /// Its length in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// A copy of its bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.words.iter().flat_map(|word| word.to_ne_bytes()).take(self.bytes).collect()
    }
}
