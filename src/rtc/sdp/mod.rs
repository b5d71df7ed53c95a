//! Session descriptions: what is read of an offer, and what the peer gets as the answer.
//!
//! str0m 0.25 negotiates, but refuses offers that the RFCs allow, accepts some that cannot work, and its parser's errors
//! name positions in memory. So an offer is checked and rewritten here first: str0m reads only lines that were written by
//! [`offer`], and every error names a line of the original offer.

mod answer;
mod choice;
mod description;
mod h264;
mod normalized;
mod offer;
#[cfg(test)]
mod tests;
mod transport;

pub use description::LONGEST_OFFER;
pub use offer::{Offer, OfferTerms, VideoFormat};
