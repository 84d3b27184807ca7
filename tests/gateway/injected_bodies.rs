//! Sessions that go into the bodies of requests: into JSON objects, forms and XML, and into nothing else; sent
//! again with the next session's value, within a bound.

use std::sync::atomic::{AtomicUsize, Ordering};

use doorward::emulator::Vendor;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::client::{Call, Protocol, Raw};
use crate::harness::{Scene, write};
use crate::puppet::{Puppet, Reply};

const RECIPE: &str = r#"
    name = "enveloped"
    title = "An API whose calls carry the session in their bodies"
    account.username = { kind = "login_name" }
    account.password = { kind = "secret" }
    inject = [
        { json = "/auth", value = "{{token}}" },
        { form = "token", value = "{{token}}", methods = ["POST"] },
        { xml = "/Envelope/Header/{urn:x}context/token", value = "{{token}}", methods = ["POST"] },
        { header = "X-Account", value = "{{username}}" },
        { header = "X-Call", value = "{{uuid}}" },
        { header = "X-Token", value = "put-{{token | sha256}}", methods = ["PUT"] },
    ]
    verdict = [{ when = { status = [401] }, then = "expired" }]
    [[login.steps]]
    name = "log in"
    method = "POST"
    path = "/login"
    json = { user = "{{username}}", password = "{{password}}" }
    take.token = { json = "/result" }
"#;

/// The session of a login; what it is in JSON and in a form.
const TOKENS: [(&str, &str, &str); 2] = [
    (
        "first+\\ \"token\" of it",
        r#"first+\\ \"token\" of it"#,
        "first%2B%5C%20%22token%22%20of%20it",
    ),
    ("second token of them", "second token of them", "second%20token%20of%20them"),
];

/// The first session in XML.
const IN_XML: &str = "first+\\ &quot;token&quot; of it";

/// Gives one session after the other; the first is dead for requests to `/dead`.
async fn puppet() -> Puppet {
    let logins = AtomicUsize::new(0);
    Puppet::start(move |request| {
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        if head.starts_with("POST /login ") {
            let (token, ..) = TOKENS[logins.fetch_add(1, Ordering::Relaxed).min(1)];
            return Reply::json(&json!({ "result": token }).to_string());
        }
        let is_first = [TOKENS[0].1, TOKENS[0].2, IN_XML].iter().any(|token| body.contains(token));
        match head.contains(" /dead ") && is_first {
            true => Reply::keep("HTTP/1.1 401 No\r\ncontent-length: 0\r\n\r\n"),
            false => Reply::json("{}"),
        }
    })
    .await
}

async fn scene(puppet: &Puppet) -> (Scene, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), "enveloped.toml", RECIPE);
    let mut setup = puppet.setup(Vendor::Contentstack);
    setup.recipe = format!("recipe_file = {path:?}");
    setup.tables = "[limits]\nreplay_body_bytes_max = 65536\n".to_owned();
    (setup.start().await, folder)
}

fn posted(scene: &Scene, path: &str, content_type: &str, body: impl Into<Vec<u8>>) -> Call {
    scene.call("POST", path).header("content-type", content_type).body(body.into())
}

/// The body of the request that arrived last.
fn last_body(puppet: &Puppet) -> String {
    let request = puppet.requests().pop().unwrap();
    request.split_once("\r\n\r\n").unwrap().1.to_owned()
}

const JSON: &str = "application/json; charset=utf-8";
const FORM: &str = "application/x-www-form-urlencoded";

