//! The page: every family is there, labels say what was counted, and what is counted stays.

use std::time::Duration;

use http::{Method, StatusCode};

use super::*;
use crate::telemetry::{About, Decision, Event, Reload, ReloadStage, Sending, Sendings};

fn catalog(client: &str) -> Arc<Catalog> {
    let upstream = UpstreamNames {
        name: Arc::from("cms"),
        address: Arc::from("api.example"),
        port: 443,
        scheme: "https",
    };
    Arc::new(Catalog {
        routes: vec![RouteNames { route: Arc::from("/v3"), upstream: 0 }],
        upstreams: vec![upstream],
        clients: [(0, Arc::from(client))].into_iter().collect(),
    })
}

fn ended<'m>(method: &'m Method, status: u16, reason: &'static str) -> Ended<'m> {
    let mut sendings = Sendings::default();
    sendings.note(Sending {
        after: Duration::from_millis(1),
        took: Duration::from_millis(3),
        outcome: Ok(StatusCode::from_u16(status).unwrap()),
    });
    Ended {
        route: Some(0),
        sender: Sender::Client(0),
        method,
        scheme: "http",
        status: Some(StatusCode::from_u16(status).unwrap()),
        decision: Decision::Forwarded,
        reason,
        replay: Replay::None,
        took: Duration::from_millis(30),
        received_bytes: 2000,
        body_bytes: 7,
        redacted: 0,
        sendings,
    }
}

fn samples<'p>(page: &'p str, begin: &str) -> Vec<&'p str> {
    page.lines().filter(|line| line.starts_with(begin)).collect()
}

#[test]
fn every_family_is_on_the_page_with_its_kind() {
    let metrics = Metrics::new(SystemTime::now());
    for (format, is_open) in [(Format::Text, false), (Format::OpenMetrics, true)] {
        let page = metrics.render(format);
        for Family { name, kind, help, .. } in ALL {
            let shown = match (is_open, kind) {
                (true, Kind::Counter) => name.strip_suffix("_total").unwrap(),
                _ => name,
            };
            for line in
                [format!("# HELP {shown} {help}"), format!("# TYPE {shown} {}", kind.as_str())]
            {
                assert!(page.lines().any(|known| known == line), "{line}\n{page}");
            }
        }
        let types = samples(&page, "# TYPE ").len();
        assert_eq!(types, ALL.len());
        assert_eq!(page.ends_with("# EOF\n"), is_open);
    }
}

#[test]
fn requests_are_added_up_over_all_cores_and_configurations() {
    let metrics = Metrics::new(SystemTime::now());
    let cores = [metrics.tally(&catalog("alice")), metrics.tally(&catalog("alice"))];
    let method = Method::GET;
    for core in &cores {
        core.begun();
        core.begun();
        core.ended(&ended(&method, 200, "forwarded"));
    }
    let count = "http_server_request_duration_seconds_count{http_request_method=\"GET\",\
                 http_response_status_code=\"200\",http_route=\"/v3\",url_scheme=\"http\",\
                 upstream=\"cms\"} ";
    let page = metrics.render(Format::Text);
    assert_eq!(samples(&page, count), [format!("{count}2")], "{page}");
    assert_eq!(samples(&page, "doorward_requests_active "), ["doorward_requests_active 2.0"]);
    let [first, second] = cores;
    drop(first);
    // Another configuration: the same number is another client.
    let other = metrics.tally(&catalog("bob"));
    second.ended(&ended(&method, 200, "forwarded"));
    other.ended(&ended(&method, 200, "forwarded"));
    let page = metrics.render(Format::Text);
    assert_eq!(samples(&page, count), [format!("{count}4")]);
    let clients = samples(&page, "doorward_client_requests_total");
    let shown =
        |client, count| format!("doorward_client_requests_total{{client=\"{client}\"}} {count}");
    assert_eq!(clients, [shown("alice", 3), shown("bob", 1)]);
    let of =
        "{http_request_method=\"GET\",http_route=\"/v3\",url_scheme=\"http\",upstream=\"cms\"} ";
    for (body, sum) in [("request", "8000.0"), ("response", "28.0")] {
        let sums = format!("http_server_{body}_body_size_bytes_sum");
        assert_eq!(samples(&page, &sums), [format!("{sums}{of}{sum}")]);
    }
    assert!(page.contains("server_address=\"api.example\",server_port=\"443\""), "{page}");
}

