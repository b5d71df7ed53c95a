//! One launch of a kernel as a value: which, over what, by how many threads. The same order goes to a card or to the twin.
//!
//! Decides that no order reaches beyond its buffers: only the kernels' own files make orders, from sizes that they check.

use std::ffi::c_void;

use thiserror::Error;

use super::half::{Element, Plain};
use super::source::Source;

/// A number that a kernel takes, in 32 bits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// `unsigned`.
    U32(u32),
    /// `int`.
    I32(i32),
    /// `float`.
    F32(f32),
}

impl Number {
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

/// A buffer that a kernel takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// What it consists of.
    pub element: Element,
    /// Whether the kernel writes it.
    pub is_written: bool,
}

/// A kernel, called with the addresses of its arguments: first the places of its buffers' addresses, then of its numbers.
/// What the grid is does not matter to a twin.
// SAFETY: a type only; whoever calls one gives it the arguments of its kernel.
pub type Reference = unsafe extern "C" fn(*const *const c_void, *const u32);

/// A kernel and what reckons the same on the CPU.
#[derive(Debug)]
pub struct Kernel {
    /// Its name in the source.
    pub name: &'static str,
    /// Where it stands.
    pub source: Source,
    /// Its buffers, which come first among its arguments.
    pub places: &'static [Place],
    /// How many numbers follow.
    pub numbers: usize,
    /// The same on the CPU.
    pub twin: Reference,
}

impl Kernel {
    /// Lengths of its arguments in bytes.
    #[must_use]
    pub fn argument_bytes(&self) -> Vec<usize> {
        let numbers = std::iter::repeat_n(size_of::<u32>(), self.numbers);
        std::iter::repeat_n(size_of::<u64>(), self.places.len()).chain(numbers).collect()
    }
}

/// Sizes that no kernel takes.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("wanted {wanted}, found {found}")]
pub struct SizeError {
    /// What there must be.
    pub wanted: &'static str,
    /// What there is.
    pub found: String,
}

/// What the numbers of a kernel say.
pub(super) trait Work: Sized {
    /// How many numbers there are.
    const NUMBERS: usize;

    /// From their bits, as the kernel gets them.
    fn of(bits: &[u32]) -> Self;

    /// As the kernel takes them.
    fn numbers(&self) -> Vec<Number>;

    /// How many elements each buffer has.
    fn lengths(&self) -> Vec<u64>;

    /// How many threads there are to be on each axis, at least.
    fn threads(&self) -> [u32; 3];
}

/// A launch.
#[derive(Clone, Debug)]
pub struct Launch {
    kernel: &'static Kernel,
    bytes: Vec<usize>,
    numbers: Vec<Number>,
    threads: [u32; 3],
}

/// Threads of a block, over lines and over planes. Either is four warps.
const LINE: [u32; 3] = [128, 1, 1];
const PLANE: [u32; 3] = [32, 4, 1];
/// The most blocks of a grid along its second and third axis.
const MOST_BLOCKS: u32 = 65_535;
/// What [`Launch::grid`] makes of more threads than that, no card takes.
const MOST_THREADS: [u32; 2] = [MOST_BLOCKS * PLANE[1], MOST_BLOCKS * PLANE[2]];

impl Launch {
    /// The launch of `kernel` that `work` describes.
    ///
    /// # Errors
    /// If a buffer has nothing, or more than 32 bits can count.
    pub(super) fn new(kernel: &'static Kernel, work: &impl Work) -> Result<Self, SizeError> {
        let (lengths, threads) = (work.lengths(), work.threads());
        if lengths.iter().any(|length| !(1..=u64::from(u32::MAX / 8)).contains(length))
            || threads[1] > MOST_THREADS[0]
            || threads[2] > MOST_THREADS[1]
        {
            let found = format!("{} over {lengths:?} elements", kernel.name);
            return Err(SizeError { wanted: "something in every buffer, and at most half a milliard", found });
        }
        debug_assert_eq!((lengths.len(), work.numbers().len()), (kernel.places.len(), kernel.numbers));
        let bytes = |(length, place): (&u64, &Place)| *length as usize * place.element.bytes();
        let bytes = lengths.iter().zip(kernel.places).map(bytes).collect();
        Ok(Self { kernel, bytes, numbers: work.numbers(), threads })
    }

