//! Recipes as authors get them wrong.

use std::collections::BTreeMap;

use super::load;
use crate::diagnosis::Document;
use crate::recipe::{BUILT_IN as RECIPES, built_in};

fn faults(change: impl Fn(&str) -> String) -> String {
    let (_, text) = RECIPES.iter().find(|(name, _)| *name == "contentstack").unwrap();
    let changed = change(text);
    assert_ne!(changed, *text, "the change changes nothing");
    let document = Document::parse("recipe.toml", changed).unwrap();
    load(&document, &BTreeMap::new()).unwrap_err().to_string()
}

fn replaced(old: &str, new: &str) -> String {
    faults(|text| text.replacen(old, new, 1))
}

#[test]
fn every_built_in_recipe_loads() {
    assert!(!RECIPES.is_empty());
    for (name, _) in RECIPES {
        let document = built_in(name).unwrap();
        let recipe =
            load(&document, &BTreeMap::new()).unwrap_or_else(|faults| panic!("{name}:\n{faults}"));
        assert_eq!(recipe.name, *name);
    }
    assert!(built_in("contenstack").unwrap_err().to_string().contains("did you mean"));
}

#[test]
fn a_parameter_of_the_operator_replaces_its_default() {
    let document = built_in("contentstack").unwrap();
    let parameters = BTreeMap::from([("prefix".to_owned(), "/v9".to_owned())]);
    let recipe = load(&document, &parameters).unwrap();
    assert_eq!(recipe.login[0].path.literal(), Some("/v9/user-session"));
}

#[test]
fn a_recipe_is_judged_as_strictly_as_configuration() {
    for (old, new, expected) in [
        ("[[inject]]\nheader", "[[inject]]\nheadr", "did you mean `header`"),
        ("/user/authtoken\", exists", "user.authtoken\", exists", "`/user/authtoken`"),
        ("value = \"{{token}}\"", "value = \"{{tokn}}\"", "did you mean `token`"),
        ("then = \"expired\"", "then = \"expird\"", "expired"),
        ("(?i)locked|temporarily", "(locked", "no regular expression"),
        ("status = [429]", "status = [\"429x\"]", "a status is a code"),
        ("method = \"POST\"", "method = \"Post\"", "no method"),
        ("attempts = 3", "attempts = 0", "never a session"),
        ("window = \"2h\"", "window = \"2\"", "no duration"),
        ("window = \"1s\"", "", "nothing says when there are more"),
        ("remaining = \"X-RateLimit-Remaining\"", "", "nothing is counted in windows"),
        ("pause = \"1s\"", "pause = \"0s\"", "longer than nothing"),
        ("pause = \"1s\"", "pause = \"1h\"", "at most 15 minutes"),
        ("counts = \"apart\"", "reset = { header = \"a b\", unit = \"seconds\" }", "header field"),
        (
            "closed = \"this would send",
            "mask = [\"/a\"]\nclosed = \"this would send",
            "exactly one of",
        ),
        (
            "username = { kind = \"login_name\"",
            "username = { kind = \"plain\"",
            "exactly one field",
        ),
        (
            "take.token = { json",
            "take.unread = { text = \"x(y)\" }\ntake.token = { json",
            "nothing reads the value `unread`",
        ),
        (
            "prefix = {",
            "prefx = { default = \"\" }\nprefix = {",
            "nothing reads the parameter `prefx`",
        ),
        ("\"{{prefix}}/user-session\"\njson", "\"user-session\"\njson", "starts with `/`"),
    ] {
        let faults = replaced(old, new);
        assert!(faults.contains(expected), "{new}: {faults}");
        assert!(faults.contains("recipe.toml:"), "{faults}");
    }
}

/// Fails when a code could be sent twice, or be made from what is no secret.
#[test]
fn one_time_codes_stand_in_logins_and_are_made_from_secrets() {
    let recipe = load(&built_in("contentstack").unwrap(), &BTreeMap::new()).unwrap();
    assert_eq!(recipe.code_fields().collect::<Vec<_>>(), ["totp_secret"]);
    for (old, new, expected) in [
        ("\"{{token}}\"", "\"{{token}}{{totp_secret|totp}}\"", "steps of a login or refresh only"),
        (
            "{{totp_secret | totp}}",
            "{{username | totp}}{{totp_secret}}",
            "made from a `secret` field",
        ),
        ("{{totp_secret | totp}}", "{{totp_secret | lower | totp}}", "no filter can stand before"),
        ("{{totp_secret | totp}}", "{{totp_secret | topt}}", "did you mean `totp`"),
    ] {
        let faults = replaced(old, new);
        assert!(faults.contains(expected), "{new}: {faults}");
    }
}

