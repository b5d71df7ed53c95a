//! A compiled kernel: an ELF file for one compute capability.
//!
//! Decides whether bytes are complete enough to pass to a driver, which does not receive their length.

use visage_engines::Sm;

use crate::reference::Source;

/// A compiled source, from the compiler or from a cache that verified its digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cubin {
    source: Source,
    bytes: Vec<u8>,
}

impl Cubin {
    /// Checks what a compiler produced or a cache stored.
    ///
    /// # Errors
    /// With what the bytes are, if not a cubin for this compute capability.
    pub(super) fn of(source: Source, sm: Sm, bytes: Vec<u8>) -> Result<Self, String> {
        match sm_of(&bytes)? {
            found if found == sm => Ok(Self { source, bytes }),
            found => Err(format!("one for {found}")),
        }
    }

    /// Bytes that the caller vouches for.
    ///
    /// # Safety
    /// They must be a complete cubin, or what the stub driver accepts as one, with all kernels of the source.
    #[must_use]
    pub unsafe fn trusted(source: Source, bytes: Vec<u8>) -> Self {
        Self { source, bytes }
    }

    /// The source it was compiled from.
    #[must_use]
    pub fn source(&self) -> Source {
        self.source
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// ELF's machine number of CUDA.
const CUDA: u16 = 190;
/// From this ABI version on, the flags have the SM in their second byte; before, in the first.
const SECOND_BYTE_ABI: u8 = 8;
/// Header length of a 64-bit ELF file.
const HEADER_BYTES: usize = 64;

/// The compute capability that a cubin is for.
///
/// # Errors
/// With what the bytes are instead.
pub fn sm_of(bytes: &[u8]) -> Result<Sm, String> {
    let header = bytes.first_chunk::<HEADER_BYTES>().ok_or_else(|| format!("{} bytes", bytes.len()))?;
    if header[..6] != *b"\x7fELF\x02\x01" {
        return Err("no 64-bit ELF file".to_owned());
    }
    let half = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
    if half(18) != CUDA {
        return Err(format!("an ELF file for machine {}, CUDA's is {CUDA}", half(18)));
    }
    let sections_at = header[40..48].iter().rev().fold(0, |number: u64, byte| number << 8 | u64::from(*byte));
    let sections = u64::from(half(58)) * u64::from(half(60));
    let end = sections_at.saturating_add(sections);
    if sections == 0 || end > bytes.len() as u64 {
        return Err(format!("a truncated file: {} bytes of at least {end}", bytes.len()));
    }
    let number = if header[8] < SECOND_BYTE_ABI { header[48] } else { header[49] };
    Ok(Sm::new(number / 10, number % 10))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header followed by its section header table.
    fn file(abi: u8, flags: u32) -> Vec<u8> {
        let mut bytes = vec![0; 192];
        bytes[..9].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1, 1, 0x33, abi]);
        bytes[18..20].copy_from_slice(&190_u16.to_le_bytes());
        bytes[40..48].copy_from_slice(&64_u64.to_le_bytes());
        bytes[48..52].copy_from_slice(&flags.to_le_bytes());
        bytes[58..62].copy_from_slice(&[64, 0, 2, 0]);
        bytes
    }

    #[test]
    fn the_sm_is_read_from_the_byte_of_the_abi_version() {
        // As NVRTC 12.9 writes them.
        for (abi, flags, sm) in [(7, 0x0059_0559, Sm::SM89), (7, 0x004b_054b, Sm::SM75), (8, 0x0600_7802, Sm::SM120)] {
            assert_eq!(sm_of(&file(abi, flags)), Ok(sm));
        }
        assert!(Cubin::of(Source::Mel, Sm::SM90, file(7, 0x0059_0559)).expect_err("another").contains("8.9"));
    }

    #[test]
    fn truncated_and_foreign_files_are_not_cubins() {
        let whole = file(7, 0x0059_0559);
        for bytes in [&whole[..191], &whole[..63], b"", b"PTX"] {
            assert!(sm_of(bytes).is_err());
        }
        let mut foreign = whole.clone();
        foreign[18] = 62;
        assert!(sm_of(&foreign).expect_err("x86-64").contains("62"));
        foreign[..4].copy_from_slice(b"!<ar");
        assert!(sm_of(&foreign).is_err());
    }
}
