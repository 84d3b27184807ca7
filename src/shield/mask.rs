//! Replaces session values in the JSON of answers that are known to show them.

use super::rewrite::{NoJson, rewrite};
use crate::recipe::pattern::Pointer;
use crate::secret::Search;

/// An answer in which nothing could be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MaskError {
    /// It is no JSON and it holds a value of the session.
    #[error("the answer is no JSON and shows a value of the session")]
    Opaque,
    /// It is no JSON, so nothing can be found by its pointers.
    #[error("the answer is no JSON")]
    NotJson,
}

/// Replaces what stands at `pointers`, and every string, number and name of a member that holds a
/// secret, by `placeholder`. All else is as it was written, numbers too, but for blanks.
///
/// # Errors
/// When the body is no JSON. Whoever knows that it is an error page may pass it on, unless it is
/// [`MaskError::Opaque`].
pub fn mask(
    body: &[u8],
    pointers: &[Pointer],
    secrets: &Search,
    placeholder: &str,
) -> Result<Vec<u8>, MaskError> {
    // Some servers put a byte order mark in front, against RFC 8259 section 8.1.
    let text = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body);
    rewrite(text, pointers, secrets, placeholder).map_err(|NoJson| match secrets.is_in(body) {
        true => MaskError::Opaque,
        false => MaskError::NotJson,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::SecretText;

    fn masked(body: &str) -> Result<String, MaskError> {
        let pointers = [Pointer::parse("/user/authtoken").unwrap()];
        let secrets = [SecretText::from("blt0123456789abcdef".to_owned())];
        mask(body.as_bytes(), &pointers, &Search::new(secrets.iter()), "hidden")
            .map(|body| String::from_utf8(body).unwrap())
    }

    #[test]
    fn values_are_replaced_where_they_are_named_and_wherever_they_stand() {
        let body =
            r#"{"z":1,"user":{"authtoken":"other","note":"is blt0123456789abcdef!"},"a":[]}"#;
        let expected = r#"{"z":1,"user":{"authtoken":"hidden","note":"hidden"},"a":[]}"#;
        assert_eq!(masked(body).unwrap(), expected);
        assert_eq!(
            masked(r#"{"user":{"authtoken":null}}"#).unwrap(),
            r#"{"user":{"authtoken":null}}"#
        );
    }

    /// Fails when a value passes as the name of a member.
    #[test]
    fn names_of_members_are_replaced_too() {
        let body = r#"{"a":1,"blt0123456789abcdef":{"x/blt0123456789abcdef":2},"b":3}"#;
        assert_eq!(masked(body).unwrap(), r#"{"a":1,"hidden":{"hidden":2},"b":3}"#);
    }

    #[test]
    fn a_byte_order_mark_hides_nothing() {
        let body = "\u{feff}{\"user\":{\"authtoken\":\"other\"}}";
        assert_eq!(masked(body).unwrap(), r#"{"user":{"authtoken":"hidden"}}"#);
    }

    /// Fails when a number is another one behind the mask, or is only written in another way.
    #[test]
    fn numbers_are_as_they_were_written() {
        for number in [
            "9007199254740993",
            "18446744073709551616",
            "-9223372036854775809",
            "123456789012345678901234567890",
            "0.1",
            "0.10",
            "31.245270191439438",
            "121.48791951161945",
            "3.141592653589793238462643383279",
            "-0",
            "1E5",
            "1e+400",
        ] {
            let body = format!(r#"{{"n":{number},"m":[{number}]}}"#);
            assert_eq!(masked(&body).unwrap(), body);
        }
        let body = "{\"a\" : \"\\u00e9\\/\" ,\r\n\t\"b\":[ 1 , {} , [ ] , null, true ] }";
        assert_eq!(masked(body).unwrap(), r#"{"a":"\u00e9\/","b":[1,{},[],null,true]}"#);
    }

    /// Fails when a value passes that is written as a number.
    #[test]
    fn a_number_can_be_a_secret() {
        let secrets = [SecretText::from("12345678901234567890".to_owned())];
        let search = Search::new(secrets.iter());
        let body = br#"{"id":12345678901234567890,"other":1234567890123456789}"#;
        let masked = mask(body, &[], &search, "hidden").unwrap();
        let expected = r#"{"id":"hidden","other":1234567890123456789}"#;
        assert_eq!(String::from_utf8(masked).unwrap(), expected);
    }

    /// Fails when what one of two readers takes, of members of one name, passes.
    #[test]
    fn members_of_one_name_are_all_masked() {
        let body = r#"{"user":{"authtoken":"a","authtoken":"b"},"\u0075ser":{"authtoken":"c"}}"#;
        let expected = r#"{"user":{"authtoken":"hidden","authtoken":"hidden"},"\u0075ser":{"authtoken":"hidden"}}"#;
        assert_eq!(masked(body).unwrap(), expected);
        let body = r#"{"blt0123456789abcdef":1,"a":2,"x-blt0123456789abcdef":3,"b":4}"#;
        assert_eq!(masked(body).unwrap(), r#"{"hidden":1,"a":2,"b":4}"#);
    }

    #[test]
    fn what_is_no_json_is_told() {
        let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(masked(&deep(127)).unwrap(), deep(127));
        for body in [
            &deep(128),
            "",
            " ",
            "{",
            "[1,]",
            "[,1]",
            "{\"a\":1,}",
            "{\"a\" 1}",
            "{a:1}",
            "[01]",
            "[1] 2",
            "[\"\u{1}\"]",
            "[\"\\ud800\"]",
            "[\"\\x\"]",
            "[\"a",
            "[nul]",
            "[1 2]",
        ] {
            assert_eq!(masked(body), Err(MaskError::NotJson), "{body}");
        }
        let search = Search::new([].iter());
        assert_eq!(mask(b"[\"\xff\"]", &[], &search, "x"), Err(MaskError::NotJson));
    }

    #[test]
    fn a_page_is_told_from_one_that_shows_the_session() {
        assert_eq!(masked("<html>sorry</html>"), Err(MaskError::NotJson));
        assert_eq!(masked("<b>blt0123456789abcdef</b>"), Err(MaskError::Opaque));
    }
}