#[test]
fn what_can_never_be_reached_is_a_fault() {
    let catch_all =
        "[[verdict]]\nwhen = {}\nthen = \"alive\"\n\n[[verdict]]\nwhen = { status = [401], any";
    let faults = replaced("[[verdict]]\nwhen = { status = [401], any", catch_all);
    assert!(faults.contains("never reached: the one before it always matches"), "{faults}");

    let step = "[[login.steps]]\nname = \"second\"\nmethod = \"GET\"\npath = \"/x\"\nwhen = { status = [499] }\n\n[[login.refusals]]";
    let faults = replaced("[[login.refusals]]", step);
    assert!(faults.contains("this step is never reached"), "{faults}");
}

#[test]
fn a_local_answer_cannot_hold_a_value_of_the_session() {
    let faults = replaced("{{client_token}}", "{{token}}");
    assert!(faults.contains("no value is called `token` here"), "{faults}");
    let faults = replaced("You've logged out", "{{client_token}} has logged out");
    assert!(faults.contains("no value is called `client_token` here"), "{faults}");
}

#[test]
fn a_login_that_could_give_a_client_nothing_is_told() {
    let login = "login = { password = [{ json = \"/user/password\" }] }";
    for (old, new, told) in [
        ("{{client_token}}", "none", "holds `{{client_token}}`"),
        (
            "closed = \"this would send",
            &*format!("{login}\nclosed = \"this would send"),
            "give one",
        ),
        (login, "login = { password = [] }", "at least 1 element"),
        (login, "login = { password = [{ form = \"a\", json = \"/a\" }] }", "exactly one of"),
        (login, "login = { password = [{}] }", "exactly one of"),
        (login, "login = { password = [{ header = \"a b\" }] }", "name of a header field"),
        ("username = { kind", "client_token = { kind", "the name of a built-in value"),
    ] {
        let faults = replaced(old, new);
        assert!(faults.contains(told), "{new}: {faults}");
    }
}

/// A recipe with every element of a long life; `life` stands in its `[session]`.
fn long_lived(life: &str) -> Result<crate::recipe::Recipe, String> {
    let text = format!(
        r#"
        name = "long"
        title = "A session that lives on"
        inject = [
            {{ header = "Authorization", value = "Bearer {{{{token}}}}" }},
            {{ header = "X-CSRF-Token", value = "{{{{csrf}}}}", methods = "unsafe" }},
            {{ cookies = true }},
        ]
        verdict = [{{ when = {{ status = [401] }}, then = "expired" }}]
        probe = {{ method = "GET", path = "/me", alive = {{ status = [200] }} }}
        account.user = {{ kind = "login_name" }}
        [session]
        {life}
        [[login.steps]]
        name = "log in"
        method = "POST"
        path = "/login"
        form = {{ user = "{{{{user}}}}" }}
        take = {{ token = {{ json = "/token" }}, again = {{ json = "/refresh" }} }}
        [[refresh.steps]]
        name = "refresh"
        method = "POST"
        path = "/refresh"
        form = {{ refresh = "{{{{again}}}}", csrf = "{{{{csrf}}}}" }}
        take = {{ token = {{ json = "/token" }}, again = {{ json = "/refresh", optional = true }} }}
        "#
    );
    let document = Document::parse("recipe.toml", text).unwrap();
    load(&document, &BTreeMap::new()).map_err(|faults| faults.to_string())
}

#[test]
fn a_session_that_lives_on_is_described_in_full() {
    let recipe = long_lived(
        r#"cookies = "rolling"
        idle = "20m"
        keep_alive = "2h"
        sessions_max = 1000
        roll = { csrf = { header = "X-CSRF-Token" } }"#,
    );
    let recipe = recipe.unwrap_or_else(|faults| panic!("{faults}"));
    let session = &recipe.session;
    assert_eq!(session.cookies, crate::recipe::Cookies::Rolling);
    assert_eq!(session.keep_alive, Some(std::time::Duration::from_secs(7200)));
    assert_eq!(session.sessions_max, Some(1000));
    assert_eq!(session.roll.len(), 1);
    assert!(session.roll.iter().all(|take| take.name == "csrf" && take.optional));
    assert_eq!(recipe.refresh.len(), 1);
}

