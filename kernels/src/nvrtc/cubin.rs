//! What a compiled kernel is, as far as it is looked at: an ELF file for NVIDIA's cards that says which.
//!
//! Decides whether bytes are complete enough to pass to a driver, which does not receive their length.

use visage_engines::Sm;

use crate::reference::Source;

/// A compiled source, from the compiler itself or from a cache that holds it to its digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cubin {
    source: Source,
    bytes: Vec<u8>,
}

impl Cubin {
    /// Looks at what a compiler made or a cache kept.
    ///
    /// # Errors
    /// With what it is, if that is no cubin for these cards.
    pub(super) fn of(source: Source, sm: Sm, bytes: Vec<u8>) -> Result<Self, String> {
        match card_of(&bytes)? {
            found if found == sm => Ok(Self { source, bytes }),
            found => Err(format!("one for {found}")),
        }
    }

    /// Bytes that are said to be the source's kernels.
    ///
    /// # Safety
    /// They must be a whole cubin, or what a stand-in for the driver takes for one, with all kernels of the source.
    #[must_use]
    pub unsafe fn trusted(source: Source, bytes: Vec<u8>) -> Self {
        Self { source, bytes }
    }

    /// What it was compiled from.
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

/// ELF's number of NVIDIA's cards.
const CUDA: u16 = 190;
/// From this ABI on the flags have the card in their second byte; before, in their first.
const SECOND_BYTE_ABI: u8 = 8;
/// Bytes of a 64-bit file's header.
const HEADER_BYTES: usize = 64;

/// The cards that a cubin is for.
///
/// # Errors
/// With what it is instead.
pub fn card_of(bytes: &[u8]) -> Result<Sm, String> {
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
        return Err(format!("a file that is cut off: {} bytes of at least {end}", bytes.len()));
    }
    let number = if header[8] < SECOND_BYTE_ABI { header[48] } else { header[49] };
    Ok(Sm::new(number / 10, number % 10))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header with its table of sections behind it.
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
    fn the_card_stands_where_the_abi_has_it() {
        // As NVRTC 12.9 writes them.
        for (abi, flags, sm) in [(7, 0x0059_0559, Sm::SM89), (7, 0x004b_054b, Sm::SM75), (8, 0x0600_7802, Sm::SM120)] {
            assert_eq!(card_of(&file(abi, flags)), Ok(sm));
        }
        assert!(Cubin::of(Source::Mel, Sm::SM90, file(7, 0x0059_0559)).expect_err("another").contains("8.9"));
    }

    #[test]
    fn what_is_cut_off_or_foreign_is_no_cubin() {
        let whole = file(7, 0x0059_0559);
        for bytes in [&whole[..191], &whole[..63], b"", b"PTX"] {
            assert!(card_of(bytes).is_err());
        }
        let mut foreign = whole.clone();
        foreign[18] = 62;
        assert!(card_of(&foreign).expect_err("x86-64").contains("62"));
        foreign[..4].copy_from_slice(b"!<ar");
        assert!(card_of(&foreign).is_err());
    }
}