    /// Which kernel.
    #[must_use]
    pub fn kernel(&self) -> &'static Kernel {
        self.kernel
    }

    /// How many bytes each buffer must have.
    #[must_use]
    pub fn bytes(&self) -> &[usize] {
        &self.bytes
    }

    /// The numbers that follow the buffers.
    #[must_use]
    pub fn numbers(&self) -> &[Number] {
        &self.numbers
    }

    /// Blocks, and threads of each.
    #[must_use]
    pub fn grid(&self) -> [[u32; 3]; 2] {
        let threads = if self.threads[1] == 1 { LINE } else { PLANE };
        let blocks = |axis: usize| self.threads[axis].div_ceil(threads[axis]).max(1);
        [[blocks(0), blocks(1), blocks(2)], threads]
    }

    /// Reckons it on the CPU, by the twin.
    ///
    /// # Errors
    /// If the buffers are not as many or not as long as the order says.
    pub fn reckon(&self, buffers: &mut [HostBuffer]) -> Result<(), SizeError> {
        // SAFETY: the twin takes the arguments of its kernel.
        unsafe { self.call(self.kernel.twin, buffers) }
    }

    /// Reckons it by `function`, which is said to be this kernel.
    ///
    /// # Safety
    /// `function` must take the arguments of the order's kernel and reach no further than the order says.
    ///
    /// # Errors
    /// As for [`Launch::reckon`].
    pub unsafe fn call(&self, function: Reference, buffers: &mut [HostBuffer]) -> Result<(), SizeError> {
        if buffers.len() != self.bytes.len() || buffers.iter().zip(&self.bytes).any(|(has, wants)| has.bytes < *wants) {
            let found = format!("{:?}", buffers.iter().map(|buffer| buffer.bytes).collect::<Vec<_>>());
            return Err(SizeError { wanted: "buffers as long as the order says", found });
        }
        let addresses: Vec<u64> = buffers.iter_mut().map(|buffer| buffer.words.as_mut_ptr() as u64).collect();
        let bits: Vec<u32> = self.numbers.iter().map(|number| number.bits()).collect();
        let numbers = bits.iter().map(|bits| std::ptr::from_ref(bits).cast());
        let places: Vec<*const c_void> =
            addresses.iter().map(|address| std::ptr::from_ref(address).cast()).chain(numbers).collect();
        // SAFETY: the caller promises that these are its arguments; each buffer is as long as the order says, lent here alone,
        // and aligned for eight bytes. The grid has two times three numbers.
        unsafe { function(places.as_ptr(), self.grid().as_flattened().as_ptr()) };
        Ok(())
    }
}

/// A buffer on the host.
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

    /// Its bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.words.iter().flat_map(|word| word.to_ne_bytes()).take(self.bytes).collect()
    }
}

/// The arguments of a kernel as its twin finds them.
pub(super) struct Places(pub *const *const c_void);

impl Places {
    /// The bits of `count` numbers behind `buffers` buffers.
    ///
    /// # Safety
    /// There must be as many arguments.
    pub unsafe fn numbers(&self, buffers: usize, count: usize) -> Vec<u32> {
        // SAFETY: the caller promises that there are so many, each four bytes long.
        (buffers..buffers + count).map(|at| unsafe { (*self.0.add(at)).cast::<u32>().read_unaligned() }).collect()
    }

    /// The address that is argument `at`.
    ///
    /// # Safety
    /// There must be as many arguments, and this one an address.
    unsafe fn address(&self, at: usize) -> u64 {
        // SAFETY: as promised.
        unsafe { (*self.0.add(at)).cast::<u64>().read_unaligned() }
    }

    /// The buffer that argument `at` is the address of.
    ///
    /// # Safety
    /// It must be one of `length` elements that nobody writes for as long as it is lent.
    pub unsafe fn read<'a, T: Plain>(&self, at: usize, length: u64) -> &'a [T] {
        // SAFETY: as promised.
        unsafe { std::slice::from_raw_parts(self.address(at) as *const T, length as usize) }
    }

    /// The same to write.
    ///
    /// # Safety
    /// It must be one of `length` elements that nobody else touches for as long as it is lent.
    pub unsafe fn write<'a, T: Plain>(&self, at: usize, length: u64) -> &'a mut [T] {
        // SAFETY: as promised.
        unsafe { std::slice::from_raw_parts_mut(self.address(at) as *mut T, length as usize) }
    }
}

/// Makes a table of kernels: each with its buffers in order (`read` or `write`, and of what), the description that its numbers
/// are, and the twin. The twins' C functions bear the kernels' names.
macro_rules! kernels {
    ($source:ident; $($kernel:ident($($place:ident: $access:ident $type:ty),*): $work:ty => $reckon:expr;)*) => {
        pub(super) const KERNELS: &[$crate::reference::launch::Kernel] = &[$($crate::reference::launch::Kernel {
            name: stringify!($kernel),
            source: $crate::reference::source::Source::$source,
            places: &[$($crate::reference::launch::Place {
                element: <$type as $crate::reference::half::Plain>::ELEMENT,
                is_written: $crate::reference::launch::is_written(stringify!($access)),
            }),*],
            numbers: <$work as $crate::reference::launch::Work>::NUMBERS,
            twin: $kernel,
        }),*];

        $(
            // SAFETY: called through `Kernel::twin`, with the arguments of this kernel.
            unsafe extern "C" fn $kernel(places: *const *const std::ffi::c_void, _grid: *const u32) {
                use $crate::reference::launch::Work;
                const BUFFERS: usize = [$(stringify!($place)),*].len();
                let places = $crate::reference::launch::Places(places);
                // SAFETY: whoever calls a twin gives it the arguments of its kernel.
                let bits = unsafe { places.numbers(BUFFERS, <$work>::NUMBERS) };
                let work = <$work>::of(&bits);
                let mut lengths = work.lengths().into_iter().enumerate();
                $(
                    let (at, length) = lengths.next().unwrap_or_default();
                    // SAFETY: as above: the buffer is as long as the order's description says, aligned for its elements,
                    // and for the time of the call the kernel's alone.
                    let $place: $crate::reference::launch::buffer!($access $type) = unsafe { places.$access(at, length) };
                )*
                let reckon: fn(&$work, $($crate::reference::launch::buffer!($access $type)),*) = $reckon;
                reckon(&work, $($place),*);
            }
        )*
    };
}

macro_rules! buffer {
    (read $type:ty) => {
        &[$type]
    };
    (write $type:ty) => {
        &mut [$type]
    };
}

pub(super) use {buffer, kernels};

/// Whether the word of the table says so.
pub(super) const fn is_written(access: &str) -> bool {
    access.as_bytes()[0] == b'w'
}
