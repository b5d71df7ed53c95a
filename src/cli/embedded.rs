//! What `build.rs` put into the program: the built-in pack and the page.

include!(concat!(env!("OUT_DIR"), "/embedded.rs"));
