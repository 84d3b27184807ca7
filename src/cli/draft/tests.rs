//! Drafts load, say what was seen, and hold no value of it.

use std::collections::BTreeMap;

use super::*;
use crate::diagnosis::Document;
use crate::recipe::{Recipe, StepBody, TakeFrom};

const CANARY: &str = "Tr0ub4dor&3-canary";
const TOKEN: &str = "eyJhbGciOiJIUzI1NiJ9.canary.c2lnbmF0dXJl";

fn drafted(from: impl FnOnce(&Path) -> Login, text: &str) -> (String, Recipe) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("login");
    std::fs::write(&path, text).unwrap();
    let (mut out, mut errors) = (Vec::new(), Vec::new());
    let exit = new("mine", &from(&path), &mut out, &mut errors).unwrap();
    assert_eq!(exit, Exit::Ok, "{}", String::from_utf8_lossy(&errors));
    let text = String::from_utf8(out).unwrap();
    assert!(!text.contains("canary"), "{text}");
    let document = Document::parse("mine.toml", text.as_str());
    let document = document.unwrap_or_else(|faults| panic!("{text}\n{faults}"));
    let recipe = Recipe::load(&document, &BTreeMap::new());
    (text.clone(), recipe.unwrap_or_else(|faults| panic!("{text}\n{faults}")))
}

fn curl(path: &Path) -> Login {
    Login { curl: Some(path.to_owned()), har: None }
}

fn har(path: &Path) -> Login {
    Login { curl: None, har: Some(path.to_owned()) }
}

#[test]
fn a_curl_command_with_json_becomes_a_recipe() {
    let command = format!(
        "curl 'https://h.example.com/api/v2/session' \\\n  -H 'accept: */*' \\\n  \
         -H 'content-type: application/json' -H 'x-requested-by: web' \\\n  \
         -H 'cookie: old={TOKEN}' \\\n  \
         --data-raw '{{\"user\":{{\"email\":\"a@canary.example\",\"password\":\"{CANARY}\"}},\"remember\":false}}' --compressed"
    );
    let (text, recipe) = drafted(curl, &command);
    let step = &recipe.login[0];
    assert_eq!((step.method.as_str(), step.path.literal()), ("POST", Some("/api/v2/session")));
    assert!(matches!(step.body, StepBody::Json(_)), "{text}");
    assert!(text.contains("email = \"{{username}}\", password = \"{{password}}\""), "{text}");
    assert!(text.contains("x-requested-by = \"web\""), "{text}");
    assert!(text.contains("the answer is not known"), "{text}");
}

#[test]
fn a_curl_command_with_basic_or_a_form_becomes_a_recipe() {
    let (text, recipe) =
        drafted(curl, &format!("curl -u me:{CANARY} -X POST https://h/api/session"));
    assert!(recipe.login[0].basic.is_some(), "{text}");
    let command = format!("curl https://h/login -d 'user=canary&pwd={CANARY}&next=%2F&otp=123456'");
    let (text, recipe) = drafted(curl, &command);
    assert!(recipe.fields.contains_key("totp_secret"), "{text}");
    let (text, recipe) =
        drafted(curl, &format!("curl https://h/login -F login=me -F password={CANARY}"));
    assert!(matches!(recipe.login[0].body, StepBody::Multipart(_)), "{text}");
}

/// A page with a token against forgery, a form, a redirect with a cookie, a logout.
#[test]
fn an_archive_becomes_a_recipe_with_its_opening_and_its_logout() {
    let archive = serde_json::json!({"log": {"entries": [
        {
            "request": {"method": "GET", "url": "https://elsewhere/x.js", "headers": []},
            "response": {"status": 200, "headers": [], "content": {"text": "x"}},
        },
        {
            "request": {"method": "GET", "url": "https://h/accounts/login/?next=/", "headers": []},
            "response": {"status": 200, "headers": [], "content": {"text":
                "<input type=\"hidden\" name=\"csrfmiddlewaretoken\" value=\"canary-form-token\">"}},
        },
        {
            "request": {"method": "POST", "url": "https://h/accounts/login/", "headers": [
                {"name": "Content-Type", "value": "application/x-www-form-urlencoded"},
            ], "postData": {"text": format!("csrfmiddlewaretoken=canary-form-token&username=a&password={CANARY}")}},
            "response": {"status": 302, "headers": [
                {"name": "Set-Cookie", "value": format!("sessionid={TOKEN}; Path=/\ncsrftoken=canary; Path=/")},
                {"name": "Location", "value": "/"},
            ]},
        },
        {
            "request": {"method": "POST", "url": "https://h/accounts/logout/", "headers": []},
            "response": {"status": 302, "headers": []},
        },
    ]}});
    let (text, recipe) = drafted(har, &archive.to_string());
    let names: Vec<_> = recipe.login.iter().map(|step| step.name.as_str()).collect();
    assert_eq!(names, ["fetch the token for the login", "log in"], "{text}");
    let from = &recipe.login[0].take[0].from;
    assert!(matches!(from, TakeFrom::Input(name) if name == "csrfmiddlewaretoken"), "{text}");
    assert_eq!(recipe.login[0].path.literal(), Some("/accounts/login/"));
    assert_eq!(recipe.logout.len(), 1, "{text}");
    assert!(text.contains("set_cookie = [{ name = \"sessionid\", is = \"set\" }]"), "{text}");
}

