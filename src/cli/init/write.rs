//! The files: nothing that is there is overwritten, and what is secret is readable by its owner
//! alone.

use std::fmt::Write as _;
use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use zeroize::Zeroizing;

use super::plan::{Plan, Secret};
use crate::recipe::FieldKind;
use crate::settings;

const SCHEMA: &str = "doorward.schema.json";
const SECRETS: &str = "secrets";
const STATE_KEY: &str = "secrets/state_key";
const STATE: &str = "state";
const ACCOUNT: &str = "main";

/// As many random bits as the cipher's key has.
const STATE_KEY_BYTES: usize = 32;

/// Comments are wrapped at so many columns.
const COLUMNS: usize = 98;

/// Why something is not written.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    #[error("{} is there already, and nothing was written", .0.display())]
    Exists(PathBuf),
    #[error("{} cannot be written", .path.display())]
    Unwritable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the machine gave no random bytes")]
    NoRandomness,
}

/// Who may read a file.
#[derive(Clone, Copy)]
enum Readers {
    Everybody,
    Owner,
}

struct File {
    path: PathBuf,
    content: Zeroizing<String>,
    readers: Readers,
    what: &'static str,
}

/// Writes everything; the paths, and what each is.
pub(super) fn write(plan: &Plan) -> Result<Vec<(PathBuf, &'static str)>, WriteError> {
    let mut files = Vec::new();
    let mut file = |name: &str, content: String, readers, what| {
        let path = match plan.directory.as_path() == Path::new(".") {
            true => PathBuf::from(name),
            false => plan.directory.join(name),
        };
        files.push(File { path, content: Zeroizing::new(content), readers, what });
    };
    for (name, secret) in &plan.secrets {
        if let Secret::Text(text) = secret {
            let what = "only you can read it; doorward.toml names it";
            file(&secret_file(plan, name), text.expose().to_owned(), Readers::Owner, what);
        }
    }
    file(STATE_KEY, random()?, Readers::Owner, "seals what is kept over a restart");
    let schema = format!("{:#}\n", settings::schema());
    file(SCHEMA, schema, Readers::Everybody, "completion in editors");
    file("doorward.toml", text(plan), Readers::Everybody, "every key that it uses is explained");
    // First all are looked at: half of them would be worse than none.
    if let Some(file) = files.iter().find(|file| file.path.symlink_metadata().is_ok()) {
        return Err(WriteError::Exists(file.path.clone()));
    }
    folder(&plan.directory, 0o777)?;
    folder(&plan.directory.join(SECRETS), 0o700)?;
    for file in &files {
        create(file).map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => WriteError::Exists(file.path.clone()),
            _ => WriteError::Unwritable { path: file.path.clone(), source },
        })?;
    }
    Ok(files.into_iter().rev().map(|file| (file.path, file.what)).collect())
}

fn folder(path: &Path, mode: u32) -> Result<(), WriteError> {
    let made = DirBuilder::new().recursive(true).mode(mode).create(path);
    made.map_err(|source| WriteError::Unwritable { path: path.to_owned(), source })
}

fn create(file: &File) -> io::Result<()> {
    let mode = match file.readers {
        Readers::Everybody => 0o644,
        Readers::Owner => 0o600,
    };
    let mut created =
        OpenOptions::new().write(true).create_new(true).mode(mode).open(&file.path)?;
    created.write_all(file.content.as_bytes())?;
    created.sync_all()
}

fn random() -> Result<String, WriteError> {
    let mut bytes = Zeroizing::new([0; STATE_KEY_BYTES]);
    aws_lc_rs::rand::fill(bytes.as_mut()).map_err(|_| WriteError::NoRandomness)?;
    Ok(HEXLOWER.encode(bytes.as_ref()))
}

fn secret_file(plan: &Plan, field: &str) -> String {
    format!("{SECRETS}/{}_{field}", plan.upstream)
}

/// The configuration.
fn text(plan: &Plan) -> String {
    let mut text = format!("#:schema ./{SCHEMA}\n");
    let title = &plan.asks.title;
    comment(
        &mut text,
        &format!(
            "Doorward in front of {title}. All other keys: `doorward schema`, docs/CONFIGURATION.md. `doorward check` judges this file."
        ),
    );

    text.push_str("\n[listeners.main]\n");
    key(&mut text, &["listeners", "main", "address"], &plan.listen);
    key(&mut text, &["listeners", "main", "access"], "open");

    let upstream = &plan.upstream;
    line(&mut text, &format!("\n[upstreams.{upstream}]"));
    key(&mut text, &["upstreams", upstream, "url"], &plan.url);
    key(&mut text, &["upstreams", upstream, "recipe"], &plan.recipe);
    for parameter in &plan.asks.parameters {
        comment(&mut text, &parameter.help);
        let (name, given) = (&parameter.name, plan.texts.get(&parameter.name));
        let off = if given.is_some() { "" } else { "# " };
        let value = given.or(parameter.default.as_ref()).map_or("", String::as_str);
        line(&mut text, &format!("{off}parameters.{name} = {}", quoted(value)));
    }

    line(&mut text, &format!("\n[upstreams.{upstream}.accounts.{ACCOUNT}]"));
    for field in &plan.asks.fields {
        comment(&mut text, &field.help);
        let name = &field.name;
        let reference = |file: &str| format!("{name} = {{ file = {} }}", quoted(file));
        match (field.kind, plan.secrets.get(name), plan.texts.get(name)) {
            (_, Some(Secret::File(file)), _) => {
                line(&mut text, &reference(&file.to_string_lossy()))
            }
            (_, Some(Secret::Text(_)), _) => line(&mut text, &reference(&secret_file(plan, name))),
            (_, _, Some(given)) => line(&mut text, &format!("{name} = {}", quoted(given))),
            (FieldKind::Secret, None, None) => {
                line(&mut text, &format!("# {}", reference(&secret_file(plan, name))));
            }
            (_, None, None) => line(&mut text, &format!("# {name} = \"\"")),
        }
    }

    text.push('\n');
    comment(&mut text, &explained(&["routes"]));
    line(&mut text, "[[routes]]");
    key(&mut text, &["routes", "upstream"], upstream);

    text.push('\n');
    comment(&mut text, &explained(&["state"]));
    line(&mut text, "[state]");
    key(&mut text, &["state", "path"], STATE);
    comment(&mut text, &explained(&["state", "key"]));
    line(&mut text, &format!("key = {{ file = {} }}", quoted(STATE_KEY)));
    text
}

fn explained(path: &[&str]) -> String {
    settings::explanation(path).unwrap_or_default()
}

/// A key with its text.
fn key(text: &mut String, path: &[&str], value: &str) {
    comment(text, &explained(path));
    let name = path.last().copied().unwrap_or_default();
    line(text, &format!("{name} = {}", quoted(value)));
}

fn line(text: &mut String, line: &str) {
    // Writing to a text cannot fail.
    _ = writeln!(text, "{line}");
}

fn comment(text: &mut String, words: &str) {
    let mut row = String::new();
    for word in words.split_whitespace() {
        if !row.is_empty() && row.len() + 1 + word.len() > COLUMNS {
            line(text, &format!("# {row}"));
            row.clear();
        }
        if !row.is_empty() {
            row.push(' ');
        }
        row.push_str(word);
    }
    if !row.is_empty() {
        line(text, &format!("# {row}"));
    }
}

/// A text as TOML writes it.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}