#[test]
fn a_life_that_cannot_be_is_a_fault() {
    let roll = r#"roll = { csrf = { header = "X-CSRF-Token" } }"#;
    let rolled = r#"cookies = "login"
        roll = "#;
    for (life, expected) in [
        (format!("{roll}\ncookies = \"login\"\nsessions_max = 0"), "1"),
        (format!("{roll}\ncookies = \"login\"\nsessions_max = 1001"), "1000"),
        (format!("{roll}\ncookies = \"login\"\nkeep_alive = \"2h\""), "without `idle`"),
        (
            format!("{roll}\ncookies = \"login\"\nidle = \"3h\"\nkeep_alive = \"2h\""),
            "not longer than `idle`",
        ),
        (format!("{rolled}{{ csrf = {{ json = \"/csrf\" }} }}"), "json"),
        (
            format!("{rolled}{{ csrf = {{}} }}"),
            "exactly one of `header`, `cookie`, `cookie_matches`",
        ),
        (format!("{rolled}{{ csrf = {{ header = \"a\", cookie = \"b\" }} }}"), "exactly one of"),
        (
            format!("{rolled}{{ csrf = {{ header = \"a\" }}, user = {{ header = \"User\" }} }}"),
            "taken by another value",
        ),
        (
            format!("{rolled}{{ csrf = {{ header = \"a\" }}, csfr = {{ header = \"a\" }} }}"),
            "nothing reads the value `csfr`",
        ),
        ("cookies = \"login\"".to_owned(), "no value is called `csrf` here"),
    ] {
        let faults = long_lived(&life).unwrap_err();
        assert!(faults.contains(expected), "{life}: {faults}");
        assert!(faults.contains("recipe.toml:"), "{faults}");
    }
}

/// Fails when a budget can be spent for longer than anybody means.
#[test]
fn a_budget_comes_back_within_thirty_days() {
    let faults = replaced("window = \"2h\"", "window = \"721h\"");
    assert!(faults.contains("within 30 days"), "{faults}");
}

#[test]
fn a_refresh_is_judged_like_a_login() {
    let empty = replaced("[[logout.steps]]", "[refresh]\nsteps = []\n\n[[logout.steps]]");
    assert!(empty.contains("recipe.toml:"), "{empty}");
    let step = "[[refresh.steps]]\nname = \"refresh\"\nmethod = \"POST\"\npath = \"/x\"\n";
    for (addition, expected) in [
        ("take.unread = { json = \"/x\" }", "nothing reads the value `unread`"),
        ("form = { refresh = \"{{tokn}}\" }", "did you mean `token`"),
        ("take.now = { json = \"/x\" }", "taken by another value"),
        ("when = { status = [200] }", "no answer before it"),
    ] {
        let new = format!("{step}{addition}\n\n[[logout.steps]]");
        let faults = replaced("[[logout.steps]]", &new);
        assert!(faults.contains(expected), "{addition}: {faults}");
    }
    let keep_alive = "[session]\nidle = \"1h\"\nkeep_alive = \"3h\"\n";
    let faults = faults(|text| {
        let (before, rest) = text.split_once("[probe]").unwrap();
        let (_, after) = rest.split_once("[[logout.steps]]").unwrap();
        format!("{before}[[logout.steps]]{after}").replacen("[session]\n", keep_alive, 1)
    });
    assert!(faults.contains("no `[probe]` to keep a session alive"), "{faults}");
}

/// Fails when a logout seems to hand on a value, or to leave a step out, and does not.
#[test]
fn a_logout_is_sent_whole() {
    let step = "[[logout.steps]]\nname = \"ask\"\nmethod = \"GET\"\npath = \"/token\"\n";
    for (addition, expected) in [
        ("take.proof = { json = \"/proof\" }", "nothing is taken from the answers to a logout"),
        ("when = { status = [200] }", "none depends on an answer"),
    ] {
        let new = format!("{step}{addition}\n\n[[logout.steps]]");
        let faults = replaced("[[logout.steps]]", &new);
        assert!(faults.contains(expected), "{addition}: {faults}");
    }
}

/// A recipe whose login is `step`.
fn logging_in_by(step: &str) -> Result<crate::recipe::Recipe, String> {
    let text = format!(
        r#"
        name = "asking"
        title = "A login by a program"
        inject = [{{ header = "Authorization", value = "Bearer {{{{token}}}}" }}]
        verdict = [{{ when = {{ status = [401] }}, then = "expired" }}]
        [account]
        user = {{ kind = "login_name" }}
        password = {{ kind = "secret" }}
        [[login.steps]]
        name = "log in"
        {step}
        "#
    );
    let document = Document::parse("recipe.toml", text).unwrap();
    load(&document, &BTreeMap::new()).map_err(|faults| faults.to_string())
}

