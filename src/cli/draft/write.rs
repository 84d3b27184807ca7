//! Writes the draft: which request is the login, what of it is whose, what its answer gave.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;

use super::gains::{Gains, cookies};
use super::words::{is_plain_origin, is_word, key, leaves, quoted, shown_path};
use super::{Answer, Body, DraftError, Exchange};
use crate::recipe::explain::is_plain_name;

/// What a field of a login's request is, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    Name,
    Password,
    Code,
    Forgery,
    Other,
}

/// Fields that say nothing of a login.
const FIELDS_LEFT_OUT: [&str; 16] = [
    "host",
    "connection",
    "content-length",
    "content-type",
    "user-agent",
    "accept-encoding",
    "accept-language",
    "cookie",
    "origin",
    "referer",
    "pragma",
    "cache-control",
    "authorization",
    "dnt",
    "priority",
    "upgrade-insecure-requests",
];

pub(super) fn recipe(name: &str, exchanges: &[Exchange]) -> Result<String, DraftError> {
    let at = exchanges.iter().position(is_login).ok_or(DraftError::NoLogin)?;
    let (before, rest) = exchanges.split_at(at);
    let (login, after) = rest.split_first().ok_or(DraftError::NoLogin)?;
    let before: Vec<&Exchange> =
        before.iter().filter(|exchange| exchange.origin() == login.origin()).collect();
    let mut draft = Draft { text: String::new(), uses_code: false, uses_forgery: false };
    let step = draft.step("log in", login);
    let opening = draft.uses_forgery.then(|| opening(login, &before));
    let after: Vec<&Exchange> =
        after.iter().filter(|exchange| exchange.origin() == login.origin()).collect();
    let gains = Gains::of(login, &after);

    draft.head(name, login);
    if let Some(opening) = opening {
        draft.text.push_str(&opening);
    }
    draft.text.push_str(&step);
    draft.text.push_str(&gains.takes());
    draft.refusals();
    draft.text.push_str(&gains.session());
    draft.verdicts();
    let says = |later: &Exchange, words: &[&str]| words.iter().any(|it| later.path().contains(it));
    let logout = after.into_iter().find(|later| {
        let ends =
            later.method == "DELETE" && (later.path() == login.path() || says(later, &["session"]));
        ends || says(later, &["logout", "log-out", "logoff", "signout", "sign-out", "sign_out"])
    });
    draft.logout(logout);
    Ok(draft.text)
}

fn is_login(exchange: &Exchange) -> bool {
    let has_password = |pairs: &[(String, String)]| {
        pairs.iter().any(|(name, _)| meaning(name) == Meaning::Password)
    };
    match &exchange.body {
        _ if basic(exchange) => true,
        Body::Form(pairs) | Body::Multipart(pairs) => has_password(pairs),
        Body::Json(json) => {
            let mut found = false;
            leaves(json, &mut String::new(), &mut |pointer, _| {
                let name = pointer.rsplit('/').next().unwrap_or_default();
                found |= meaning(name) == Meaning::Password;
            });
            found
        }
        Body::Empty | Body::Text => has_password(&exchange.query()),
    }
}

fn basic(exchange: &Exchange) -> bool {
    exchange.headers.iter().any(|(name, value)| {
        name.eq_ignore_ascii_case("authorization")
            && value.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case("basic "))
    })
}

fn meaning(name: &str) -> Meaning {
    let name = name.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| name.contains(word));
    match () {
        () if has(&["csrf", "xsrf", "nonce", "authenticity", "_token"]) => Meaning::Forgery,
        () if has(&["totp", "otp", "tfa", "2fa", "mfa"]) => Meaning::Code,
        () if has(&["passw", "passwd", "pwd", "secret", "passphrase"]) || name == "pass" => {
            Meaning::Password
        }
        () if has(&["user", "login", "mail", "account", "identifier", "client_id"])
            || name == "name" =>
        {
            Meaning::Name
        }
        () => Meaning::Other,
    }
}

struct Draft {
    text: String,
    uses_code: bool,
    uses_forgery: bool,
}

impl Draft {
    fn head(&mut self, name: &str, login: &Exchange) {
        let docs = if is_plain_origin(login.origin()) { login.origin() } else { "the upstream" };
        _ = writeln!(
            self.text,
            "# Drafted from a login at {docs}. What has to be looked at is marked CHECK.\n\
             # Next: `doorward check`, then `doorward try`, then a conformance file beside this one.\n\n\
             name = {name:?}\n\
             title = {name:?} # CHECK: the name as people say it\n\n\
             [account]\n\
             username = {{ kind = \"login_name\", help = \"the user's name\" }}\n\
             password = {{ kind = \"secret\", help = \"its password\" }}"
        );
        if self.uses_code {
            self.text.push_str(
                "totp_secret = { kind = \"secret\", optional = true, help = \"the authenticator app's secret\" }\n",
            );
        }
    }

