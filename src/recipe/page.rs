//! What stands in the inputs of an HTML page: one pass over its text, whatever the page is.

/// The value of the first `input` called `name`, or the content of such a `meta`; nothing where the
/// page has none, or it has no value. Both are read as browsers do (HTML, section 13.2.5): names in
/// any case, values with or without quotes, character references decoded.
pub(super) fn input(page: &str, name: &str) -> Option<String> {
    let mut rest = page;
    while let Some(start) = rest.find('<') {
        rest = rest.get(start + 1..)?;
        let kind = ["input", "meta"].into_iter().find(|kind| {
            let (word, after) = rest.split_at_checked(kind.len()).unwrap_or_default();
            word.eq_ignore_ascii_case(kind)
                && after.starts_with(|next| is_blank(next) || next == '/')
        });
        let Some(kind) = kind else { continue };
        let (attributes, after) = attributes(rest.get(kind.len()..)?);
        rest = after;
        if attributes.name.as_deref() == Some(name) {
            return if kind == "input" { attributes.value } else { attributes.content };
        }
    }
    None
}

/// The attributes of an element that are read; the first of a name counts.
#[derive(Default)]
struct Attributes {
    name: Option<String>,
    value: Option<String>,
    content: Option<String>,
}

/// The attributes up to `>`, and what follows it.
fn attributes(text: &str) -> (Attributes, &str) {
    let mut found = Attributes::default();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches(|letter| is_blank(letter) || letter == '/');
        if rest.is_empty() {
            return (found, rest);
        }
        if let Some(after) = rest.strip_prefix('>') {
            return (found, after);
        }
        // A name has at least one letter, even if that is `=`.
        let first = rest.chars().next().map_or(0, char::len_utf8);
        let ends = |letter: char| is_blank(letter) || "/>=".contains(letter);
        let end = rest.get(first..).and_then(|rest| rest.find(ends));
        let (word, after) = rest.split_at(end.map_or(rest.len(), |end| first + end));
        let spaced = after.trim_start_matches(is_blank);
        let value = match spaced.strip_prefix('=') {
            None => {
                rest = after;
                ""
            }
            Some(after) => {
                let (value, after) = attribute_value(after.trim_start_matches(is_blank));
                rest = after;
                value
            }
        };
        let place = match () {
            () if word.eq_ignore_ascii_case("name") => &mut found.name,
            () if word.eq_ignore_ascii_case("value") => &mut found.value,
            () if word.eq_ignore_ascii_case("content") => &mut found.content,
            () => continue,
        };
        place.get_or_insert_with(|| decoded(value));
    }
}

fn attribute_value(text: &str) -> (&str, &str) {
    for quote in ['"', '\''] {
        if let Some(quoted) = text.strip_prefix(quote) {
            return quoted.split_once(quote).unwrap_or((quoted, ""));
        }
    }
    let end = text.find(|letter: char| is_blank(letter) || letter == '>');
    text.split_at(end.unwrap_or(text.len()))
}

fn is_blank(letter: char) -> bool {
    matches!(letter, ' ' | '\t' | '\n' | '\r' | '\u{c}')
}

/// The longest character reference that is decoded: `&#x10ffff;` without its ends.
const REFERENCE_BYTES_MAX: usize = 9;

/// With the character references that frameworks write decoded; others stay as they are.
fn decoded(text: &str) -> String {
    let mut decoded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        decoded.push_str(before);
        let end = after.bytes().take(REFERENCE_BYTES_MAX + 1).position(|byte| byte == b';');
        let letter = end.and_then(|end| after.get(..end)).and_then(referenced);
        match (letter, end) {
            (Some(letter), Some(end)) => {
                decoded.push(letter);
                rest = after.get(end + 1..).unwrap_or_default();
            }
            _ => {
                decoded.push('&');
                rest = after;
            }
        }
    }
    decoded.push_str(rest);
    decoded
}

fn referenced(reference: &str) -> Option<char> {
    match reference {
        "amp" => return Some('&'),
        "lt" => return Some('<'),
        "gt" => return Some('>'),
        "quot" => return Some('"'),
        "apos" => return Some('\''),
        _ => {}
    }
    let number = reference.strip_prefix('#')?;
    let number = match number.strip_prefix(['x', 'X']) {
        Some(digits) => u32::from_str_radix(digits, 16).ok()?,
        None => number.parse().ok()?,
    };
    char::from_u32(number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_input_is_found_however_it_is_written() {
        for page in [
            r#"<form><input type="hidden" name="csrf" value="t0k+/="></form>"#,
            r#"<INPUT VALUE='t0k+/=' NAME=csrf />"#,
            "<input\n  name = csrf\n  value = t0k+/=>",
            r#"<inputs name="csrf" value="no"><input disabled name="csrf" value="t0k&#43;&#x2f;=">"#,
            r#"<meta name="csrf" content="t0k+/=">"#,
            r#"<input name="a" value="><input name='csrf' value='no'"><input name="csrf" value="t0k+/=" value="no">"#,
        ] {
            assert_eq!(input(page, "csrf").as_deref(), Some("t0k+/="), "{page}");
        }
        for page in ["", "<input name=csr value=x>", "<input name=csrf>", "<input name=csrf value"]
        {
            assert!(input(page, "csrf").is_none_or(|value| value.is_empty()), "{page}");
        }
        assert_eq!(decoded("&amp;&lt;&nope;&#1114112;&"), "&<&nope;&#1114112;&");
    }

    proptest! {
        /// What a framework writes with its escapes is read as it was, wherever it stands.
        #[test]
        fn what_is_written_is_read(
            value in "[ -~\u{e4}\u{1f600}]{0,40}",
            before in "[<>\"'a-z =/&]{0,40}",
            after in ".{0,40}",
        ) {
            let escaped = value.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;");
            let page = format!("<p>{}</p><input name=\"it\" value=\"{escaped}\">{after}",
                before.replace('<', "&lt;"));
            prop_assert_eq!(input(&page, "it"), Some(value));
        }

        /// No page makes it panic, and what is found stands in the page, apart from references.
        #[test]
        fn any_page_is_read(page in "(<input|name|value|=|\"|'|>|/|&#x?|;|[a-f0-9]| ){0,60}") {
            if let Some(found) = input(&page, "name") {
                prop_assert!(found.len() <= page.len());
            }
        }
    }
}
