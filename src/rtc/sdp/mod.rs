//! Session descriptions: reading offers and writing answers.
//!
//! str0m 0.25 negotiates, but refuses offers that the RFCs allow, accepts some that cannot work, and its parser's errors
//! contain memory addresses. So an offer is checked and rewritten first: str0m reads only lines that were written by
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