/// Fails when a session is missing in a body that it belongs into, stands in one that it does not belong
/// into, when a body is framed by its old length, or when one that needs no session is not passed on.
#[tokio::test]
async fn a_session_goes_into_json_forms_and_xml_and_nothing_else() {
    let puppet = puppet().await;
    let (scene, _folder) = scene(&puppet).await;
    let (_, in_json, in_form) = TOKENS[0];
    let call = r#"{"jsonrpc":"2.0","auth":"the client's","id":12345678901234567890123}"#;
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let sent = posted(&scene, "/rpc", JSON, call).header("content-digest", "sha-256=:x:");
        assert_eq!(sent.send_by(protocol).await.status, 200, "{protocol:?}");
        let expected =
            format!(r#"{{"jsonrpc":"2.0","id":12345678901234567890123,"auth":"{in_json}"}}"#);
        assert_eq!(last_body(&puppet), expected, "{protocol:?}");
        let head = puppet.requests().pop().unwrap();
        assert!(head.contains(&format!("content-length: {}\r\n", expected.len())), "{head}");
        assert!(!head.contains("content-digest"), "{head}");
    }

    let batch = format!(r#"[{{"a":1,"auth":"{in_json}"}},{{"auth":"{in_json}"}}]"#);
    for kind in ["vnd.api+json", "json-rpc", "JSONRequest", "x-json"] {
        let call = posted(&scene, "/rpc", &format!("application/{kind}"), "[{\"a\":1},{}]");
        assert_eq!(call.send().await.status, 200, "{kind}");
        assert_eq!(last_body(&puppet), batch, "{kind}");
    }

    posted(&scene, "/form", FORM, "action=edit&token=theirs&text=%zz").send().await;
    assert_eq!(last_body(&puppet), format!("action=edit&text=%zz&token={in_form}"));

    let soap = |header: &str| {
        let declared = "<?xml version=\"1.0\"?>\n<s:Envelope xmlns:s=\"urn:s\">";
        format!("{declared}{header}<s:Body><a>&lt;</a></s:Body></s:Envelope>")
    };
    let context = format!("<context xmlns=\"urn:x\"><token>{IN_XML}</token></context>");
    for kind in ["text/xml; charset=\"UTF-8\"", "application/xml", "application/soap+xml; action=a"]
    {
        posted(&scene, "/soap", kind, soap("")).send().await;
        let expected = soap(&format!("<s:Header>{context}</s:Header>"));
        assert_eq!(last_body(&puppet), expected, "{kind}");
    }
    let theirs = "<s:Header><x:context><x:token>theirs</x:token></x:context></s:Header>";
    posted(&scene, "/soap", "text/xml", soap(theirs)).send().await;
    assert_eq!(last_body(&puppet), soap(&theirs.replace("theirs", IN_XML)));

    // In the first the session is in a field of the head; the others have no body.
    for (method, content_type, body) in
        [("PUT", FORM, "action=edit&token=theirs"), ("POST", JSON, ""), ("POST", "text/plain", "")]
    {
        let call = scene.call(method, "/as-it-is").header("content-type", content_type);
        assert_eq!(call.body(body).send().await.status, 200);
        assert_eq!(last_body(&puppet), body, "{method} {content_type}");
    }
    assert_eq!(scene.call("GET", "/as-it-is").send().await.status, 200);
}

/// Fails when a request goes on without the session because its body is of a type that nothing is put
/// into.
#[tokio::test]
async fn a_body_of_another_type_is_not_sent_where_the_session_would_be_nowhere() {
    let puppet = puppet().await;
    let (scene, _folder) = scene(&puppet).await;
    let sent = |method: &str, types: &[&str]| {
        let call = scene.call(method, "/rpc").body(r#"{"auth":"theirs"}"#);
        types.iter().fold(call, |call, told| call.header("content-type", told))
    };
    for call in [
        sent("POST", &["text/plain"]),
        sent("POST", &["multipart/form-data; boundary=x"]),
        sent("POST", &["application/json+more"]),
        sent("POST", &["application/jsonl"]),
        sent("POST", &[""]),
        sent("POST", &[]),
        sent("POST", &[FORM, JSON]),
        sent("PATCH", &[FORM]),
    ] {
        let answer = call.send().await;
        assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (400, "bad_request"));
    }
    assert_eq!(puppet.requests().len(), 0, "not even a login");
    assert_eq!(sent("PUT", &["text/plain"]).send().await.status, 200);
    let head = puppet.requests().pop().unwrap();
    assert!(head.contains("x-token: put-") && head.contains("x-account: "), "{head}");
}

/// Fails when a request is sent again with the session that was dead, or with half of its body.
#[tokio::test]
async fn a_body_is_sent_again_with_the_next_session() {
    let puppet = puppet().await;
    let (scene, _folder) = scene(&puppet).await;
    let long = "x".repeat(60_000);
    for (content_type, body, expected) in [
        (
            JSON,
            json!({ "text": long }).to_string(),
            json!({ "text": long, "auth": TOKENS[1].0 }).to_string(),
        ),
        (FORM, format!("text={long}"), format!("text={long}&token={}", TOKENS[1].2)),
        (
            "text/xml",
            format!("<Envelope><Header><context/></Header>{long}</Envelope>"),
            format!(
                "<Envelope><Header><context><token>{}</token></context></Header>{long}</Envelope>",
                TOKENS[1].0
            ),
        ),
    ] {
        assert_eq!(posted(&scene, "/dead", content_type, body).send().await.status, 200);
        assert_eq!(last_body(&puppet), expected);
    }
    let lines = puppet.requests();
    let lines: Vec<&str> = lines.iter().filter_map(|request| request.split(' ').nth(1)).collect();
    assert_eq!(lines, ["/login", "/dead", "/login", "/dead", "/dead", "/dead"]);
}

/// Fails when a body that cannot take the session is sent without it, or is read without a bound.
#[tokio::test]
async fn a_body_that_cannot_take_the_session_is_not_sent() {
    let puppet = puppet().await;
    let (scene, _folder) = scene(&puppet).await;
    let long = json!({ "text": "x".repeat(70_000) }).to_string();
    for (content_type, coding, body, expected) in [
        (JSON, "identity", long.as_str(), (413, "body_too_long")),
        (JSON, "identity", "[1]", (400, "bad_request")),
        (JSON, "identity", "{\"a\":", (400, "bad_request")),
        (JSON, "gzip", "{}", (400, "bad_request")),
        (FORM, "br", "a=1", (400, "bad_request")),
        ("text/xml", "br", "<Envelope/>", (400, "bad_request")),
        ("text/xml; charset=utf-16", "identity", "<Envelope/>", (400, "bad_request")),
        ("text/xml", "identity", "<Other/>", (400, "bad_request")),
        ("text/xml", "identity", "<!DOCTYPE Envelope><Envelope/>", (400, "bad_request")),
    ] {
        let call = posted(&scene, "/rpc", content_type, body).header("content-encoding", coding);
        let answer = call.send().await;
        assert_eq!((answer.status.as_u16(), answer.problem().as_str()), expected, "{body:.20}");
    }
    let others = puppet.requests().iter().filter(|request| !request.contains(" /login ")).count();
    assert_eq!(others, 0);
}

/// Fails when a client that asks first is never told to go on.
#[tokio::test]
async fn a_client_that_waits_for_leave_to_send_its_body_gets_it() {
    let puppet = puppet().await;
    let (scene, _folder) = scene(&puppet).await;
    let mut raw = Raw::connect(scene.door(), scene.record()).await;
    raw.write(
        "POST /rpc HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         transfer-encoding: chunked\r\nexpect: 100-continue\r\n\r\n",
    )
    .await;
    raw.read_to("100 Continue\r\n\r\n").await;
    raw.write("2\r\n{}\r\n0\r\n\r\n").await;
    raw.read_to("HTTP/1.1 200").await;
    let body: Value = serde_json::from_str(&last_body(&puppet)).unwrap();
    assert_eq!(body, json!({ "auth": TOKENS[0].0 }));
}
