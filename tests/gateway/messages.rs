//! What travels on of a request and of an answer, and what does not.

use doorward::emulator::{Forced, Vendor, mfiles};

use crate::client::{Protocol, Raw};
use crate::harness::{Scene, Setup, within};
use crate::puppet::{Puppet, Reply};
use crate::vendors::{read, read_line};

async fn echo() -> Puppet {
    Puppet::logged_in(|_| Reply::json("{}")).await
}

/// The fields of a request as the upstream got them.
fn fields<'a>(request: &'a str, name: &str) -> Vec<&'a str> {
    let (head, _) = request.split_once("\r\n\r\n").unwrap();
    let fields = head.lines().skip(1).filter_map(|line| line.split_once(": "));
    fields.filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
}

/// Fails when hop-by-hop or nominated fields travel on, or when framing can be nominated away.
#[tokio::test]
async fn hop_by_hop_and_nominated_fields_stay_here() {
    let puppet = echo().await;
    let scene = puppet.scene(Vendor::Contentstack).await;
    let call = scene
        .call("POST", "/v3/x")
        .header("connection", "x-one, authtoken, host, content-length, keep-alive")
        .header("connection", "X-Two, api_key")
        .header("x-one", "1")
        .header("x-two", "2")
        .header("x-three", "3")
        .header("api_key", "nominated")
        .header("keep-alive", "timeout=5")
        .header("proxy-connection", "keep-alive")
        .header("proxy-authorization", "Basic eDp5")
        .header("te", "trailers")
        .header("upgrade", "h2c")
        .header("http2-settings", "AAMAAABkAAQAAP__")
        .body("four");
    assert_eq!(call.send().await.status, 200);
    let call = &puppet.calls()[0];
    for name in [
        "connection",
        "x-one",
        "x-two",
        "api_key",
        "keep-alive",
        "proxy-connection",
        "proxy-authorization",
        "te",
        "upgrade",
        "http2-settings",
    ] {
        assert!(fields(call, name).is_empty(), "{name}: {call}");
    }
    assert_eq!(fields(call, "x-three"), ["3"]);
    assert_eq!(fields(call, "content-length"), ["4"]);
    assert_eq!(fields(call, "authtoken").len(), 1, "the injected one came after the removal");
    assert_eq!(fields(call, "host").len(), 1);
}

