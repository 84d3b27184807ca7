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
    let faults = replaced("{{placeholder}}", "{{token}}");
    assert!(faults.contains("no value is called `token` here"), "{faults}");
}
