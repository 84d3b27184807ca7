//! Endpoints that Doorward answers itself or keeps closed, in every spelling that an upstream
//! reads.

use doorward::emulator::{Vendor, mfiles};
use serde_json::json;

use crate::client::Answer;
use crate::harness::Scene;
use crate::vendors::read;

/// Calls each spelling on a session that lives; none may arrive. The answers.
async fn none_arrives(scene: &Scene, spellings: &[(&str, &str)]) -> Vec<Answer> {
    assert_eq!(read(scene).send().await.status, 200);
    scene.control().reset_counters();
    let mut answers = Vec::new();
    for (method, target) in spellings {
        let call = scene.call(method, target).header("x-requested-by", "x");
        answers.push(call.body("{}").send().await);
        let arrived = scene.control().requests();
        assert!(arrived.is_empty(), "{method} {target} arrived: {arrived:?}");
    }
    assert_eq!(scene.control().counters().live_sessions, 1, "the session was ended");
    answers
}

const MFILES_LOGOUTS: [(&str, &str); 15] = [
    ("DELETE", "/REST/session"),
    ("DELETE", "/rest/SESSION"),
    ("DELETE", "/REST/session/"),
    ("DELETE", "/REST//session"),
    ("DELETE", "//REST/session"),
    ("DELETE", "/REST/%73ession"),
    ("DELETE", "/REST/session.aspx"),
    ("DELETE", "/REST/Session.ASHX"),
    ("POST", "/REST/session?_method=DELETE"),
    ("POST", "/REST/session.aspx?a=1&_METHOD=delete"),
    ("POST", "/REST/session?%5fmethod=%44ELETE"),
    ("DELETE", "/MFWS.ashx?restPath=session"),
    ("DELETE", "/mfws.ashx/?restPath=/rest//session"),
    ("POST", "/mfws.ASHX?restpath=%2FREST%2Fsession.aspx&_method=DELETE"),
    ("DELETE", "/REST/session;x=1"),
];

/// Fails when one of these spellings is not read as the upstream reads it.
#[tokio::test]
async fn a_logout_at_m_files_is_answered_here_in_every_spelling() {
    let scene = Scene::of(Vendor::MFiles).await;
    for answer in none_arrives(&scene, &MFILES_LOGOUTS).await {
        assert_eq!((answer.status.as_u16(), answer.json()), (200, json!({ "Value": true })));
    }
    scene.stop().await;
}

/// Fails when a login is forwarded, or when what it gives is not the placeholder.
#[tokio::test]
async fn a_login_at_m_files_is_answered_here_in_every_spelling() {
    let scene = Scene::of(Vendor::MFiles).await;
    let spellings = [
        ("POST", "/REST/server/authenticationtokens"),
        ("POST", "/rest/Server/AuthenticationTokens.aspx"),
        ("POST", "/REST/server//authenticationtokens/"),
        ("POST", "/mfws.ashx?restPath=server/authenticationtokens"),
    ];
    for answer in none_arrives(&scene, &spellings).await {
        assert_eq!(answer.json(), json!({ "Value": "doorward-placeholder-authentication" }));
        assert_eq!(answer.one("cache-control"), "no-store");
    }
    let cookie = [("PUT", "/REST/session"), ("POST", "/REST/session.aspx?_method=PUT")];
    for answer in none_arrives(&scene, &cookie).await {
        let (status, vaults) = (answer.status.as_u16(), answer.json());
        assert_eq!((status, &vaults[0]["GUID"]), (200, &json!(mfiles::VAULT)));
        assert_eq!(vaults[0]["Authentication"], "doorward-placeholder-authentication");
    }
    scene.stop().await;
}

/// Fails when a closed endpoint is open under another name.
#[tokio::test]
async fn closed_endpoints_of_m_files_are_closed_in_every_spelling() {
    let scene = Scene::of(Vendor::MFiles).await;
    let closed = [
        ("PUT", "/REST/session/vault"),
        ("POST", "/REST/session/vault.aspx?_method=PUT"),
        ("PUT", "/mfws.ashx?restPath=session%2Fvault"),
        ("GET", "/REST/session/authenticationtoken"),
        ("GET", "/rest/session/AuthenticationToken.aspx"),
        ("GET", "/REST/session//authenticationtoken/"),
        ("GET", "/mfws.ashx?restPath=/REST/session/authenticationtoken"),
        ("GET", "/WebServiceSSO.aspx"),
    ];
    for answer in none_arrives(&scene, &closed).await {
        let told = (answer.status.as_u16(), answer.problem());
        assert_eq!(told, (403, "endpoint_closed".to_owned()));
    }
    scene.stop().await;
}

/// Fails when a path with two readings is forwarded although rules exist.
#[tokio::test]
async fn a_path_that_can_be_read_in_two_ways_is_refused() {
    for vendor in Vendor::ALL {
        let scene = Scene::of(vendor).await;
        let ambiguous = [
            ("DELETE", "/REST/./session"),
            ("DELETE", "/REST/x/../session"),
            ("DELETE", "/REST/%2e/session"),
            ("DELETE", "/REST/x/%2E%2e/session"),
            ("DELETE", "/REST%2Fsession"),
            ("DELETE", "/REST%5Csession"),
            ("GET", "/REST/session%00"),
            ("GET", "/REST/%c0%ae%c0%ae/session"),
            ("GET", "/REST/%zz"),
            ("GET", "/REST/..;/session"),
            ("GET", "/REST/x/..%3B/session"),
        ];
        for answer in none_arrives(&scene, &ambiguous).await {
            let told = (answer.status.as_u16(), answer.problem());
            assert_eq!(told, (400, "ambiguous_request".to_owned()), "{vendor}");
        }
        scene.stop().await;
    }
    let scene = Scene::of(Vendor::MFiles).await;
    let twice = [
        ("POST", "/REST/views?_method=GET&_method=DELETE"),
        ("GET", "/mfws.ashx?restPath=views&restpath=session/authenticationtoken"),
        ("GET", "/mfws.ashx?restPath=views/../session/authenticationtoken"),
    ];
    for answer in none_arrives(&scene, &twice).await {
        assert_eq!(answer.problem(), "ambiguous_request");
    }
    scene.stop().await;
}

