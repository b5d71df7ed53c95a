//! The server below a path of another site, behind a proxy that removes the path from requests.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;

use reqwest::{Client, Method};
use serde_json::{Value, json};
use visage::serve::{self, Access, BasePath};

use super::{offer, server};

pub(crate) const PREFIX: &str = "/site/avatar";

/// A proxy that publishes `server` below [`PREFIX`], one request for each connection.
pub(crate) fn proxy(server: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || forward(client, server));
        }
    });
    address
}

fn forward(mut client: TcpStream, server: SocketAddr) {
    let mut server = TcpStream::connect(server).expect("the server");
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && client.read(&mut byte).is_ok_and(|count| count == 1) {
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).expect("text").replacen(PREFIX, "", 1);
    let extra = format!("\r\nx-forwarded-prefix: {PREFIX}\r\nconnection: close\r\n\r\n");
    server.write_all((head.trim_end().to_owned() + &extra).as_bytes()).expect("sent");
    let (mut from, mut to) = (client.try_clone().expect("a handle"), server.try_clone().expect("a handle"));
    thread::spawn(move || std::io::copy(&mut from, &mut to));
    let _ = std::io::copy(&mut server, &mut client);
    let _ = client.shutdown(Shutdown::Both);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_address_in_an_answer_leads_back_through_the_proxy() {
    let server = server(2, None);
    let site = format!("http://{}", proxy(server.address));
    let client = Client::new();
    let body = json!({ "sdp": offer() });
    let joined = client.post(format!("{site}{PREFIX}/v1/sessions")).json(&body).send().await.expect("an answer");
    assert_eq!(joined.status(), 201);
    let location = joined.headers()["location"].to_str().expect("text").to_owned();
    assert!(location.starts_with(&format!("{PREFIX}/v1/sessions/")), "{location}");
    let joined: Value = joined.json().await.expect("JSON");
    assert_eq!(joined["location"], location);
    let session = client.get(format!("{site}{location}")).send().await.expect("an answer");
    assert_eq!(session.status(), 200);
    let avatars: Value =
        client.get(format!("{site}{PREFIX}/v1/avatars")).send().await.expect("an answer").json().await.expect("JSON");
    let still = avatars[0]["still"].as_str().expect("a path");
    assert_eq!(client.get(format!("{site}{still}")).send().await.expect("an answer").status(), 200);
    assert_eq!(client.delete(format!("{site}{location}")).send().await.expect("an answer").status(), 204);
    server.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prefix_that_leads_to_another_site_is_ignored() {
    let server = server(1, None);
    for prefix in ["//evil.example", "https://evil.example", "/a\\b", "/../x"] {
        let avatars = server.ask(Method::GET, "/v1/avatars").header("x-forwarded-prefix", prefix);
        let avatars: Value = avatars.send().await.expect("an answer").json().await.expect("JSON");
        assert_eq!(avatars[0]["still"], "/v1/avatars/mira/still.png", "{prefix}");
    }
    server.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_base_path_is_removed_from_requests_that_still_carry_it() {
    let listener = serve::bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
    let site = format!("http://{}", listener.address);
    let startup = serve::Startup::new(Access::default(), BasePath::parse(PREFIX).expect("a path"));
    let serving = tokio::spawn(serve::serve(listener, startup.router(), None, std::future::pending()));
    let client = Client::builder().redirect(reqwest::redirect::Policy::none()).build().expect("a client");
    let get = async |path: &str| client.get(format!("{site}{path}")).send().await.expect("an answer");
    for path in ["/healthz", &format!("{PREFIX}/healthz")] {
        assert_eq!(get(path).await.status(), 200, "{path}");
    }
    let redirect = get(PREFIX).await;
    assert_eq!(
        (redirect.status().as_u16(), &redirect.headers()["location"]),
        (308, &format!("{PREFIX}/").parse().expect("a header"))
    );
    serving.abort();
}