#[test]
fn what_an_answer_gives_is_taken_from_where_it_stands() {
    let archive = serde_json::json!({"log": {"entries": [{
        "request": {"method": "POST", "url": "https://h/auth/login", "headers": [],
            "postData": {"text": format!("{{\"identifier\":\"a\",\"password\":\"{CANARY}\"}}")}},
        "response": {"status": 200, "headers": [], "content": {"text": format!(
            "{{\"data\":{{\"refresh_token\":\"{TOKEN}\",\"access_token\":\"{TOKEN}\",\"expires_in\":900}}}}")}},
    }]}});
    let (text, recipe) = drafted(har, &archive.to_string());
    let takes: Vec<_> = recipe.login[0].take.iter().map(|take| take.from.to_string()).collect();
    assert_eq!(takes, ["json /data/expires_in", "json /data/access_token"], "{text}");
    assert!(text.contains("unit = \"seconds\""), "{text}");
}

/// Fails when what later requests show of the session has to be found out by hand.
#[test]
fn later_requests_show_where_the_token_goes_and_how_it_ends() {
    let archive = |field: &str, value: String| {
        serde_json::json!({"log": {"entries": [
            {
                "request": {"method": "POST", "url": "https://h/api/sign-in", "headers": [],
                    "postData": {"text": format!("{{\"login\":\"a\",\"password\":\"{CANARY}\"}}")}},
                "response": {"status": 200, "headers": [], "content": {"text":
                    format!("{{\"session\":{{\"token\":\"{TOKEN}\"}}}}")}},
            },
            {
                "request": {"method": "GET", "url": "https://elsewhere/x", "headers": [
                    {"name": "X-Other", "value": TOKEN},
                ]},
                "response": {"status": 200, "headers": []},
            },
            {
                "request": {"method": "DELETE", "url": "https://h/api/session", "headers": [
                    {"name": field, "value": value},
                ]},
                "response": {"status": 204, "headers": []},
            },
        ]}})
        .to_string()
    };
    let (text, recipe) = drafted(har, &archive("X-Tracker-Session", TOKEN.to_owned()));
    assert!(text.contains("header = \"X-Tracker-Session\"\nvalue = \"{{token}}\""), "{text}");
    assert_eq!(recipe.logout.len(), 1, "{text}");
    let (text, _) = drafted(har, &archive("Authorization", format!("Token {TOKEN}")));
    assert!(text.contains("header = \"Authorization\"\nvalue = \"Token {{token}}\""), "{text}");
    // More than a scheme stands before it.
    let (text, _) = drafted(har, &archive("X-Session", format!("canary:{TOKEN}")));
    assert!(text.contains("value = \"Bearer {{token}}\""), "{text}");
}

#[test]
fn what_is_no_login_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    let mut errors = Vec::new();
    let mut told = |name: &str, text: &str, from: fn(&Path) -> Login| {
        std::fs::write(&path, text).unwrap();
        errors.clear();
        let exit = new(name, &from(&path), &mut Vec::new(), &mut errors).unwrap();
        assert_eq!(exit, Exit::Failed);
        String::from_utf8(errors.clone()).unwrap()
    };
    assert!(told("mine", "curl https://h/", curl).contains("none sends a password"));
    assert!(told("mine", "{\"log\": canary}", har).contains("no HAR file: line 1"));
    assert!(!told("mine", "{\"log\": canary}", har).contains("canary"));
    assert!(told("Mine!", "curl https://h/", curl).contains("no name for a recipe"));
}