    /// A value of the request: whose it is, or a word, or nothing that can be shown.
    fn value(&mut self, name: &str, value: &str) -> String {
        match meaning(name) {
            Meaning::Name => "{{username}}".to_owned(),
            Meaning::Password => "{{password}}".to_owned(),
            Meaning::Code => {
                self.uses_code = true;
                "{{totp_secret | totp}}".to_owned()
            }
            Meaning::Forgery => {
                self.uses_forgery = true;
                "{{csrf}}".to_owned()
            }
            Meaning::Other if is_word(value) => value.to_owned(),
            Meaning::Other => "CHECK".to_owned(),
        }
    }

    fn json(&mut self, name: &str, json: &Value) -> String {
        match json {
            Value::Object(members) => {
                let members: Vec<String> = members
                    .iter()
                    .map(|(name, member)| format!("{} = {}", key(name), self.json(name, member)))
                    .collect();
                format!("{{ {} }}", members.join(", "))
            }
            Value::Array(items) => {
                let items: Vec<String> = items.iter().map(|item| self.json(name, item)).collect();
                format!("[{}]", items.join(", "))
            }
            Value::String(text) => quoted(&self.value(name, text)),
            Value::Bool(flag) => flag.to_string(),
            Value::Number(number) if meaning(name) == Meaning::Other => number.to_string(),
            Value::Number(number) => quoted(&self.value(name, &number.to_string())),
            // TOML knows no null, and few upstreams tell it from what is missing.
            Value::Null => quoted(""),
        }
    }

    fn fields(&mut self, fields: &[(String, String)]) -> String {
        let fields: BTreeMap<&String, &String> =
            fields.iter().map(|(name, value)| (name, value)).collect();
        let fields: Vec<String> = fields
            .into_iter()
            .map(|(name, value)| format!("{} = {}", key(name), quoted(&self.value(name, value))))
            .collect();
        format!("{{ {} }}", fields.join(", "))
    }

    fn step(&mut self, name: &str, exchange: &Exchange) -> String {
        let mut text = format!(
            "\n[[login.steps]]\nname = {}\nmethod = {}\npath = {}\n",
            quoted(name),
            quoted(&exchange.method),
            quoted(&shown_path(exchange.path())),
        );
        let query = exchange.query();
        if !query.is_empty() {
            _ = writeln!(text, "query = {}", self.fields(&query));
        }
        let headers: Vec<(String, String)> = exchange
            .headers
            .iter()
            .filter(|(name, _)| {
                let name = name.to_lowercase();
                !FIELDS_LEFT_OUT.contains(&name.as_str())
                    && !name.starts_with("sec-")
                    && !name.starts_with(':')
                    && (name != "accept" || matches!(exchange.body, Body::Json(_)))
            })
            .map(|(name, value)| {
                let media = name.eq_ignore_ascii_case("accept") && value.len() < 64;
                (name.clone(), if media { "application/json".to_owned() } else { value.clone() })
            })
            .collect();
        if !headers.is_empty() {
            _ = writeln!(text, "headers = {}", self.headers(&headers));
        }
        if basic(exchange) {
            text.push_str("basic = { user = \"{{username}}\", password = \"{{password}}\" }\n");
        }
        match &exchange.body {
            Body::Empty => {}
            Body::Json(json) => _ = writeln!(text, "json = {}", self.json("", json)),
            Body::Form(fields) => _ = writeln!(text, "form = {}", self.fields(fields)),
            Body::Multipart(fields) => _ = writeln!(text, "multipart = {}", self.fields(fields)),
            Body::Text => text.push_str(
                "# CHECK: the body, as `xml` or as `text` with its Content-Type\n\
                 text = \"{{username}} {{password}}\"\n",
            ),
        }
        text
    }

    fn headers(&mut self, headers: &[(String, String)]) -> String {
        let fields: Vec<String> = headers
            .iter()
            .map(|(name, value)| {
                let value = match meaning(name) {
                    Meaning::Forgery => {
                        self.uses_forgery = true;
                        "{{csrf}}".to_owned()
                    }
                    _ if value == "application/json" || is_word(value) => value.clone(),
                    _ => "CHECK".to_owned(),
                };
                format!("{} = {}", key(name), quoted(&value))
            })
            .collect();
        format!("{{ {} }}", fields.join(", "))
    }

    fn refusals(&mut self) {
        self.text.push_str(
            "\n# CHECK: log in once with a wrong password, and write down what is answered then: an\n\
             # attempt that no rule knows costs the account one of its budget.\n\
             [[login.refusals]]\nwhen = { status = [401] }\nclass = \"bad_secret\"\n\n\
             [[login.refusals]]\nwhen = { status = [429] }\nclass = \"throttled\"\n\n\
             [[login.refusals]]\nwhen = { status = [\"5xx\"] }\nclass = \"upstream_broken\"\n",
        );
    }

