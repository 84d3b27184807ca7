//! What is told of requests: the access log and traces.

use std::path::Path;

use doorward::secret::Environment;
use doorward::settings::{AccessLogFormat, AccessLogStream, LinesTo};

use super::{Folder, GOOD, faults_of, nothing};

fn with(table: &str) -> String {
    format!("{GOOD}\n{table}")
}

#[test]
fn neither_is_there_without_its_table() {
    let folder = Folder::with(&[("doorward.toml", GOOD)]);
    let settings = folder.load(&["doorward.toml"], nothing()).unwrap().settings;
    assert!(settings.access_log.is_none() && settings.traces.is_none());
}

#[test]
fn an_access_log_goes_to_a_file_or_to_a_stream() {
    let text =
        with("[access_log]\npath = \"a.log\"\nquery = [\"page\"]\nheaders = [\"User-Agent\"]\n");
    let folder = Folder::with(&[("doorward.toml", &text)]);
    let log = folder.load(&["doorward.toml"], nothing()).unwrap().settings.access_log.unwrap();
    let LinesTo::File(path) = &log.to else { panic!("{log:?}") };
    assert!(path.is_absolute() && path.ends_with("a.log"), "{path:?}");
    assert_eq!((log.format, &log.query[..]), (AccessLogFormat::Json, &["page".to_owned()][..]));
    assert_eq!(log.headers, ["user-agent"]);
    let text = with("[access_log]\nstream = \"stdout\"\nformat = \"combined\"\n");
    let folder = Folder::with(&[("doorward.toml", &text)]);
    let log = folder.load(&["doorward.toml"], nothing()).unwrap().settings.access_log.unwrap();
    assert_eq!(log.to, LinesTo::Stream(AccessLogStream::Stdout));
    assert_eq!(log.format, AccessLogFormat::Combined);
}

#[test]
fn an_access_log_shows_no_field_that_carries_a_credential() {
    let faults = faults_of(&with(
        "[access_log]\npath = \"missing/a.log\"\nheaders = [\"Cookie\", \"ok\", \"no name\", \"X-Api-Key\"]\n",
    ));
    let shows = |at: usize, text: &str| assert!(faults[at].contains(text), "{faults:?}");
    assert_eq!(faults.len(), 4, "{faults:?}");
    shows(0, "there is no folder");
    shows(1, "this field carries credentials");
    shows(2, "this is no name of a header field");
    shows(3, "this field carries credentials");
    let faults = faults_of(&with("[access_log]\nformat = \"json\"\n"));
    assert!(faults.len() == 1 && faults[0].contains("`path` or `stream`"), "{faults:?}");
}

#[test]
fn traces_go_to_a_collector() {
    let traces = |table: &str, environment: Environment| {
        let folder = Folder::with(&[("doorward.toml", &with(table))]);
        folder.load(&["doorward.toml"], environment).unwrap().settings.traces.unwrap()
    };
    let least = traces("[traces]\nendpoint = \"http://collector:4318\"\n", nothing());
    assert_eq!((least.ratio, least.service_name.as_str()), (1.0, "doorward"));
    assert_eq!((least.endpoint.target.as_str(), least.endpoint.origin.port), ("/v1/traces", 4318));
    let more = "[traces]\nendpoint = \"https://c.example/own/traces\"\nservice_name = \"door\"\n";
    let variable = Environment::given([("DOORWARD_TRACES__RATIO", "0.25")]);
    let more = traces(more, variable);
    assert_eq!((more.ratio, more.endpoint.target.as_str()), (0.25, "/own/traces"));
    assert_eq!(traces("[traces]\nendpoint = \"http://c\"\nratio = 0\n", nothing()).ratio, 0.0);
    let faults = faults_of(&with("[traces]\nendpoint = \"collector\"\nratio = 1.5\n"));
    assert!(faults.iter().any(|fault| fault.contains("at most 1")), "{faults:?}");
    let faults = faults_of(&with("[traces]\nendpoint = \"http://c\"\nca_file = \"x.pem\"\n"));
    assert!(faults.iter().any(|fault| fault.contains("there is no file")), "{faults:?}");
    assert!(!Path::new("x.pem").exists());
}
