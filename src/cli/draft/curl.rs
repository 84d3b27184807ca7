//! A login as a curl command, as browsers' "Copy as cURL" writes it.

use data_encoding::BASE64;

use super::{Body, DraftError, Exchange};

/// The exchange that the command asks for; nobody knows its answer.
pub(super) fn read(text: &str) -> Result<Exchange, DraftError> {
    let words = words(text)?;
    let mut words = words.into_iter().skip_while(|word| word != "curl").skip(1);
    let mut exchange = Exchange::default();
    let mut method = None;
    let mut data = Vec::new();
    let mut is_json = false;
    let mut parts = Vec::new();
    while let Some(word) = words.next() {
        let (option, inline) = match word.split_once('=') {
            Some((option, value)) if option.starts_with("--") => {
                (option.to_owned(), Some(value.to_owned()))
            }
            _ if is_short_with_value(&word) => {
                let (option, value) = word.split_at(2);
                (option.to_owned(), Some(value.to_owned()))
            }
            _ => (word, None),
        };
        let mut value = || inline.clone().or_else(|| words.next()).unwrap_or_default();
        match option.as_str() {
            "-X" | "--request" => method = Some(value()),
            "-H" | "--header" => {
                let field = value();
                let (name, value) = field.split_once(':').unwrap_or((&field, ""));
                exchange.headers.push((name.trim().to_owned(), value.trim().to_owned()));
            }
            "-d" | "--data" | "--data-raw" | "--data-ascii" | "--data-binary"
            | "--data-urlencode" => data.push(value()),
            "--json" => {
                is_json = true;
                data.push(value());
            }
            "-F" | "--form" | "--form-string" => {
                let part = value();
                let (name, value) = part.split_once('=').unwrap_or((&part, ""));
                parts.push((name.to_owned(), value.to_owned()));
            }
            "-u" | "--user" => {
                let pair = value();
                let field = format!("Basic {}", BASE64.encode(pair.as_bytes()));
                exchange.headers.push(("Authorization".to_owned(), field));
            }
            "--url" => exchange.url = value(),
            "-b" | "--cookie" | "-o" | "--output" | "-A" | "--user-agent" | "-e" | "--referer"
            | "-m" | "--max-time" | "--connect-timeout" | "-c" | "--cookie-jar" | "-x"
            | "--proxy" | "--cacert" | "-w" | "--write-out" => _ = value(),
            option if option.starts_with('-') => {}
            url => exchange.url = url.to_owned(),
        }
    }
    let has_body = !data.is_empty() || !parts.is_empty();
    exchange.method = method.unwrap_or(if has_body { "POST" } else { "GET" }.to_owned());
    exchange.body = match parts.is_empty() {
        false => Body::Multipart(parts),
        true => Body::read(&data.join("&"), is_json, &exchange.headers),
    };
    if exchange.url.is_empty() {
        return Err(DraftError::NoCommand);
    }
    Ok(exchange)
}

/// `-XPOST` and the like.
fn is_short_with_value(word: &str) -> bool {
    word.len() > 2 && ["-X", "-H", "-d", "-u", "-F"].iter().any(|option| word.starts_with(option))
}

/// The words of a command as a shell reads them: quotes, `$'...'`, backslashes, lines that go on.
fn words(text: &str) -> Result<Vec<String>, DraftError> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => match letters.next() {
                Some('\n') | None => {}
                Some('\r') => _ = letters.next_if_eq(&'\n'),
                Some(escaped) => word.get_or_insert_default().push(escaped),
            },
            '$' if letters.peek() == Some(&'\'') => {
                letters.next();
                let word = word.get_or_insert_default();
                loop {
                    match letters.next().ok_or(DraftError::Quote)? {
                        '\'' => break,
                        '\\' => word.push(escaped(&mut letters)?),
                        letter => word.push(letter),
                    }
                }
            }
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match letters.next().ok_or(DraftError::Quote)? {
                        '\'' => break,
                        letter => word.push(letter),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match letters.next().ok_or(DraftError::Quote)? {
                        '"' => break,
                        '\\' => match letters.next().ok_or(DraftError::Quote)? {
                            '\n' => {}
                            letter @ ('"' | '\\' | '$' | '`') => word.push(letter),
                            letter => word.extend(['\\', letter]),
                        },
                        letter => word.push(letter),
                    }
                }
            }
            letter if letter.is_whitespace() => words.extend(word.take()),
            letter => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    Ok(words)
}

/// An escape of `$'...'`.
fn escaped(letters: &mut impl Iterator<Item = char>) -> Result<char, DraftError> {
    Ok(match letters.next().ok_or(DraftError::Quote)? {
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'u' => {
            let digits: String = letters.take(4).collect();
            let code = u32::from_str_radix(&digits, 16).map_err(|_| DraftError::Quote)?;
            char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
        }
        letter => letter,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_a_shell() {
        let text = "curl 'a b' \"c \\\"d\" \\\n  e\\ f $'g\\u0021\\'' -XPOST";
        let expected = ["curl", "a b", "c \"d", "e f", "g!'", "-XPOST"];
        assert_eq!(words(text).unwrap(), expected);
        assert!(matches!(words("curl 'a"), Err(DraftError::Quote)));
    }

    #[test]
    fn a_command_is_read_with_its_method_fields_and_body() {
        let text = "curl -XPUT --header=X:1 https://h/login?x=1 --data-raw 'a=1' -d b=2 -u me:pw";
        let exchange = read(text).unwrap();
        assert_eq!(
            (exchange.method.as_str(), exchange.url.as_str()),
            ("PUT", "https://h/login?x=1")
        );
        assert!(matches!(&exchange.body, Body::Form(fields) if fields.len() == 2));
        assert_eq!(exchange.headers.len(), 2);
        assert!(matches!(read("echo hello"), Err(DraftError::NoCommand)));
    }
}
