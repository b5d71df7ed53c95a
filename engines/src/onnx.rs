//! What an ONNX file declares: the files that hold its weights, its inputs and outputs, its operators.
//!
//! Decides nothing. Reads only the messages that lead there (field numbers are those of onnx.proto), no tensor values.

mod operators;
mod reader;
mod signature;

use std::collections::BTreeSet;

pub use operators::Operators;
use reader::{Content, field};
pub use signature::{Axis, Lengths, Signature, SignatureError, TensorInfo};

/// The messages that may lead to a tensor.
#[derive(Clone, Copy)]
enum Message {
    Model,
    Graph,
    Function,
    Node,
    Attribute,
    SparseTensor,
    Tensor,
    ExternalData,
}

impl Message {
    /// The message in field `number`.
    fn field(self, number: u64) -> Option<Self> {
        Some(match (self, number) {
            (Self::Model, 7) | (Self::Attribute, 6 | 11) => Self::Graph,
            (Self::Model, 25) => Self::Function,
            (Self::Graph, 1) | (Self::Function, 7) => Self::Node,
            (Self::Node, 5) | (Self::Function, 11) => Self::Attribute,
            (Self::Graph, 15) | (Self::Attribute, 22 | 23) => Self::SparseTensor,
            (Self::Graph, 5) | (Self::Attribute, 5 | 10) | (Self::SparseTensor, 1 | 2) => Self::Tensor,
            (Self::Tensor, 13) => Self::ExternalData,
            _ => return None,
        })
    }
}

/// How deep nested graphs are followed.
const DEPTH: u8 = 64;

/// The files beside the graph that hold its tensors, relative to its own folder. `None` if the bytes are not an ONNX graph.
#[must_use]
pub fn weights_of(onnx: &[u8]) -> Option<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    collect(onnx, Message::Model, DEPTH, &mut names)?;
    Some(names)
}

fn collect(mut bytes: &[u8], message: Message, depth: u8, names: &mut BTreeSet<String>) -> Option<()> {
    let (mut is_location, mut value) = (false, None);
    while !bytes.is_empty() {
        let (number, content) = field(&mut bytes)?;
        let Content::Bytes(content) = content else { continue };
        match (message, number) {
            (Message::ExternalData, 1) => is_location = content == b"location",
            (Message::ExternalData, 2) => value = Some(content),
            _ => {
                if let Some(inner) = message.field(number) {
                    collect(content, inner, depth.checked_sub(1)?, names)?;
                }
            }
        }
    }
    names.extend(value.filter(|_| is_location).map(|value| String::from_utf8_lossy(value).into_owned()));
    Some(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A field with content.
    fn holds(number: u8, content: &[u8]) -> Vec<u8> {
        let length = u8::try_from(content.len()).expect("short");
        assert!(length < 128 && number < 16);
        [&[number << 3 | 2, length], content].concat()
    }

    fn tensor(file: &str) -> Vec<u8> {
        let entry =
            |key: &str, value: &str| holds(13, &[holds(1, key.as_bytes()), holds(2, value.as_bytes())].concat());
        [vec![8, 4], entry("location", file), entry("offset", "4096")].concat()
    }

    /// A graph with weights in `one` as initialisers, and in `inner` within a node's own graph.
    pub(crate) fn graph(one: &str, inner: &str) -> Vec<u8> {
        let attribute = holds(5, &holds(6, &holds(5, &tensor(inner))));
        holds(7, &[holds(5, &tensor(one)), holds(1, &attribute)].concat())
    }

    #[test]
    fn external_weights_are_found_in_initialisers_and_nested_graphs() {
        let names = weights_of(&graph("a.bin", "b/c.bin")).expect("a graph");
        assert_eq!(names.into_iter().collect::<Vec<_>>(), ["a.bin", "b/c.bin"]);
        let mouth = include_bytes!("../packs/portrait/mouth/mouth.onnx");
        assert!(weights_of(mouth).is_some_and(|names| names.is_empty()), "all of it in one file");
    }

    #[test]
    fn bytes_that_are_not_a_graph_give_none_without_a_panic() {
        let whole = graph("a.bin", "b.bin");
        for at in 0..whole.len() {
            let _ = weights_of(&whole[..at]);
            for byte in [0, 0x7f, 0x80, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] = byte;
                let _ = weights_of(&bytes);
            }
        }
        assert_eq!(weights_of(b"not a graph"), None);
        let deep = (0..40)
            .fold(vec![], |inner, _| if inner.len() < 100 { holds(5, &holds(6, &holds(1, &inner))) } else { inner });
        let _ = weights_of(&holds(7, &deep));
    }
}
