//! The operator's login helper: a program that logs in, refreshes or logs out where no request can.
//! It is given JSON on its standard input and prints JSON; docs/RECIPES.md has the contract.

use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::ExchangeError;
use crate::login::{self, helper};
use crate::recipe::Purpose;
use crate::secret::{Command, Environment, SecretError, SecretText};
use crate::upstream::{Origin, SendError};

/// The version of the contract.
const VERSION: u32 = 1;

/// As much of what a helper says is shown, in characters.
const SAID_MAX: usize = 300;

/// Stands for a line that shows a value.
const HIDDEN: &str = "(a line that shows a value)";

/// A program, and the environment that a little of is handed on to it.
#[derive(Clone, Debug)]
pub struct Helper {
    /// The program.
    pub command: Command,
    /// Where variables are looked up.
    pub environment: Environment,
}

/// What a helper is asked.
pub(super) struct Asked<'a> {
    pub(super) purpose: Purpose,
    /// The values that the recipe gives it, an object.
    pub(super) values: &'a [u8],
}

impl Helper {
    /// Runs it once. Dropped, it is killed with all that it has begun.
    ///
    /// # Errors
    /// A program that cannot be started, takes too long or prints too much. However else it ends is an
    /// answer.
    pub(super) async fn ask(
        &self,
        asked: Asked<'_>,
        origin: &Origin,
        bytes_max: usize,
    ) -> Result<login::StepAnswer, ExchangeError> {
        let values: Value = serde_json::from_slice(asked.values).unwrap_or_default();
        let authority = origin.url_authority.to_str().unwrap_or_default();
        let input = json!({
            "version": VERSION,
            "purpose": asked.purpose.as_str(),
            "base_url": format!("{}://{authority}{}", origin.scheme(), origin.base_path),
            "values": &values,
        });
        let input = Zeroizing::new(input.to_string());
        let conversed = self.command.converse(&self.environment, input.as_bytes(), bytes_max).await;
        let ended = conversed.map_err(|error| match error {
            SecretError::TimedOut { .. } => SendError::Timeout.into(),
            SecretError::TooLong(_) => ExchangeError::TooLong,
            error => ExchangeError::Helper(error),
        })?;
        let output: Value = serde_json::from_slice(&ended.output).unwrap_or_default();
        let said = shown(&ended.errors, &[&values, &output]);
        Ok(helper::answer(ended.status.code(), ended.output.to_vec(), &said))
    }
}

/// What a helper said, as one short line: nothing in it is a value that it was given or that it
/// printed, in whatever form.
fn shown(errors: &[u8], values: &[&Value]) -> String {
    let mut forms = Vec::new();
    for value in values {
        collect(value, &mut forms);
    }
    let text = Zeroizing::new(String::from_utf8_lossy(errors).into_owned());
    let shows = |line: &str| forms.iter().any(|form: &SecretText| line.contains(form.expose()));
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let lines = lines.map(|line| if shows(line) { HIDDEN } else { line });
    let line = lines.collect::<Vec<_>>().join("; ");
    let plain = |letter: char| if letter.is_ascii() && !letter.is_control() { letter } else { '?' };
    line.chars().take(SAID_MAX).map(plain).collect()
}

/// All forms of all texts and numbers in `value`.
fn collect(value: &Value, forms: &mut Vec<SecretText>) {
    match value {
        Value::String(text) if !text.is_empty() => {
            // What is said is shown by lines, and keys have several.
            let lines = text.lines().filter(|line| *line != text && !line.trim().is_empty());
            for text in lines.chain([text.as_str()]) {
                forms.extend(SecretText::from(text.trim().to_owned()).forms());
            }
        }
        Value::Number(number) => forms.push(SecretText::from(number.to_string())),
        Value::Array(items) => items.iter().for_each(|item| collect(item, forms)),
        Value::Object(members) => members.values().for_each(|member| collect(member, forms)),
        Value::String(_) | Value::Null | Value::Bool(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails when a value that a helper was given, or gave, is shown in a form of its own.
    #[test]
    fn what_a_helper_says_shows_no_value() {
        let given = json!({"user": "ann", "password": "pa/ss w\u{f6}rd"});
        let printed = json!({"token": "t-1"});
        for line in ["pa/ss w\u{f6}rd", "x=pa%2Fss%20w%C3%B6rd", "got t-1", "cGEvc3Mgd8O2cmQ="] {
            let errors = format!("begin\n{line}\nthe vault is sealed\x1b[0m\n");
            let said = shown(errors.as_bytes(), &[&given, &printed]);
            assert_eq!(said, format!("begin; {HIDDEN}; the vault is sealed?[0m"), "{line}");
        }
        let key = json!({ "key": "-----BEGIN KEY-----\nc2VjcmV0IGtleQ\nbW9yZSBvZiBpdA\n" });
        let said = shown(b"a\nc2VjcmV0IGtleQ\r\n  bW9yZSBvZiBpdA\n", &[&key]);
        assert_eq!(said, format!("a; {HIDDEN}; {HIDDEN}"));
        let long = shown("x".repeat(5000).as_bytes(), &[]);
        assert_eq!(long.len(), SAID_MAX);
    }
}
