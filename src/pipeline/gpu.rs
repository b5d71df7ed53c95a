//! The thread that owns a card.

use std::io;

use crate::backend::card::CardLoop;

/// Starts the loop of a card on a thread of its own. It ends when nobody can order anything any more.
///
/// # Errors
/// If the thread cannot be started.
pub fn start_card(owner: CardLoop) -> io::Result<()> {
    std::thread::Builder::new().name("gpu".to_owned()).spawn(move || owner.run()).map(drop)
}
