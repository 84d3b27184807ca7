//! Where a request wants to go (RFC 9112 section 3.2).

use doorward::access::key::ClientKey;

use super::{Stage, get};

fn with_host(hosts: &[u8]) -> Vec<u8> {
    [b"GET /v3/x HTTP/1.1\r\nconnection: close\r\n", hosts, b"\r\n"].concat()
}

/// Case 19; `host-*`. Fails when a host that is none, or a second one, passes.
#[tokio::test]
async fn a_host_that_is_none_is_refused() {
    let stage = Stage::open().await;
    for hosts in [
        &b""[..],
        b"host:\r\n",
        b"host: localhost\r\nhost: localhost\r\n",
        b"host: localhost\r\nHost: evil.example\r\n",
        b"host: localhost\r\nhost:\r\n",
        b"host: localhost, evil.example\r\n",
        b"host: localhost,localhost\r\n",
        b"host: localhost evil.example\r\n",
        b"host: local host\r\n",
        b"host: user@localhost\r\n",
        b"host: user:pass@localhost\r\n",
        b"host: @localhost\r\n",
        b"host: localhost/x\r\n",
        b"host: localhost?x\r\n",
        b"host: localhost#x\r\n",
        b"host: localhost\\x\r\n",
        b"host: http://localhost\r\n",
        b"host: //localhost\r\n",
        b"host: local%68ost\r\n",
        b"host: localhost%00\r\n",
        b"host: localhost:http\r\n",
        b"host: localhost:-80\r\n",
        b"host: localhost:+80\r\n",
        b"host: localhost:65536\r\n",
        b"host: localhost:99999999\r\n",
        b"host: localhost:80:80\r\n",
        b"host: :80\r\n",
        b"host: [::1\r\n",
        b"host: ::1]\r\n",
        b"host: [::1]x\r\n",
        b"host: [localhost]\r\n",
        b"host: []\r\n",
        b"host: ..\r\n",
        b"host: \"localhost\"\r\n",
        b"host: \x01localhost\r\n",
        b"host: localhost\x00\r\n",
        b"host: localhost\x7f\r\n",
        b"host: localh\xc3\xb6st\r\n",
        b"host: \xfflocalhost\r\n",
        b"host : localhost\r\n",
        b"host\t: localhost\r\n",
        b"host: localhost\r\n .evil.example\r\n",
    ] {
        stage.refused(with_host(hosts), "400").await;
    }
    for host in ["localhost", "LOCALHOST", "localhost:80", "[::1]:8080", "127.0.0.1", "localhost:"]
    {
        let arrived = stage.arrives(with_host(format!("host: {host}\r\n").as_bytes())).await;
        assert_eq!(arrived, "GET /v3/x HTTP/1.1\r\n\r\n", "{host}");
    }
}

/// Case 20; `abs-*`. Fails when the target chooses who is contacted.
#[tokio::test]
async fn only_the_configured_upstream_is_ever_contacted() {
    let stage = Stage::open().await;
    let get = |target: &str, host: &str| {
        format!("GET {target} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n")
    };
    for (target, host, expected) in [
        ("http://evil.example/v3/x", "evil.example", "421"),
        ("http://evil.example/v3/x", "localhost", "400"),
        ("http://localhost/v3/x", "evil.example", "400"),
        ("http://169.254.169.254/latest/meta-data", "169.254.169.254", "421"),
        ("http://[fd00:ec2::254]/latest", "[fd00:ec2::254]", "421"),
        ("http://localhost@evil.example/v3/x", "localhost", "400"),
        ("http://evil.example@localhost/v3/x", "localhost", "400"),
        ("http://localhost:80@evil.example/v3/x", "evil.example", "400"),
        ("http://localhost\\@evil.example/v3/x", "localhost", "400"),
        ("http:///v3/x", "localhost", "400"),
        ("http:/v3/x", "localhost", "400"),
        ("http:", "localhost", "400"),
        ("file:///etc/passwd", "localhost", "400"),
        ("ftp://localhost/v3/x", "localhost", "400"),
        ("gopher://localhost/v3/x", "localhost", "400"),
        ("unix:/run/x.sock", "localhost", "400"),
        ("javascript:alert(1)", "localhost", "400"),
        ("@evil.example/v3/x", "localhost", "400"),
        ("v3/x", "localhost", "400"),
        ("\\evil.example\\v3", "localhost", "400"),
        ("?x", "localhost", "400"),
        ("*", "localhost", "400"),
        ("", "localhost", "400"),
    ] {
        stage.refused(get(target, host), expected).await;
    }
    for (target, line) in [
        ("http://localhost/v3/y?a=1", "GET /v3/y?a=1 HTTP/1.1"),
        ("HTTP://LOCALHOST/v3/y", "GET /v3/y HTTP/1.1"),
        ("http://localhost", "GET / HTTP/1.1"),
        ("http://localhost?a", "GET /?a HTTP/1.1"),
        ("//evil.example/v3/y", "GET //evil.example/v3/y HTTP/1.1"),
        ("/v3/http://evil.example/", "GET /v3/http://evil.example/ HTTP/1.1"),
    ] {
        // That the upstream reads its own name in `Host`, whatever the client wrote, is what
        // `exact` and the address of the puppet stand for.
        let arrived = stage.arrives(get(target, "localhost")).await;
        assert_eq!(arrived, format!("{line}\r\n\r\n"), "{target}");
    }
    let hosts: Vec<String> = stage
        .puppet
        .heard()
        .lines()
        .filter_map(|line| line.strip_prefix("host: ").map(str::to_owned))
        .collect();
    let upstream = stage.puppet.origin().replace("http://", "");
    assert!(hosts.iter().all(|host| *host == upstream), "{hosts:?}");
}

