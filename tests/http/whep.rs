//! What players ask of `/whep` before and after they watch, and what browsers ask on behalf of pages of other sites.

use std::sync::Arc;

use reqwest::{Client, Method, Response};
use serde_json::{Value, json};
use visage::serve::ClientLimits;
use visage::session::SessionsConfig;

use super::proxy::{PREFIX, proxy};
use super::{TestServer, offer, portrait, server_with_limits, start_server_for};

const SITE: &str = "https://player.example";

/// A server with a token, which pages of [`SITE`] may call.
fn open_server() -> TestServer {
    let config =
        SessionsConfig { max_sessions: 2, max_viewers: 6, workers: 1, resolution_px: 128, bitrate_bps: 500_000 };
    start_server_for(Arc::new(portrait()), config, (Some("s3cret"), &[SITE.to_owned()]), ClientLimits::of(2, 6))
}

/// The endpoint of a new session.
async fn endpoint(server: &TestServer) -> String {
    let body = json!({ "options": { "lifetime": "until_deleted" } });
    let created = server.ask(Method::POST, "/v1/sessions").bearer_auth("s3cret").json(&body).send().await;
    let created: Value = created.expect("an answer").json().await.expect("JSON");
    format!("/whep/{}", created["id"].as_str().expect("an id"))
}

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().expect("text"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_player_finds_out_what_the_endpoint_takes() {
    let server = server_with_limits(2, ClientLimits::of(2, 6));
    let endpoint = endpoint(&server).await;
    let ask = async |method: Method, path: &str| server.ask(method, path).send().await.expect("an answer");
    let head = ask(Method::HEAD, &endpoint).await;
    assert_eq!((head.status().as_u16(), header(&head, "content-type")), (200, "application/sdp"));
    assert_eq!(ask(Method::GET, &endpoint).await.status(), 204, "there is something to watch");
    for method in [Method::HEAD, Method::GET] {
        assert_eq!(ask(method, "/whep/none").await.status(), 404, "there is not");
    }
    for path in [endpoint.clone(), format!("{endpoint}/viewer")] {
        let options = ask(Method::OPTIONS, &path).await;
        assert_eq!(options.status(), 200, "{path}");
        assert_eq!(header(&options, "accept-post"), "application/sdp");
        assert_eq!(header(&options, "accept-patch"), "application/trickle-ice-sdpfrag");
        assert_eq!(header(&options, "access-control-allow-origin"), "", "no other site may call");
    }
    let put = ask(Method::PUT, &endpoint).await;
    assert_eq!(put.status(), 405);
    assert!(["GET", "HEAD", "POST", "OPTIONS"].iter().all(|method| header(&put, "allow").contains(method)), "{put:?}");
    server.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_an_allowed_site_watches_and_others_do_not() {
    let server = open_server();
    let endpoint = endpoint(&server).await;
    let preflight = async |path: &str, method: &str, origin: &str| {
        let request = server.ask(Method::OPTIONS, path).header("origin", origin);
        let request = request.header("access-control-request-method", method);
        let request = request.header("access-control-request-headers", "authorization,content-type,if-match");
        request.send().await.expect("an answer")
    };
    for (path, method) in
        [(endpoint.clone(), "POST"), (format!("{endpoint}/viewer"), "PATCH"), (format!("{endpoint}/viewer"), "DELETE")]
    {
        // A preflight carries no token (Fetch, section 4.8).
        let allowed = preflight(&path, method, SITE).await;
        assert_eq!(allowed.status(), 200, "{method}");
        assert_eq!(header(&allowed, "access-control-allow-origin"), SITE);
        assert!(header(&allowed, "access-control-allow-methods").contains(method), "{allowed:?}");
        for name in ["authorization", "content-type", "if-match"] {
            assert!(header(&allowed, "access-control-allow-headers").contains(name), "{allowed:?}");
        }
        assert_eq!(header(&allowed, "accept-post"), "application/sdp");
        assert_eq!(preflight(&path, method, "https://evil.example").await.status(), 403);
    }
    let post = async |token: &str| {
        let request = server.ask(Method::POST, &endpoint).header("origin", SITE).bearer_auth(token);
        request.header("content-type", "application/sdp").body(offer()).send().await.expect("an answer")
    };
    assert_eq!(post("wrong").await.status(), 401);
    let joined = post("s3cret").await;
    assert_eq!((joined.status().as_u16(), header(&joined, "access-control-allow-origin")), (201, SITE));
    for name in ["location", "etag"] {
        assert!(!header(&joined, name).is_empty(), "{joined:?}");
        assert!(header(&joined, "access-control-expose-headers").contains(name), "a page reads it: {joined:?}");
    }
    server.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_player_behind_a_proxy_that_removes_a_path_reaches_its_resource() {
    let server = server_with_limits(2, ClientLimits::of(2, 6));
    let endpoint = format!("http://{}{PREFIX}{}", proxy(server.address), endpoint(&server).await);
    let client = Client::new();
    let joined = client.post(&endpoint).header("content-type", "application/sdp").body(offer());
    let joined = joined.send().await.expect("an answer");
    assert_eq!(joined.status(), 201);
    // As a player finds it (RFC 3986, section 5).
    let resource = joined.url().join(header(&joined, "location")).expect("an address");
    assert!(resource.as_str().starts_with(&format!("{endpoint}/")), "{resource}");
    let fragment = "a=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\na=end-of-candidates\r\n";
    let trickle = client.patch(resource.clone()).header("content-type", "application/trickle-ice-sdpfrag");
    let trickle = trickle.header("if-match", header(&joined, "etag")).body(fragment);
    assert_eq!(trickle.send().await.expect("an answer").status(), 204);
    assert_eq!(client.delete(resource.clone()).send().await.expect("an answer").status(), 200);
    assert_eq!(client.delete(resource).send().await.expect("an answer").status(), 404, "it is gone");
    server.close().await;
}
