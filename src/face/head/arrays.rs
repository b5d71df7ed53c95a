//! `mesh.bin`: typed arrays, each validated against the table in `rig.json` and the file size before it is read.

use super::HeadError;
use super::rig::ArrayEntry;

/// The file and its table of contents.
pub struct Arrays<'a> {
    pub entries: &'a [ArrayEntry],
    pub bytes: &'a [u8],
}

impl Arrays<'_> {
    /// Length of the first axis.
    pub fn rows(&self, name: &str) -> Result<usize, HeadError> {
        let entry = self.entry(name)?;
        entry.shape.first().copied().ok_or_else(|| HeadError::mesh(name, "one axis or more", &"none"))
    }

    /// f32 array; `shape` is the expected shape.
    pub fn floats(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, HeadError> {
        let values: Vec<f32> =
            self.raw(name, "<f4", shape)?.as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
        match values.iter().find(|value| value.is_nan() || value.abs() >= 1e4) {
            Some(value) => Err(HeadError::mesh(name, "numbers below 10000", &value)),
            None => Ok(values),
        }
    }

    /// u32 array.
    pub fn words(&self, name: &str, shape: &[usize]) -> Result<Vec<u32>, HeadError> {
        Ok(self.raw(name, "<u4", shape)?.as_chunks::<4>().0.iter().map(|&bytes| u32::from_le_bytes(bytes)).collect())
    }

    /// u16 array of indices below `limit`.
    pub fn indices(&self, name: &str, shape: &[usize], limit: usize) -> Result<Vec<u16>, HeadError> {
        let values: Vec<u16> =
            self.raw(name, "<u2", shape)?.as_chunks::<2>().0.iter().map(|&bytes| u16::from_le_bytes(bytes)).collect();
        match values.iter().find(|&&index| usize::from(index) >= limit) {
            Some(index) => Err(HeadError::mesh(name, format!("indices below {limit}"), &index)),
            None => Ok(values),
        }
    }

    /// i16 array, scaled by `step`.
    pub fn steps(&self, name: &str, shape: &[usize], step: f32) -> Result<Vec<f32>, HeadError> {
        let raw = self.raw(name, "<i2", shape)?;
        Ok(raw.as_chunks::<2>().0.iter().map(|&bytes| f32::from(i16::from_le_bytes(bytes)) * step).collect())
    }

    /// u8 array, scaled to 0..1.
    pub fn shares(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, HeadError> {
        Ok(self.raw(name, "|u1", shape)?.iter().map(|&byte| f32::from(byte) / 255.0).collect())
    }

    fn entry(&self, name: &str) -> Result<&ArrayEntry, HeadError> {
        let found = self.entries.iter().find(|entry| entry.name == name);
        found.ok_or_else(|| HeadError::mesh(name, "an entry in the table", &"none"))
    }

    fn raw(&self, name: &str, dtype: &str, shape: &[usize]) -> Result<&[u8], HeadError> {
        let entry = self.entry(name)?;
        if entry.dtype != dtype || entry.shape != shape {
            let found = format!("{} {:?}", entry.dtype, entry.shape);
            return Err(HeadError::mesh(name, format!("{dtype} {shape:?}"), &found));
        }
        let width = if dtype.ends_with('1') {
            1
        } else if dtype.ends_with('2') {
            2
        } else {
            4
        };
        let length = shape.iter().try_fold(width, |product: usize, &axis| product.checked_mul(axis));
        let end = length.and_then(|length| entry.offset.checked_add(length));
        end.and_then(|end| self.bytes.get(entry.offset..end)).ok_or_else(|| {
            let found = format!("offset {} in a file of {} bytes", entry.offset, self.bytes.len());
            HeadError::mesh(name, "an array inside the file", &found)
        })
    }
}