/// Fails when a step could be both a request and a program's, or neither, or when a helper's answer has
/// parts that it cannot have.
#[test]
fn a_login_helper_is_given_values_and_nothing_else() {
    let exec = "exec = { p = \"{{password}}\" }\ntake.token = { json = \"/token\" }";
    let recipe = logging_in_by(exec).unwrap_or_else(|faults| panic!("{faults}"));
    assert!(recipe.asks_helper());
    for (old, new, expected) in [
        ("exec", "method = \"GET\"\nexec", "not both"),
        ("exec", "json = { a = 1 }\nexec", "not both"),
        ("exec", "headers = { a = \"b\" }\nexec", "not both"),
        ("exec", "exce", "did you mean `exec`"),
        ("{{password}}", "{{pasword}}", "did you mean `password`"),
        ("{{password}}", "{{user | totp}}{{password}}", "made from a `secret` field"),
        ("exec = { p = \"{{password}}\" }", "exec = [\"{{password}}\"]", "an object of values"),
        ("{ json = \"/token\" }", "{ header = \"X-Token\" }", "is taken by `json`"),
        ("exec =", "path =", "expected a string"),
    ] {
        let faults = logging_in_by(&exec.replacen(old, new, 1)).unwrap_err();
        assert!(faults.contains(expected), "{new}: {faults}");
        assert!(faults.contains("recipe.toml:"), "{faults}");
    }
    let nothing = "path = \"/{{password}}\"\ntake.token = { json = \"/token\" }";
    let faults = logging_in_by(nothing).unwrap_err();
    assert!(faults.contains("a step has `method` and `path`, or `exec`"), "{faults}");
}

/// Fails when a step's origin could be told by anybody but the recipe and the operator, or lead to another
/// machine in the clear.
#[test]
fn where_a_step_goes_is_told_by_the_recipe_and_its_parameters_alone() {
    let step = "method = \"POST\"\norigin = \"https://login.example.com\"\npath = \"/token\"\n\
                json = { p = \"{{password}}\" }\ntake.token = { json = \"/token\" }";
    let recipe = logging_in_by(step).unwrap_or_else(|faults| panic!("{faults}"));
    let sites: Vec<String> = recipe.sites().iter().map(ToString::to_string).collect();
    assert_eq!(sites, ["https://login.example.com"]);
    for (old, new, expected) in [
        ("https://login", "http://login", "in the clear"),
        ("login.example.com", "login.example.com/x", "belongs into `path`"),
        ("https://login.example.com", "https://{{user}}.example.com", "only the recipe"),
        ("https://login.example.com", "{{placeholder}}", "this is no origin"),
        ("https://login.example.com", "", "this is no origin"),
        ("origin", "orign", "did you mean `origin`"),
    ] {
        let faults = logging_in_by(&step.replacen(old, new, 1)).unwrap_err();
        assert!(faults.contains(expected), "{new}: {faults}");
        assert!(faults.contains("recipe.toml:"), "{faults}");
    }
}

#[test]
fn an_injection_goes_into_requests_with_the_methods_that_are_listed() {
    let inject = |methods: &str| {
        let text = include_str!("../../../config/recipes/superset.toml");
        let text = text.replacen("methods = \"unsafe\"", methods, 1);
        let document = Document::parse("recipe.toml", text).unwrap();
        load(&document, &BTreeMap::new()).map_err(|faults| faults.to_string())
    };
    let recipe = inject("methods = [\"PUT\", \"PATCH\"]").unwrap();
    let listed = recipe.inject.iter().map(|injection| &injection.methods);
    let put: Vec<bool> = listed.clone().map(|it| it.include(&http::Method::PUT)).collect();
    let post: Vec<bool> = listed.map(|it| it.include(&http::Method::POST)).collect();
    assert!(put.iter().all(|included| *included), "{put:?}");
    assert_eq!(post.iter().filter(|included| !**included).count(), 1, "{post:?}");
    for (methods, expected) in [
        ("methods = []", "into no request"),
        ("methods = [\"post\"]", "no method"),
        ("methods = \"unsfe\"", "recipe.toml:"),
        ("methods = 5", "recipe.toml:"),
    ] {
        let faults = inject(methods).unwrap_err();
        assert!(
            faults.contains(expected) && faults.contains("recipe.toml:"),
            "{methods}: {faults}"
        );
    }
}

