//! Protocol Buffers, as far as ONNX uses them (protobuf.dev, "Encoding").
//!
//! Decides nothing. Damaged input is `None`, never a panic.

/// The content of a field.
#[derive(Clone, Copy, Debug)]
pub(super) enum Content<'a> {
    /// A number.
    Varint(u64),
    /// A string, a message or a packed list.
    Bytes(&'a [u8]),
    /// A fixed-size number, which no reader here needs.
    Fixed,
}

/// The number and content of the next field, which is removed from `bytes`.
pub(super) fn field<'a>(bytes: &mut &'a [u8]) -> Option<(u64, Content<'a>)> {
    let tag = varint(bytes)?;
    let content = match tag & 7 {
        0 => Content::Varint(varint(bytes)?),
        1 => take(bytes, 8).map(|_| Content::Fixed)?,
        2 => {
            let length = usize::try_from(varint(bytes)?).ok()?;
            Content::Bytes(take(bytes, length)?)
        }
        5 => take(bytes, 4).map(|_| Content::Fixed)?,
        _ => return None,
    };
    Some((tag >> 3, content))
}

/// All fields of a message.
pub(super) fn fields(mut bytes: &[u8]) -> Option<Vec<(u64, Content<'_>)>> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        all.push(field(&mut bytes)?);
    }
    Some(all)
}

/// The submessages in field `wanted`.
pub(super) fn messages<'a>(fields: &[(u64, Content<'a>)], wanted: u64) -> Vec<&'a [u8]> {
    let bytes = |(number, content): &(u64, Content<'a>)| match content {
        Content::Bytes(bytes) if *number == wanted => Some(*bytes),
        _ => None,
    };
    fields.iter().filter_map(bytes).collect()
}

/// The string in field `wanted`, empty if absent.
pub(super) fn text(fields: &[(u64, Content<'_>)], wanted: u64) -> String {
    messages(fields, wanted).last().map_or_else(String::new, |bytes| String::from_utf8_lossy(bytes).into_owned())
}

/// The numbers in field `wanted`: one by one, or packed.
pub(super) fn numbers(fields: &[(u64, Content<'_>)], wanted: u64) -> Vec<u64> {
    let mut all = Vec::new();
    for (_, content) in fields.iter().filter(|(number, _)| *number == wanted) {
        match content {
            Content::Varint(value) => all.push(*value),
            Content::Bytes(bytes) => {
                let mut rest = *bytes;
                while let Some(value) = varint(&mut rest) {
                    all.push(value);
                }
            }
            Content::Fixed => (),
        }
    }
    all
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}
