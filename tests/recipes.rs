//! What the built-in recipes make of their vendors' answers and of their clients' paths.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use doorward::login::{Attempt, Next, StepAnswer};
use doorward::recipe::condition::Body;
use doorward::recipe::template::Values;
use doorward::recipe::{self, Recipe, RefusalClass};
use doorward::route::{Canonical, Reading};
use doorward::shield;
use http::{HeaderMap, Method, StatusCode, header};

/// What a built-in recipe makes of a login whose answers are these; those before the last must
/// be good.
fn refused(recipe: &str, answers: &[(u16, &str)]) -> Option<RefusalClass> {
    let recipe = Recipe::load(&recipe::built_in(recipe).unwrap(), &BTreeMap::new()).unwrap();
    let mut attempt = Attempt::new(Arc::new(recipe), Values::default(), "");
    let mut next = attempt.start(SystemTime::UNIX_EPOCH);
    for (status, body) in answers {
        assert!(matches!(next, Next::Send(_)));
        let json = ("application/json").parse().unwrap();
        let answer = StepAnswer {
            status: StatusCode::from_u16(*status).unwrap(),
            headers: HeaderMap::from_iter([(header::CONTENT_TYPE, json)]),
            body: Body::new(body.as_bytes().to_vec()),
        };
        next = attempt.answer(&answer, SystemTime::UNIX_EPOCH);
    }
    match next {
        Next::Refused(refusal) => refusal.class,
        _ => panic!("not refused"),
    }
}

#[test]
fn an_outage_is_not_taken_for_a_locked_account() {
    let outage = r#"{"error_message":"The service is temporarily unavailable."}"#;
    for status in [500, 503] {
        let class = refused("contentstack", &[(status, outage)]);
        assert_eq!(class, Some(RefusalClass::UpstreamBroken), "{status}");
    }
    assert_eq!(refused("contentstack", &[(429, outage)]), Some(RefusalClass::Throttled));
    let locked = r#"{"error_code":104,"error_message":"Your account is temporarily locked."}"#;
    assert_eq!(refused("contentstack", &[(422, locked)]), Some(RefusalClass::Locked));
}

#[test]
fn the_wrong_node_of_a_cluster_is_not_taken_for_a_wrong_password() {
    let refusal = |message: &str| {
        let body = format!(r#"{{"IsLoggedToApplication":false,"Message":"{message}"}}"#);
        refused("mfiles", &[(200, r#"{"Value":"token"}"#), (403, &body)])
    };
    let wrong_node = refusal("Error occurred while decoding OAEP padding.");
    assert_eq!(wrong_node, Some(RefusalClass::UpstreamBroken));
    assert_eq!(refusal("Login to application failed"), Some(RefusalClass::BadSecret));
}

fn is_ruled(recipe: &str, method: Method, target: &str) -> bool {
    let recipe = Recipe::load(&recipe::built_in(recipe).unwrap(), &BTreeMap::new()).unwrap();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let canonical = Canonical::of(path);
    if canonical.ambiguity(recipe.spelling.encoded_slash).is_some() {
        return true;
    }
    match Reading::of(&method, &canonical.path, Some(query), &recipe.spelling) {
        Ok(reading) => shield::rule(&recipe, &reading).is_some(),
        // Refused.
        Err(_) => true,
    }
}

#[test]
fn no_spelling_leads_around_a_rule() {
    for target in [
        "/v3/user",
        "/v3/user/",
        "/v3//user",
        "/V3/User",
        "/v3/user;x",
        "/v3/%75ser",
        "/v3/%2575ser",
        "/user",
        "/user/",
    ] {
        assert!(is_ruled("contentstack", Method::GET, target), "{target}");
    }
    for target in ["/v3/user-session", "/v3/user-session/", "/user-session", "/USER-SESSION"] {
        assert!(is_ruled("contentstack", Method::DELETE, target), "{target}");
    }
    for target in [
        "/callosum/v1/tspublic/v1/session/logout/",
        "/api/rest/2.0/AUTH/session/logout",
        "/tspublic/rest/v2/session/logout",
    ] {
        assert!(is_ruled("thoughtspot", Method::POST, target), "{target}");
    }
    for target in [
        "/REST/session?_method=DELETE",
        "/rest/SESSION.aspx/?%5fmethod=delete",
        "/REST/session?%u005fmethod=DELETE",
        "/REST/session?_method=%u0044ELETE",
        "/REST/MFWS.ashx?restPath=/session%3F_method%3DDELETE",
        "/REST/%2573ession?_method=DELETE",
    ] {
        assert!(is_ruled("mfiles", Method::POST, target), "{target}");
    }
    assert!(!is_ruled("mfiles", Method::GET, "/REST/views/v101%252FLx%2520y/items?q=100%"));
    assert!(!is_ruled("contentstack", Method::GET, "/v3/content_types"));
}
