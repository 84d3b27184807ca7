//! What a login's answer gave: a token and where it stands, its life, cookies.

use std::fmt::Write as _;

use serde_json::Value;

use super::words::{leaves, quoted};
use super::{Answer, Exchange};
use crate::recipe::explain::is_plain_name;

/// Shorter texts are words and numbers; tokens are longer.
const TOKEN_LETTERS_MIN: usize = 8;

/// What a login's answer gave.
#[derive(Default)]
pub(super) struct Gains {
    status: u16,
    /// Where the token stands, as `take` has it.
    token: Option<String>,
    /// What it is. Nothing of it is written.
    value: String,
    /// The field that carried it later, and what stood before it there.
    carried: Option<(String, String)>,
    /// Where its life stands, and its unit.
    lives: Option<(String, &'static str)>,
    cookies: Vec<String>,
}

impl Gains {
    /// What the answer gave, as far as it shows, and what `later` requests did with it.
    pub(super) fn of(login: &Exchange, later: &[&Exchange]) -> Self {
        let Some(answer) = &login.answer else { return Self::default() };
        let mut gains = Self { status: answer.status, ..Self::default() };
        gains.cookies = cookies(answer)
            .filter(|(name, value)| !value.is_empty() && is_plain_name(name))
            .map(|(name, _)| name)
            .collect();
        let mut best = 0;
        if let Ok(json) = serde_json::from_str::<Value>(&answer.text) {
            leaves(&json, &mut String::new(), &mut |pointer, leaf| {
                let name = pointer.rsplit('/').next().unwrap_or_default().to_lowercase();
                match leaf {
                    Value::String(text) if text.len() >= TOKEN_LETTERS_MIN => {
                        let rank = rank(&name);
                        if rank > best {
                            best = rank;
                            gains.value.clone_from(text);
                            gains.token = Some(format!("{{ json = {} }}", quoted(pointer)));
                        }
                    }
                    Value::Number(number) if name.contains("expir") || name.contains("ttl") => {
                        let unit = unit(&name, number.as_f64().unwrap_or_default());
                        gains.lives = Some((pointer.to_owned(), unit));
                    }
                    _ => {}
                }
            });
        }
        for (name, value) in &answer.headers {
            let lower = name.to_lowercase();
            if gains.token.is_none()
                && is_plain_name(name)
                && value.len() >= TOKEN_LETTERS_MIN
                && ["auth", "token", "session"].iter().any(|word| lower.contains(word))
                && lower != "www-authenticate"
            {
                gains.value.clone_from(value);
                gains.token = Some(format!("{{ header = {} }}", quoted(name)));
            }
        }
        let mut fields = later.iter().flat_map(|exchange| &exchange.headers);
        gains.carried = fields.find_map(|(name, value)| gains.carries(name, value));
        gains
    }

    /// The name of this field, and what stands before the token in it, if that is all of it.
    fn carries(&self, name: &str, value: &str) -> Option<(String, String)> {
        let before = value.strip_suffix(&self.value)?;
        // A scheme; anything else could be a part of a secret.
        let is_scheme = before.strip_suffix(' ').is_some_and(|scheme| {
            scheme.len() <= 12 && scheme.bytes().all(|byte| byte.is_ascii_alphabetic())
        });
        let is_it = self.token.is_some() && is_plain_name(name) && (before.is_empty() || is_scheme);
        is_it.then(|| (name.to_owned(), before.to_owned()))
    }

    pub(super) fn takes(&self) -> String {
        let mut text = String::new();
        match (&self.token, self.cookies.first()) {
            (Some(token), _) => {
                if !(200..300).contains(&self.status) {
                    _ = writeln!(text, "expect = {{ status = [{}] }}", self.status);
                }
                _ = writeln!(text, "take.token = {token}");
            }
            (None, Some(cookie)) => {
                let status = match self.status {
                    200..300 => "\"2xx\"".to_owned(),
                    status => status.to_string(),
                };
                _ = writeln!(
                    text,
                    "# CHECK: which cookie is there only if the password was right?\n\
                     expect = {{ status = [{status}], set_cookie = [{{ name = {}, is = \"set\" }}] }}",
                    quoted(cookie),
                );
            }
            (None, None) => text.push_str(
                "# CHECK: the answer is not known: where does the token stand?\n\
                 take.token = { json = \"/token\" }\n",
            ),
        }
        if let Some((pointer, _)) = self.lives.as_ref().filter(|_| self.token.is_some()) {
            _ = writeln!(text, "take.lives = {{ json = {}, optional = true }}", quoted(pointer));
        }
        text
    }

    pub(super) fn session(&self) -> String {
        let mut text = String::new();
        let has_cookies = !self.cookies.is_empty();
        let lives = self.lives.as_ref().filter(|_| self.token.is_some());
        if has_cookies || lives.is_some() {
            text.push_str("\n[session]\n");
        }
        if has_cookies {
            text.push_str("cookies = \"rolling\"\n");
        }
        if let Some((_, unit)) = lives {
            _ = writeln!(
                text,
                "# CHECK: the unit\nexpires = {{ value = \"lives\", unit = \"{unit}\" }}"
            );
        }
        if has_cookies {
            text.push_str("\n[[inject]]\ncookies = true\n");
        }
        if let Some((name, before)) = &self.carried {
            _ = writeln!(
                text,
                "\n[[inject]]\nheader = {}\nvalue = {}",
                quoted(name),
                quoted(&format!("{before}{{{{token}}}}")),
            );
        } else if self.token.is_some() || !has_cookies {
            text.push_str(
                "\n# CHECK: the field in which the upstream takes the token\n\
                 [[inject]]\nheader = \"Authorization\"\nvalue = \"Bearer {{token}}\"\n",
            );
        }
        text
    }
}

/// How much a member's name sounds like a token's.
fn rank(name: &str) -> u32 {
    let words = [
        ("refresh", 0),
        ("csrf", 0),
        ("access_token", 9),
        ("accesstoken", 9),
        ("jwt", 8),
        ("token", 7),
        ("sessionkey", 6),
        ("session", 5),
        ("sid", 5),
        ("ticket", 5),
        ("key", 2),
        ("id", 1),
    ];
    words.iter().find(|(word, _)| name.contains(word)).map_or(0, |(_, rank)| *rank)
}

fn unit(name: &str, number: f64) -> &'static str {
    match number {
        // Later than 2001 in each unit.
        number if number > 1e15 => "epoch_microseconds",
        number if number > 1e12 => "epoch_milliseconds",
        number if number > 1e9 => "epoch_seconds",
        _ if name.contains("ms") || name.contains("milli") => "milliseconds",
        _ => "seconds",
    }
}

pub(super) fn cookies(answer: &Answer) -> impl Iterator<Item = (String, String)> {
    let fields = answer.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie"));
    fields.filter_map(|(_, value)| {
        let (name, value) = value.split(';').next()?.split_once('=')?;
        Some((name.trim().to_owned(), value.trim().to_owned()))
    })
}