#[test]
fn an_injection_into_a_body_names_one_member_or_field() {
    let load_with = |inject: &str| {
        let text = include_str!("../../../config/recipes/contentstack.toml");
        let text = text.replacen("header = \"authtoken\"", inject, 1);
        let document = Document::parse("recipe.toml", text).unwrap();
        load(&document, &BTreeMap::new()).map_err(|faults| faults.to_string())
    };
    assert!(load_with("json = \"/params/session\"").is_ok());
    assert!(load_with("form = \"token\"").is_ok());
    assert!(load_with("xml = \"/Envelope/Header/{urn:x}Session/id\"").is_ok());
    for (wrong, expected) in [
        ("json = \"\"", "one member"),
        ("json = \"/*/a\"", "one member"),
        ("json = \"a\"", "`/a`"),
        ("json = \"/a\"\nform = \"a\"", "with `value`"),
        ("json = \"/a\"\nheader = \"a\"", "with `value`"),
        ("form = \"a\"\ncookies = true", "with `value`"),
        ("xml = \"/a\"\nform = \"a\"", "with `value`"),
        ("xml = \"a\"", "starts with `/`"),
        ("xml = \"/s:a\"", "`s:a`"),
        ("jsn = \"/a\"", "did you mean `json`"),
    ] {
        let faults = load_with(wrong).err().unwrap_or_else(|| panic!("{wrong} loads"));
        assert!(faults.contains(expected) && faults.contains("recipe.toml:"), "{wrong}: {faults}");
    }
}

/// Fails when a renewal could never be asked for, or a rule asks for one that there is not.
#[test]
fn a_renewal_has_a_rule_that_asks_for_it_and_takes_something() {
    let rule = "[[verdict]]\nwhen = { status = [499] }\nthen = \"renew\"\n";
    let step = "[[renew.steps]]\nname = \"fetch\"\nmethod = \"GET\"\npath = \"/x\"\n";
    let take = "take.token = { header = \"X\" }\n";
    let with = |addition: &str| {
        let text = include_str!("../../../config/recipes/contentstack.toml");
        let text = text.replacen("[[verdict]]", &format!("{addition}\n[[verdict]]"), 1);
        let document = Document::parse("recipe.toml", text).unwrap();
        load(&document, &BTreeMap::new()).map_err(|faults| faults.to_string())
    };
    let recipe = with(&format!("{step}{take}{rule}")).unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!(recipe.renew.len(), 1);
    for (wrong, expected) in [
        (rule.to_owned(), "no `[[renew.steps]]`"),
        (format!("{step}{take}"), "no rule says when"),
        (format!("{step}{rule}"), "takes at least one value"),
        (format!("{step}take.unread = {{ header = \"X\" }}\n{rule}"), "nothing reads the value"),
        (
            format!("{step}{}{rule}", take.replace("\"X\"", "\"{{totp_secret|totp}}\"")),
            "header field",
        ),
        (format!("[renew]\nsteps = []\n{rule}"), "at least 1 element"),
    ] {
        let faults = with(&wrong).err().unwrap_or_else(|| panic!("{wrong} loads"));
        assert!(faults.contains(expected) && faults.contains("recipe.toml:"), "{wrong}: {faults}");
    }
}

/// Fails when a login could send a session's requests anywhere.
#[test]
fn a_base_url_leads_to_what_the_recipe_allows() {
    let of = |value: &str, session: &str, allow: &str| {
        let text = include_str!("../../../config/recipes/contentstack.toml");
        let base = format!("base_url = {{ value = \"{value}\", allow = [{allow}] }}\n{session}");
        let text = text.replacen("[session]\n", &format!("[session]\n{base}\n"), 1);
        let text =
            text.replacen("take.token =", "take.home = { json = \"/home\" }\ntake.token =", 1);
        let document = Document::parse("recipe.toml", text).unwrap();
        load(&document, &BTreeMap::new()).map_err(|faults| faults.to_string())
    };
    let with = |session: &str, allow: &str| of("home", session, allow);
    let recipe = with("", "\"https://*.example.com\"").unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!(recipe.session.base.unwrap().allow.len(), 1);
    for (session, allow, expected) in [
        ("", "", "at least 1 element"),
        ("", "\"https://*.com\"", "one domain"),
        ("", "\"https://example.com/x\"", "belongs into `path`"),
        ("", "\"http://example.com\"", "in the clear"),
        ("", "\"https://{{home}}\"", "only the recipe"),
        ("cookies = \"login\"", "\"https://example.com\"", "must be `none`"),
        ("roll.home = { header = \"X\" }", "\"https://example.com\"", "requests elsewhere"),
    ] {
        let faults = with(session, allow).err().unwrap_or_else(|| panic!("{allow} loads"));
        assert!(faults.contains(expected) && faults.contains("recipe.toml:"), "{allow}: {faults}");
    }
    let faults = of("username", "", "\"https://example.com\"").err().unwrap();
    assert!(faults.contains("no step of the login takes"), "{faults}");
}