    fn verdicts(&mut self) {
        self.text.push_str(
            "\n# CHECK: what is a request answered when its session has ended? A redirect to the login page, a\n\
             # 403, an error in a 200? And what does a missing right look like?\n\
             [[verdict]]\nwhen = { status = [401] }\nthen = \"expired\"\n\
             \n# CHECK: a harmless \"who am I\": without it `doorward try` cannot tell whether the session works.\n\
             # [probe]\n# method = \"GET\"\n# path = \"/me\"\n# alive = { status = [200] }\n",
        );
    }

    fn logout(&mut self, logout: Option<&Exchange>) {
        match logout {
            Some(logout) => {
                let status = logout.answer.as_ref().map_or(200, |answer| answer.status);
                _ = write!(
                    self.text,
                    "\n[[logout.steps]]\nname = \"log out\"\nmethod = {}\npath = {}\n",
                    quoted(&logout.method),
                    quoted(&shown_path(logout.path())),
                );
                if !(200..300).contains(&status) {
                    _ = writeln!(self.text, "expect = {{ status = [\"2xx\", {status}] }}");
                }
            }
            None => self.text.push_str(
                "\n# CHECK: without a logout sessions stay open at the upstream.\n\
                 # [[logout.steps]]\n# name = \"log out\"\n# method = \"POST\"\n# path = \"/logout\"\n",
            ),
        }
        self.text.push_str(
            "\n# CHECK: close what changes or hands out the session or the account to clients.\n\
             # [[endpoints]]\n# paths = [\"/account/password\"]\n# closed = \"this belongs to the account that everybody shares\"\n",
        );
    }
}

/// The step that brings the token against forgery, where an answer before the login shows it.
fn opening(login: &Exchange, before: &[&Exchange]) -> String {
    let sent = forgery(login);
    for exchange in before.iter().rev() {
        let Some(answer) = &exchange.answer else { continue };
        if let Some(place) = sent.as_ref().and_then(|(name, value)| place_of(answer, name, value)) {
            return format!(
                "\n[[login.steps]]\nname = \"fetch the token for the login\"\nmethod = {}\npath = {}\n\
                 take.csrf = {place}\n",
                quoted(&exchange.method),
                quoted(&shown_path(exchange.path())),
            );
        }
    }
    let name = sent.map_or("csrf".to_owned(), |(name, _)| name);
    format!(
        "\n# CHECK: where does the token against forgery come from?\n\
         [[login.steps]]\nname = \"fetch the token for the login\"\nmethod = \"GET\"\npath = {}\n\
         take.csrf = {{ input = {} }}\n",
        quoted(&shown_path(login.path())),
        quoted(&name),
    )
}

/// The name and value of the token against forgery that a request carries.
fn forgery(exchange: &Exchange) -> Option<(String, String)> {
    let mut fields = exchange.query();
    match &exchange.body {
        Body::Form(pairs) | Body::Multipart(pairs) => fields.extend(pairs.iter().cloned()),
        Body::Json(json) => leaves(json, &mut String::new(), &mut |pointer, value| {
            let name = pointer.rsplit('/').next().unwrap_or_default().to_owned();
            fields.extend(value.as_str().map(|text| (name, text.to_owned())));
        }),
        Body::Empty | Body::Text => {}
    }
    fields.extend(exchange.headers.iter().cloned());
    fields.into_iter().find(|(name, _)| meaning(name) == Meaning::Forgery)
}

/// Where in an answer this value stands.
fn place_of(answer: &Answer, name: &str, value: &str) -> Option<String> {
    if value.is_empty() {
        return None;
    }
    let escaped = value.replace('&', "&amp;");
    for attribute in [format!("name=\"{name}\""), format!("name='{name}'")] {
        if answer.text.contains(&attribute)
            && (answer.text.contains(value) || answer.text.contains(&escaped))
        {
            return Some(format!("{{ input = {} }}", quoted(name)));
        }
    }
    for (cookie, found) in cookies(answer) {
        if found == value && is_plain_name(&cookie) {
            return Some(format!("{{ cookie = {} }}", quoted(&cookie)));
        }
    }
    for (field, found) in &answer.headers {
        if found == value && is_plain_name(field) {
            return Some(format!("{{ header = {} }}", quoted(field)));
        }
    }
    let json: Value = serde_json::from_str(&answer.text).ok()?;
    let mut place = None;
    leaves(&json, &mut String::new(), &mut |pointer, leaf| {
        if leaf.as_str() == Some(value) {
            place = Some(format!("{{ json = {} }}", quoted(pointer)));
        }
    });
    place
}