/// Fails when Contentstack's session calls are only known under their prefix: it answers without
/// one too.
#[tokio::test]
async fn contentstacks_session_calls_are_answered_here_with_and_without_the_prefix() {
    let scene = Scene::of(Vendor::Contentstack).await;
    let logins = [
        ("POST", "/v3/user-session"),
        ("POST", "//v3/user-session"),
        ("POST", "/v3/%75ser-session"),
        ("POST", "/user-session"),
    ];
    for answer in none_arrives(&scene, &logins).await {
        assert_eq!(answer.json()["user"]["authtoken"], "doorward-placeholder-authtoken");
    }
    for answer in
        none_arrives(&scene, &[("DELETE", "/v3/user-session"), ("DELETE", "/user-session")]).await
    {
        assert_eq!(answer.json()["notice"], "You've logged out successfully!");
    }
    let closed = [
        ("PUT", "/v3/user"),
        ("PUT", "/user"),
        ("PUT", "/v3/user/"),
        ("PUT", "/V3/User"),
        ("POST", "/v3/user/forgot_password"),
        ("POST", "/user/forgot_password"),
        ("POST", "/v3/user/activate/blt1"),
        ("GET", "/v3/stacks/management_tokens"),
        ("POST", "/stacks/management_tokens"),
        ("DELETE", "/v3/stacks/management_tokens/blt1"),
        ("POST", "/user/request_token_sms"),
    ];
    for answer in none_arrives(&scene, &closed).await {
        assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (403, "endpoint_closed"));
    }
    for target in ["/v3/user", "/user"] {
        let answer = scene.call("GET", target).send().await;
        assert_eq!(answer.json()["user"]["authtoken"], "doorward-placeholder-authtoken");
    }
    // The emulator does not read these as the user's record; an upstream that does shows nothing.
    for target in ["/v3/%75ser", "//user", "/v3/user/", "/V3/USER"] {
        scene.call("GET", target).send().await;
    }
    scene.stop().await;
}

/// Fails when one of the cluster's two APIs, or its internal one, is forgotten.
#[tokio::test]
async fn thoughtspots_session_calls_are_answered_here_or_closed_in_both_apis() {
    let scene = Scene::of(Vendor::ThoughtSpot).await;
    let answered = [
        ("POST", "/callosum/v1/tspublic/v1/session/login"),
        ("POST", "/callosum/v1/session/login"),
        ("POST", "/callosum/v1/tspublic/v1/session/logout"),
        ("POST", "/callosum//v1/tspublic/v1/session/logout"),
        ("POST", "/callosum/v1/tspublic/v1/session/%6Cogout"),
        ("POST", "/api/rest/2.0/auth/session/login"),
        ("POST", "/api/rest/2.0/auth/session/logout"),
        ("POST", "/api/rest/2.0/auth/token/revoke"),
    ];
    for answer in none_arrives(&scene, &answered).await {
        assert_eq!((answer.status.as_u16(), answer.body.len()), (204, 0));
    }
    let token = none_arrives(&scene, &[("POST", "/api/rest/2.0/auth/token/full")]).await;
    assert_eq!(token[0].json()["token"], "doorward-placeholder-token");
    assert!(token[0].json()["expiration_time_in_millis"].is_u64());
    let closed = [
        ("POST", "/api/rest/2.0/auth/token/object"),
        ("POST", "/api/rest/2.0/auth/token/custom"),
        ("GET", "/api/rest/2.0/auth/session/token"),
        ("POST", "/callosum/v1/tspublic/v1/session/auth/token"),
        ("GET", "/callosum/v1/tspublic/v1/session/login/token?username=a&auth_token=b"),
        ("PUT", "/callosum/v1/tspublic/v1/session/orgs"),
        ("POST", "/api/rest/2.0/users/force-logout"),
    ];
    for answer in none_arrives(&scene, &closed).await {
        assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (403, "endpoint_closed"));
    }
    scene.stop().await;
}

/// Fails when a client's own credential reaches the upstream beside ours, or instead of it.
#[tokio::test]
async fn what_clients_send_in_the_vendors_place_is_a_placeholder_and_dropped() {
    let scene = Scene::of(Vendor::MFiles).await;
    let call = scene
        .call("GET", "/REST/views/items?Auth=x&q=1&%50assword=p&username=u")
        .header("x-vault", mfiles::VAULT)
        .header("X-Authentication", "a placeholder")
        .header("x-authentication", "twice")
        .header("x-username", "somebody")
        .header("x-password", "else")
        .header("cookie", "ASP.NET_SessionId=mine")
        .header("authorization", "Basic eDp5");
    let answer = call.send().await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["Path"], "/REST/views/items?q=1");
    let arrived = scene.control().requests().pop().unwrap();
    let count = |name: &str| arrived.header_names.iter().filter(|known| *known == name).count();
    assert_eq!(count("x-authentication"), 1);
    assert_eq!(count("x-username") + count("x-password") + count("authorization"), 0);
    assert_eq!(count("cookie"), 1, "the login's own affinity cookie");
    scene.stop().await;
}
