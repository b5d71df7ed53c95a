//! How much one client may hold at a time: connections, event streams, uploads, sessions that have not connected yet.
//!
//! Decides the count per network. A client is an IPv4 address, or the 64 bits of an IPv6 address that its network
//! assigns (RFC 6177: a subscriber gets a /64 at least, and may use any address in it).

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::request::Parts;
use tokio::sync::Notify;

/// Where a client is: its address, or its IPv6 network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Client(IpAddr);

impl From<IpAddr> for Client {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64))),
            address @ IpAddr::V4(_) => address,
        })
    }
}

/// The client of a request: the peer of its connection, or, where that is a proxy on this machine, the last address in
/// `X-Forwarded-For`, which is the one that this proxy has added.
impl<S: Sync> FromRequestParts<S> for Client {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip().to_canonical());
        let peer = peer.unwrap_or(IpAddr::V6(Ipv6Addr::LOCALHOST));
        let forwarded = parts.headers.get_all("x-forwarded-for").iter().next_back().filter(|_| peer.is_loopback());
        let last = forwarded.and_then(|value| value.to_str().ok()?.rsplit(',').next()?.trim().parse().ok());
        Ok(Self::from(last.unwrap_or(peer)))
    }
}

/// A number of things, of which one client holds at most so many. Clones share the count.
#[derive(Clone, Debug)]
pub struct PerAddress {
    most: usize,
    held: Arc<Mutex<HashMap<Client, usize>>>,
    released: Arc<Notify>,
}

/// One of them; released when dropped.
#[derive(Debug)]
pub struct Held {
    client: Client,
    held: Arc<Mutex<HashMap<Client, usize>>>,
    released: Arc<Notify>,
}

impl PerAddress {
    /// `most` for each client, at least one.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { most: most.max(1), held: Arc::default(), released: Arc::default() }
    }

    /// One more for `client`; `None` if it holds all that it may.
    #[must_use]
    pub fn take(&self, client: Client) -> Option<Held> {
        let mut held = lock(&self.held);
        let count = held.entry(client).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Held { client, held: Arc::clone(&self.held), released: Arc::clone(&self.released) })
    }

    /// As [`PerAddress::take`], but waits until `client` releases one.
    pub async fn wait(&self, client: Client) -> Held {
        loop {
            // Created before the check: what is released after it wakes this future (`Notify::notify_waiters`).
            let released = self.released.notified();
            if let Some(held) = self.take(client) {
                return held;
            }
            released.await;
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut held = lock(&self.held);
        if let Some(count) = held.get_mut(&self.client) {
            *count -= 1;
            // An entry of a client that holds nothing would stay for ever.
            if *count == 0 {
                held.remove(&self.client);
            }
        }
        self.released.notify_waiters();
    }
}

fn lock(held: &Mutex<HashMap<Client, usize>>) -> MutexGuard<'_, HashMap<Client, usize>> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    fn client(text: &str) -> Client {
        Client::from(text.parse::<IpAddr>().expect("an address"))
    }

    #[test]
    fn each_client_holds_its_own_share_and_gives_it_back() {
        let limit = PerAddress::new(2);
        let held = [limit.take(client("192.0.2.1")), limit.take(client("192.0.2.1"))];
        assert!(held.iter().all(Option::is_some) && limit.take(client("192.0.2.1")).is_none());
        assert!(limit.take(client("192.0.2.2")).is_some());
        drop(held);
        assert!(limit.take(client("192.0.2.1")).is_some());
        assert!(lock(&limit.held).is_empty(), "nothing is kept of clients that hold nothing");
    }

    #[tokio::test]
    async fn a_waiting_request_gets_what_its_own_client_releases() {
        let limit = PerAddress::new(1);
        let (one, other) = (limit.wait(client("192.0.2.1")).await, limit.wait(client("192.0.2.2")).await);
        let mut next = std::pin::pin!(limit.wait(client("192.0.2.1")));
        assert!(futures_util::poll!(next.as_mut()).is_pending());
        drop(other);
        assert!(futures_util::poll!(next.as_mut()).is_pending());
        drop(one);
        assert!(futures_util::poll!(next).is_ready());
    }

    #[test]
    fn an_ipv6_network_and_a_mapped_address_are_one_client() {
        assert_eq!(client("2001:db8::1"), client("2001:db8::ffff:1"));
        assert_ne!(client("2001:db8::1"), client("2001:db8:0:1::1"));
        assert_eq!(client("::ffff:192.0.2.1"), client("192.0.2.1"));
    }

    #[tokio::test]
    async fn only_a_proxy_on_this_machine_is_believed_about_its_clients() {
        for (peer, forwarded, wanted) in [
            ("127.0.0.1:1", Some("198.51.100.9, 192.0.2.7"), "192.0.2.7"),
            ("127.0.0.1:1", Some("no address"), "127.0.0.1"),
            ("127.0.0.1:1", None, "127.0.0.1"),
            ("198.51.100.1:1", Some("192.0.2.7"), "198.51.100.1"),
        ] {
            let mut request = Request::get("/");
            if let Some(forwarded) = forwarded {
                request = request.header("x-forwarded-for", forwarded);
            }
            let (mut parts, ()) = request.body(()).expect("a request").into_parts();
            parts.extensions.insert(ConnectInfo(peer.parse::<SocketAddr>().expect("an address")));
            let Ok(found) = Client::from_request_parts(&mut parts, &()).await;
            assert_eq!(found, client(wanted), "{peer} {forwarded:?}");
        }
    }
}
