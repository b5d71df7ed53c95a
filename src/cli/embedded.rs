//! Data embedded by `build.rs`: the built-in pack and the page.

include!(concat!(env!("OUT_DIR"), "/embedded.rs"));