/// Fails when what a client says of its own origin is believed.
#[tokio::test]
async fn fields_about_the_origin_are_set_anew() {
    let puppet = echo().await;
    let scene = puppet.scene(Vendor::Contentstack).await;
    let mut call = scene.call("GET", "/v3/x").header("via", "1.0 fred").header("user-agent", "me");
    for name in [
        "forwarded",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-forwarded-port",
        "x-forwarded-uri",
        "x-real-ip",
        "x-original-url",
        "x-rewrite-url",
    ] {
        call = call.header(name, "6.6.6.6");
    }
    let answer = call.send().await;
    let sent = &puppet.calls()[0];
    assert_eq!(fields(sent, "x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(fields(sent, "x-forwarded-host"), ["localhost"]);
    assert_eq!(fields(sent, "x-forwarded-proto"), ["http"]);
    assert_eq!(fields(sent, "forwarded"), ["for=127.0.0.1;host=\"localhost\";proto=http"]);
    assert!(!sent.contains("6.6.6.6"), "{sent}");
    let via = fields(sent, "via");
    assert!(via[0] == "1.0 fred" && via[1].starts_with("1.1 doorward-"), "{via:?}");
    assert_eq!(fields(sent, "user-agent"), ["me"]);
    assert_eq!(answer.one("via"), via[1]);
    let id = answer.one("x-request-id");
    assert_eq!(fields(sent, "x-request-id"), [id]);
}

/// Fails when our own requests are sent round and round.
#[tokio::test]
async fn a_request_that_comes_back_is_refused() {
    let puppet = echo().await;
    let scene = puppet.scene(Vendor::Contentstack).await;
    scene.call("GET", "/v3/x").send().await;
    let calls = puppet.calls();
    let ours = fields(&calls[0], "via")[0];
    let again = scene.call("GET", "/v3/x").header("via", &format!("1.1 a, {ours}")).send().await;
    assert_eq!((again.status.as_u16(), again.problem().as_str()), (502, "loop_detected"));
    let other = scene.call("GET", "/v3/x").header("via", "1.1 doorward-00000000").send().await;
    assert_eq!(other.status, 200);
    assert_eq!(puppet.calls().len(), 2);
}

/// Fails when a field whose name passes for another one travels on, or decides something.
#[tokio::test]
async fn fields_with_underscores_are_dropped_unless_the_recipe_names_them() {
    let puppet = echo().await;
    let scene = puppet.scene(Vendor::Contentstack).await;
    let call = scene.call("GET", "/v3/x").header("auth_token", "a").header("x_forwarded_for", "b");
    assert_eq!(call.header("api_key", "kept").send().await.status, 200);
    let sent = &puppet.calls()[0];
    assert_eq!(fields(sent, "api_key"), ["kept"]);
    assert!(fields(sent, "auth_token").is_empty() && fields(sent, "x_forwarded_for").is_empty());
    for name in ["content_length", "transfer_encoding", "Host_", "authorization_"] {
        let answer = scene.call("GET", "/v3/x").header(name, "5").send().await;
        let decisive = !name.ends_with('_');
        assert_eq!(answer.status == 400, decisive, "{name}");
    }
}

/// Fails when a path or a query is written anew on its way.
#[tokio::test]
async fn path_and_query_bytes_travel_unchanged() {
    let scene = Scene::of(Vendor::MFiles).await;
    for target in [
        "/REST/views/a%252Fb/items?q=a%20b+c&&x=%zz&y",
        "/REST//views/%c3%A9/items",
        "/rest/Views/%7e~!$&'()*+,=:@/items.aspx?a=[1]&b={x}|^`",
        "/REST/views;p=1/items?",
        "/REST/views/items?q=%E4%BD%A0&empty=&=x",
    ] {
        let mut raw = Raw::connect(scene.door(), scene.record()).await;
        let vault = mfiles::VAULT;
        raw.write(format!(
            "GET {target} HTTP/1.1\r\nhost: localhost\r\nx-vault: {vault}\r\nconnection: close\r\n\r\n"
        ))
        .await;
        let answer = raw.read_to_end().await;
        assert!(!answer.contains("application/problem+json"), "{target}: {answer}");
        assert_eq!(scene.control().requests().pop().unwrap().target, target);
    }
    scene.stop().await;
}

async fn stripped(prefix: &str) -> (Puppet, Scene) {
    let puppet = Puppet::logged_in(|request| match request.split(' ').nth(1).unwrap() {
        "/base/v3/moved" => Reply::keep(
            "HTTP/1.1 302 Found\r\nlocation: /base/v3/there?x=%20\r\n\
             content-location: /base/v3/here\r\ncontent-length: 0\r\n\r\n",
        ),
        "/base/v3/away" => Reply::keep(
            "HTTP/1.1 302 Found\r\nlocation: https://elsewhere.example/v3\r\n\
             content-length: 0\r\n\r\n",
        ),
        path if path.ends_with("user-session") => Reply::json(r#"{"user":{"authtoken":"blt1"}}"#),
        _ => Reply::json("{}"),
    })
    .await;
    let mut setup = puppet.setup(Vendor::Contentstack);
    setup.origin = setup.origin.map(|origin| format!("{origin}/base"));
    setup.route = format!("path = {prefix:?}\nstrip_prefix = true");
    (puppet, setup.start().await)
}

/// Fails when a stripped prefix is not put back into `Location`, or rules are decided with it.
#[tokio::test]
async fn a_stripped_prefix_is_taken_off_and_put_back() {
    let (puppet, scene) = stripped("/team/cms").await;
    assert_eq!(scene.call("GET", "/team/cms/v3/x%20y?q=%2F").send().await.status, 200);
    assert!(puppet.calls().pop().unwrap().starts_with("GET /base/v3/x%20y?q=%2F HTTP/1.1\r\n"));
    let moved = scene.call("GET", "/team/cms/v3/moved").send().await;
    assert_eq!((moved.status.as_u16(), moved.one("location")), (302, "/team/cms/v3/there?x=%20"));
    assert_eq!(moved.one("content-location"), "/team/cms/v3/here");
    let away = scene.call("GET", "/team/cms/v3/away").send().await;
    assert_eq!(away.one("location"), "https://elsewhere.example/v3");
    assert_eq!(scene.call("GET", "/team/cms").send().await.status, 200);
    assert!(puppet.calls().pop().unwrap().starts_with("GET /base/ HTTP/1.1\r\n"));
    let outside = scene.call("GET", "/team/cmsx/v3/x").send().await;
    assert_eq!((outside.status.as_u16(), outside.problem().as_str()), (404, "no_route"));
    let login = scene.call("POST", "/team/cms/v3/user-session").send().await;
    assert_eq!(login.json()["user"]["authtoken"], "doorward-placeholder-authtoken");
}

/// Fails when the bytes that are cut off are not those that the route matched: the upstream would
/// then see another path than the one that the rules were decided on.
#[tokio::test]
async fn what_is_cut_off_is_what_the_route_matched() {
    let (puppet, scene) = stripped("/v3").await;
    for (path, seen) in [
        ("/v3/v3/x", "/base/v3/x"),
        ("//v3//v3/x", "/base//v3/x"),
        ("/%76%33/v3/x", "/base/v3/x"),
        ("/v3;a=1/v3/x;b", "/base/v3/x;b"),
    ] {
        assert_eq!(scene.call("GET", path).send().await.status, 200, "{path}");
        let call = puppet.calls().pop().unwrap();
        assert!(call.starts_with(&format!("GET {seen} HTTP/1.1\r\n")), "{path}: {call}");
    }
    // A segment of parameters alone is none to some and one to others: no logout passes the rules
    // by it.
    let before = puppet.requests().len();
    for path in ["/;a/v3/v3/user-session", "/v3/;/v3/user-session", "/;/;/v3/v3/user-session"] {
        let answer = scene.call("DELETE", path).send().await;
        assert!(matches!(answer.status.as_u16(), 200 | 400), "{path}: {answer:?}");
    }
    assert_eq!(puppet.requests().len(), before, "a logout travelled on");
}

/// Fails when an answer without a body gets one, or loses what its head says.
#[tokio::test]
async fn answers_without_a_body_pass_as_they_are() {
    let puppet = Puppet::logged_in(|request| {
        let answer = match request.split(' ').nth(1).unwrap() {
            "/v3/head" => "HTTP/1.1 200 OK\r\ncontent-length: 1234\r\netag: \"a\"\r\n\r\n",
            "/v3/204" => "HTTP/1.1 204 No Content\r\nx-a: 1\r\n\r\n",
            "/v3/304" => "HTTP/1.1 304 Not Modified\r\netag: \"a\"\r\ncontent-length: 77\r\n\r\n",
            _ => "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        };
        Reply::keep(answer)
    })
    .await;
    let scene = puppet.scene(Vendor::Contentstack).await;
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let head = scene.call("HEAD", "/v3/head").send_by(protocol).await;
        assert_eq!((head.status.as_u16(), head.one("content-length")), (200, "1234"));
        assert_eq!(head.one("etag"), "\"a\"");
        let none = scene.call("DELETE", "/v3/204").send_by(protocol).await;
        assert_eq!((none.status.as_u16(), none.one("x-a")), (204, "1"));
        assert!(none.all("content-length").is_empty() && none.body.is_empty());
        let same = scene.call("GET", "/v3/304").header("if-none-match", "\"a\"");
        let same = same.send_by(protocol).await;
        assert_eq!((same.status.as_u16(), same.one("etag")), (304, "\"a\""));
        let empty = scene.call("GET", "/v3/empty").send_by(protocol).await;
        assert_eq!((empty.status.as_u16(), empty.one("content-length")), (200, "0"));
    }
}

/// Fails when fields of the upstream's own connection, or its cookies, reach the client.
#[tokio::test]
async fn fields_of_the_upstreams_connection_stay_here() {
    let puppet = Puppet::logged_in(|_| {
        Reply::keep(
            "HTTP/1.1 200 OK\r\nconnection: x-secret\r\nx-secret: 1\r\nkeep-alive: timeout=5\r\n\
             proxy-authenticate: Basic\r\nupgrade: h2c\r\nset-cookie: a=1\r\nset-cookie: b=2\r\n\
             x-kept: 1\r\ncontent-length: 2\r\n\r\n{}",
        )
    })
    .await;
    let scene = puppet.scene(Vendor::Contentstack).await;
    let answer = scene.call("GET", "/v3/x").send().await;
    for name in ["x-secret", "keep-alive", "proxy-authenticate", "upgrade", "set-cookie"] {
        assert!(answer.all(name).is_empty(), "{name}");
    }
    assert_eq!((answer.one("x-kept"), answer.one("cache-control")), ("1", "private"));
}

/// Fails when what the upstream says about caching is overruled.
#[tokio::test]
async fn what_the_upstream_says_about_caching_is_kept() {
    let scene = Scene::of(Vendor::Contentstack).await;
    let forced = Forced {
        matching: read_line(Vendor::Contentstack).to_owned(),
        status: Some(200),
        headers: vec![("cache-control".to_owned(), "max-age=5".to_owned())],
        ..Forced::default()
    };
    scene.control().force(forced).unwrap();
    assert_eq!(read(&scene).send().await.one("cache-control"), "max-age=5");
    scene.stop().await;
}

/// Fails when a body is asked for late, or the question does not travel on (RFC 9110 section 10.1.1).
#[tokio::test]
async fn a_client_that_waits_for_100_continue_is_told_to_go_on() {
    let puppet = echo().await;
    puppet.answer_expecting(Reply::go_on());
    let scene = puppet.scene(Vendor::Contentstack).await;
    let mut raw = Raw::connect(scene.door(), scene.record()).await;
    raw.write(
        "PUT /v3/x HTTP/1.1\r\nhost: localhost\r\ncontent-length: 4\r\nexpect: 100-continue\r\n\r\n",
    )
    .await;
    raw.read_to("HTTP/1.1 100 Continue\r\n\r\n").await;
    raw.write("four").await;
    raw.read_to("HTTP/1.1 200 OK").await;
    let call = &puppet.calls()[0];
    assert!(call.ends_with("\r\n\r\nfour") && fields(call, "expect") == ["100-continue"], "{call}");
}

/// Fails when an answer's body is gathered before it is passed on, or its session is let go before
/// its end.
#[tokio::test]
async fn a_download_arrives_before_its_end_is_sent() {
    let scene = Scene::of(Vendor::MFiles).await;
    let control = scene.control();
    let bytes = 64 << 20;
    control.switch("download_bytes", serde_json::json!(bytes)).unwrap();
    // Each further 64 KiB waits for a clock that stands still.
    control.switch("download_pause_ms", serde_json::json!(1)).unwrap();
    let mut raw = Raw::connect(scene.door(), scene.record()).await;
    let vault = mfiles::VAULT;
    raw.write(format!(
        "GET /REST/objects/0/1/latest/files/1/content HTTP/1.1\r\nhost: localhost\r\n\
         x-vault: {vault}\r\n\r\n"
    ))
    .await;
    raw.read_to("\r\n\r\n").await;
    raw.read_some(40 * 1024).await;
    let moving = async {
        loop {
            scene.clock.advance(std::time::Duration::from_millis(1));
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = raw.read_some(3 << 20) => {}
        () = moving => unreachable!(),
    }
    drop(raw);
}

/// Fails when a request's body is gathered before it is sent on.
#[tokio::test]
async fn an_upload_arrives_before_its_end_is_sent() {
    let puppet = echo().await;
    let scene = puppet.scene(Vendor::Contentstack).await;
    let mut raw = Raw::connect(scene.door(), scene.record()).await;
    raw.write("PUT /v3/x HTTP/1.1\r\nhost: localhost\r\ncontent-length: 200000\r\n\r\n").await;
    raw.write(vec![b'x'; 1000]).await;
    puppet.body_begun(1).await;
    raw.write(vec![b'x'; 199_000]).await;
    raw.read_to("HTTP/1.1 200 OK").await;
    assert_eq!(puppet.calls()[0].len() - puppet.calls()[0].find("\r\n\r\n").unwrap() - 4, 200_000);
}

/// Fails when a host is not told from another one, or a route falls through to another.
#[tokio::test]
async fn the_host_and_the_longest_prefix_choose_the_route() {
    let (one, two) = (echo().await, echo().await);
    let setup: Setup = one.setup(Vendor::Contentstack);
    let other = two.setup(Vendor::Contentstack).origin.unwrap();
    let scene = setup
        .tables(&format!(
            "[upstreams.other]\nurl = {other:?}\nrecipe = \"contentstack\"\n\
             [upstreams.other.accounts.user]\nusername = \"u\"\npassword = {{ env = \"P\" }}\n\
             [[routes]]\nhost = \"two.test\"\npath = \"/v3\"\nupstream = \"other\"\n"
        ))
        .start_with(&[("P", "a secret of two")])
        .await;
    within(async {
        scene.call("GET", "/v3/a").send().await;
        scene.call("GET", "/v3/b").host("two.test").send().await;
        scene.call("GET", "/v3/c").host("TWO.test:80").send().await;
        // The host has a route of its own; its path does not match that, so any host's is used.
        scene.call("GET", "/other/d").host("two.test").send().await;
    })
    .await;
    let paths = |puppet: &Puppet| -> Vec<String> {
        puppet.calls().iter().map(|call| call.split(' ').nth(1).unwrap().to_owned()).collect()
    };
    assert_eq!(paths(&one), ["/v3/a", "/other/d"]);
    assert_eq!(paths(&two), ["/v3/b", "/v3/c"]);
}