/// Case 20, where every host has a route. Fails when the host decides more than the route.
#[tokio::test]
async fn with_keys_a_foreign_host_still_leads_to_the_configured_upstream() {
    let key = ClientKey::generate("reader".parse().unwrap()).unwrap();
    let stage = Stage::with(|setup| setup.keys(&[("reader", &key)])).await;
    let bytes = format!(
        "GET http://evil.example/v3/x HTTP/1.1\r\nhost: evil.example\r\ndoorward-key: {}\r\n\
         connection: close\r\n\r\n",
        key.expose()
    );
    assert_eq!(stage.arrives(&bytes).await, "GET /v3/x HTTP/1.1\r\n\r\n");
    let hosts = stage.puppet.heard();
    assert!(!hosts.contains("\nhost: evil.example"), "{hosts}");
}

/// Case 38. Fails when a fragment is sent to us and the request is not refused.
#[tokio::test]
async fn a_fragment_in_the_target_is_refused() {
    let stage = Stage::open().await;
    for target in [
        "/v3/x#fragment",
        "/v3/x#",
        "/v3/x?a=1#b",
        "/v3/x#?a=1",
        "/#/v3/x",
        "http://localhost/v3/x#a",
        "http://localhost#@evil.example/",
        "#",
    ] {
        stage.refused(get(target, ""), "400").await;
    }
    // Before what reads the line has seen the whole of it.
    let mut raw = crate::client::Raw::connect(stage.scene.door(), stage.scene.record()).await;
    for piece in get("/v3/x#fragment", "").as_bytes().chunks(5) {
        raw.write_if_open(piece).await;
    }
    assert!(raw.read_to_end().await.starts_with("HTTP/1.1 400 "));
    assert!(stage.puppet.calls().is_empty());
    // Elsewhere the character means nothing.
    let arrived = stage.arrives(get("/v3/x?a=%23", "x-a: #b\r\n")).await;
    assert_eq!(arrived, "GET /v3/x?a=%23 HTTP/1.1\r\nx-a: #b\r\n\r\n");
    let upload = "POST /v3/x HTTP/1.1\r\nhost: localhost\r\ncontent-length: 16\r\n\r\n\
                  GET /# HTTP/1.1\n";
    let last = get("/v3/y", "");
    let said = stage.say(format!("{upload}{last}")).await;
    assert_eq!(said.statuses(), ["200", "200"], "{said:?}");
}

/// Case 39. Fails when a query takes part in the choice of a route or of a grant.
#[tokio::test]
async fn the_query_is_no_part_of_the_path() {
    let stage = Stage::with(|mut setup| {
        setup.route = "path = \"/v3/open\"".to_owned();
        setup
    })
    .await;
    for target in ["/v3?/v3/open", "/?x=/v3/open", "/v3/ope?n", "/v3/x?../v3/open"] {
        let said = stage.say(get(target, "")).await;
        assert_eq!(said.codes(), ["no_route"], "{target}: {said:?}");
    }
    assert_eq!(
        stage.arrives(get("/v3/open?/../../secret", "")).await,
        "GET /v3/open?/../../secret HTTP/1.1\r\n\r\n"
    );
    let key = ClientKey::generate("reader".parse().unwrap()).unwrap();
    let grants = "[{ paths = [\"/v3/open\"] }]";
    let stage = Stage::with(|setup| setup.client("reader", &key, grants)).await;
    let mine = format!("doorward-key: {}\r\n", key.expose());
    for target in ["/v3/closed?/v3/open", "/v3/closed?x=/../open", "/v3/closed/?/../../v3/open"] {
        let said = stage.say(get(target, &mine)).await;
        assert_eq!(said.codes(), ["not_granted"], "{target}: {said:?}");
    }
    let arrived = stage.arrives(get("/v3/open?/v3/closed", &mine)).await;
    assert_eq!(arrived, "GET /v3/open?/v3/closed HTTP/1.1\r\n\r\n");
}

/// Case 66. Fails when an answer of ours sends a browser elsewhere, also by an address that the
/// upstream wrote as its own.
#[tokio::test]
async fn no_answer_leads_elsewhere_because_the_target_says_so() {
    let stage = Stage::open().await;
    for target in ["//evil.example/%2e%2e", "/\\evil.example", "//evil.example", "/v3/user-session"]
    {
        let said = stage.say(get(target, "")).await;
        assert!(!said.0.to_lowercase().contains("\r\nlocation:"), "{target}: {said:?}");
        assert!(!said.0.contains("evil.example"), "{target}: {said:?}");
    }
    for (location, passed_on) in [
        ("ORIGIN//evil.example/x", "/.//evil.example/x"),
        ("ORIGIN/\\evil.example/x", "/./\\evil.example/x"),
        ("ORIGIN/v3/there", "/v3/there"),
        ("//evil.example/x", "//evil.example/x"),
        ("https://elsewhere.example/", "https://elsewhere.example/"),
    ] {
        let told = super::upstream::redirected(location).await;
        assert_eq!(told, passed_on, "{location}");
    }
}
