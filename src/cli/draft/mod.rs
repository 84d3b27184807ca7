//! `doorward recipes new`: a recipe drafted from a login that somebody has made, as a curl command
//! or as a HAR file. No value of it but words gets into the draft: what was sent are secrets.

mod curl;
mod gains;
mod har;
mod words;
mod write;

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::Exit;
use crate::recipe::explain::is_plain_name;

/// The longest file that is read, in bytes: archives hold pages and pictures.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// What a draft is made from.
#[derive(Clone, Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub(super) struct Login {
    /// A file with the curl command of the login; `-` is standard input
    #[arg(long, value_name = "FILE")]
    curl: Option<PathBuf>,
    /// A HAR file, saved from a browser's developer tools while somebody logs in
    #[arg(long, value_name = "FILE")]
    har: Option<PathBuf>,
}

/// Why no draft can be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum DraftError {
    #[error("{}: it cannot be read: {error}", path.display())]
    File { path: PathBuf, error: io::Error },
    #[error("{}: it is longer than {FILE_BYTES_MAX} bytes", .0.display())]
    TooLong(PathBuf),
    #[error("this is no HAR file: line {}, column {}", .0.line(), .0.column())]
    Archive(serde_json::Error),
    #[error("a quote is not closed in the command")]
    Quote,
    #[error("there is no curl command with a URL")]
    NoCommand,
    #[error("no request looks like a login: none sends a password")]
    NoLogin,
    #[error("`{0}` is no name for a recipe: small letters, digits and `-`, a letter first")]
    Name(String),
}

/// One request and, where it is known, its answer.
#[derive(Default)]
struct Exchange {
    method: String,
    url: String,
    headers: Vec<(String, String)>,
    body: Body,
    answer: Option<Answer>,
}

struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    text: String,
}

#[derive(Default)]
enum Body {
    #[default]
    Empty,
    Json(Value),
    Form(Vec<(String, String)>),
    Multipart(Vec<(String, String)>),
    Text,
}

/// Drafts a recipe and prints it to `out`.
pub(super) fn new(
    name: &str,
    from: &Login,
    out: &mut impl Write,
    errors: &mut impl Write,
) -> io::Result<Exit> {
    match draft(name, from) {
        Ok(text) => {
            out.write_all(text.as_bytes())?;
            Ok(Exit::Ok)
        }
        Err(error) => {
            writeln!(errors, "error: {error}")?;
            Ok(Exit::Failed)
        }
    }
}

fn draft(name: &str, from: &Login) -> Result<String, DraftError> {
    let is_letter = |byte: u8| byte.is_ascii_lowercase();
    let is_name = name.bytes().next().is_some_and(is_letter)
        && name.bytes().all(|byte| is_letter(byte) || byte.is_ascii_digit() || byte == b'-');
    if !is_name {
        return Err(DraftError::Name(name.to_owned()));
    }
    match (&from.curl, &from.har) {
        (Some(path), _) => {
            let exchange = curl::read(&read(path)?)?;
            write::recipe(name, &[exchange])
        }
        (None, Some(path)) => write::recipe(name, &har::read(&read(path)?)?),
        (None, None) => Err(DraftError::NoLogin),
    }
}

fn read(path: &Path) -> Result<String, DraftError> {
    let mut text = String::new();
    let read = match path.to_str() {
        Some("-") => io::stdin().lock().take(FILE_BYTES_MAX + 1).read_to_string(&mut text),
        _ => std::fs::File::open(path)
            .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)),
    };
    read.map_err(|error| DraftError::File { path: path.to_owned(), error })?;
    match u64::try_from(text.len()).is_ok_and(|length| length <= FILE_BYTES_MAX) {
        true => Ok(text),
        false => Err(DraftError::TooLong(path.to_owned())),
    }
}

impl Body {
    fn read(text: &str, is_json: bool, headers: &[(String, String)]) -> Self {
        if text.is_empty() {
            return Self::Empty;
        }
        let kind = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        let kind = kind.map(|(_, value)| value.to_lowercase()).unwrap_or_default();
        if (is_json || kind.contains("json") || text.starts_with('{'))
            && let Ok(json) = serde_json::from_str(text)
        {
            return Self::Json(json);
        }
        if kind.contains("xml") || kind.starts_with("text/") || !text.contains('=') {
            return Self::Text;
        }
        Self::Form(pairs(text))
    }
}

impl Exchange {
    /// Scheme, host and port.
    fn origin(&self) -> &str {
        let rest = self.url.find("://").map_or(0, |at| at + 3);
        let end = self.url.get(rest..).and_then(|rest| rest.find(['/', '?', '#']));
        end.and_then(|end| self.url.get(..rest + end)).unwrap_or(&self.url)
    }

    fn path(&self) -> &str {
        let rest = self.url.get(self.origin().len()..).unwrap_or_default();
        let path = rest.split(['?', '#']).next().unwrap_or_default();
        if path.is_empty() { "/" } else { path }
    }

    fn query(&self) -> Vec<(String, String)> {
        let query = self.url.split_once('?').map_or("", |(_, query)| query);
        pairs(query.split('#').next().unwrap_or_default())
    }
}

/// The pairs of a form or a query, decoded.
fn pairs(text: &str) -> Vec<(String, String)> {
    let decode =
        |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
    // Without `=` it is no pair, and may be the rest of a password that nobody has encoded.
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    let pairs = pairs.filter(|(name, _)| is_plain_name(name));
    pairs.map(|(name, value)| (decode(name), decode(value))).collect()
}

#[cfg(test)]
mod tests;
