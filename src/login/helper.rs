//! What a login helper's end and its output mean: they are read as an answer, so that all that a recipe
//! can say of answers can be said of helpers. docs/RECIPES.md has the contract.

use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode, header};
use serde_json::Value;

use super::StepAnswer;
use crate::fields::Fields;
use crate::recipe::RefusalClass;
use crate::recipe::condition::Body;

/// Carries what a helper has said on standard error, in the place of a header field.
pub(super) const SAID: HeaderName = HeaderName::from_static("helper-said");

/// The longest pause that a helper can ask for: nobody means to wait longer.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3600);

/// The answer that a helper's end with `code` and its output are read as; no code means that a signal
/// ended it. `said` is one line without a value.
pub fn answer(code: Option<i32>, output: Vec<u8>, said: &str) -> StepAnswer {
    let status = match code {
        Some(0) => StatusCode::OK,
        // The numbers of sysexits.h: EX_NOPERM, EX_TEMPFAIL, EX_UNAVAILABLE.
        Some(77) => StatusCode::UNAUTHORIZED,
        Some(75) => StatusCode::TOO_MANY_REQUESTS,
        Some(69) => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let json = HeaderValue::from_static("application/json");
    let mut headers = Fields::from_iter([(header::CONTENT_TYPE, json)]);
    if let Ok(said) = HeaderValue::from_str(said)
        && !said.is_empty()
    {
        headers.insert(SAID, said);
    }
    let body = Body::new(output);
    let retry_after = body.json().and_then(|json| json.get("retry_after")?.as_u64());
    if let Some(seconds) = retry_after.map(|seconds| seconds.min(RETRY_AFTER_MAX.as_secs())) {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    StepAnswer { status, headers, body }
}

/// What the helper has said, if it has said something.
pub fn said(headers: &Fields) -> Option<String> {
    headers.text(SAID).map(str::to_owned)
}

/// Whether the helper's output says that there is no session, whatever it ended with.
pub(super) fn refuses(answer: &StepAnswer) -> bool {
    refused(answer).is_some()
}

/// What a refusal means where no rule of the recipe says it: what the helper itself says, or else
/// what it ended with.
pub(super) fn class(answer: &StepAnswer) -> Option<RefusalClass> {
    if let Some(class) = refused(answer) {
        return serde_json::from_value(class.clone()).ok();
    }
    match answer.status {
        StatusCode::UNAUTHORIZED => Some(RefusalClass::BadSecret),
        StatusCode::TOO_MANY_REQUESTS => Some(RefusalClass::Throttled),
        StatusCode::SERVICE_UNAVAILABLE => Some(RefusalClass::UpstreamBroken),
        _ => None,
    }
}

fn refused(answer: &StepAnswer) -> Option<&Value> {
    answer.body.json()?.get("refused").filter(|class| !class.is_null())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails when a helper's end is taken for another, or a word that is no class for one.
    #[test]
    fn the_end_of_a_helper_and_its_words_have_a_class() {
        for (code, output, expected) in [
            (Some(77), "", Some(RefusalClass::BadSecret)),
            (Some(75), "", Some(RefusalClass::Throttled)),
            (Some(69), "not json", Some(RefusalClass::UpstreamBroken)),
            (Some(1), "", None),
            (None, "", None),
            (Some(0), r#"{"refused":"locked"}"#, Some(RefusalClass::Locked)),
            (Some(77), r#"{"refused":"slots_full"}"#, Some(RefusalClass::SlotsFull)),
            (Some(77), r#"{"refused":"lockd"}"#, None),
            (Some(77), r#"{"refused":null}"#, Some(RefusalClass::BadSecret)),
        ] {
            let answer = answer(code, output.as_bytes().to_vec(), "");
            assert_eq!(class(&answer), expected, "{code:?} {output}");
        }
    }

    #[test]
    fn a_helper_can_ask_for_a_pause_and_not_for_ever() {
        for (output, expected) in [
            (r#"{"retry_after":30}"#, Some("30")),
            (r#"{"retry_after":9999999}"#, Some("86400")),
            (r#"{"retry_after":-1}"#, None),
            ("{}", None),
        ] {
            let answer = answer(Some(75), output.as_bytes().to_vec(), "the door is\nshut");
            let told = answer.headers.text(header::RETRY_AFTER);
            assert_eq!(told, expected, "{output}");
            assert_eq!(said(&answer.headers), None, "a line break cannot stand in it");
        }
    }
}