#[test]
fn an_error_says_what_it_is() {
    let metrics = Metrics::new(SystemTime::now());
    let core = metrics.tally(&catalog("alice"));
    let method = Method::from_bytes(b"BREW").unwrap();
    for (status, reason, decision, error_type) in [
        (503, "forwarded", Decision::Forwarded, Some("503")),
        (504, "upstream_timeout", Decision::Forwarded, Some("upstream_timeout")),
        (502, "login_refused", Decision::Refused, Some("login_refused")),
        (200, "not_taken", Decision::Forwarded, Some("not_taken")),
        (200, "upstream_broken", Decision::Forwarded, Some("upstream_broken")),
        (404, "no_route", Decision::Refused, None),
        (404, "forwarded", Decision::Forwarded, None),
    ] {
        core.ended(&Ended { decision, ..ended(&method, status, reason) });
        let page = metrics.render(Format::Text);
        let begin = format!(
            "http_server_request_duration_seconds_count{{http_request_method=\"_OTHER\",\
             http_response_status_code=\"{status}\",http_route=\"/v3\",url_scheme=\"http\",{}",
            error_type.map_or("upstream".to_owned(), |error| format!("error_type=\"{error}\""))
        );
        assert!(!samples(&page, &begin).is_empty(), "{begin}\n{page}");
    }
}

#[test]
fn label_values_are_escaped() {
    let metrics = Metrics::new(SystemTime::now());
    let core = metrics.tally(&catalog("a\"b\\c\nd"));
    core.ended(&ended(&Method::GET, 200, "forwarded"));
    let page = metrics.render(Format::Text);
    assert!(page.contains(r#"{client="a\"b\\c\nd"} 1"#), "{page}");
}

#[test]
fn events_are_counted_by_names_and_words() {
    let metrics = Metrics::new(SystemTime::now());
    let (upstream, account) = (Arc::from("cms"), Arc::from("editor"));
    metrics.begin(&upstream, &account);
    let page = metrics.render(Format::Text);
    let zero = "doorward_logins_total{upstream=\"cms\",account=\"editor\",trigger=\"cold\",outcome=\"success\"} 0";
    assert_eq!(samples(&page, zero), [zero]);
    let mut reader = metrics.reader();
    assert!(!reader.wants_requests());
    let about = About { upstream, account, generation: 3 };
    for _ in 0..2 {
        reader.read(
            SystemTime::now(),
            &Event::Logout { about: about.clone(), confirmed: true, took: Duration::ZERO },
        );
    }
    reader.dropped(5);
    let page = metrics.render(Format::Text);
    let logouts =
        "doorward_logouts_total{upstream=\"cms\",account=\"editor\",outcome=\"confirmed\"} 2";
    assert_eq!(samples(&page, logouts), [logouts]);
    assert_eq!(
        samples(&page, "doorward_events_dropped_total "),
        ["doorward_events_dropped_total 5"]
    );
}

#[test]
fn a_refused_configuration_shows_until_one_is_taken() {
    let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
    let metrics = Metrics::new(start);
    let shown = || {
        let page = metrics.render(Format::Text);
        samples(&page, "doorward_config_").into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let pair = |flag, since| {
        [
            format!("doorward_config_last_reload_successful {flag}"),
            format!("doorward_config_last_reload_success_timestamp_seconds {since}"),
        ]
    };
    assert_eq!(shown(), pair("1.0", "1000.0"));
    let mut reader = metrics.reader();
    let mut reload = |at, stage| {
        let sha256 = Arc::from("0");
        reader.read(at, &Event::Reload(Reload { stage, sha256 }));
    };
    let took = Duration::ZERO;
    reload(start, ReloadStage::Failed { faults: Vec::new(), took });
    assert_eq!(shown(), pair("0.0", "1000.0"));
    reload(start, ReloadStage::Begun);
    assert_eq!(shown(), pair("0.0", "1000.0"));
    reload(start + Duration::from_secs(7), ReloadStage::Done { took });
    assert_eq!(shown(), pair("1.0", "1007.0"));
}
