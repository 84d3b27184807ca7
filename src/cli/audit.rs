//! `doorward audit verify`: whether the lines of an audit trail are those that were written.

use std::io::{self, Write};
use std::path::PathBuf;

use serde_json::json;

use super::{Exit, print_chain};
use crate::audit::{self, Break, Hash, Place, Seal, Verified};
use crate::secret::{self, Environment, Source};

/// Read the audit trail
#[derive(Clone, Debug, clap::Args)]
pub struct Audit {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Command {
    Verify(Verify),
}

/// Find the first line that was changed, removed, inserted or moved
#[derive(Clone, Debug, clap::Args)]
struct Verify {
    /// The files of one trail, the oldest first
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// The file with the key of the trail, if it has one
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// A hash that is known from before: lines that were cut off at the end show by it
    #[arg(long, value_name = "HASH")]
    known: Option<Hash>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Audit {
    /// Prints what was found to `out`, why nothing could be found to `errors`.
    ///
    /// # Errors
    /// What `out` and `errors` refuse.
    pub fn run(&self, out: &mut impl Write, errors: &mut impl Write) -> io::Result<Exit> {
        let Command::Verify(verify) = &self.command;
        verify.run(out, errors)
    }
}

impl Verify {
    fn run(&self, out: &mut impl Write, errors: &mut impl Write) -> io::Result<Exit> {
        let seal = match &self.key_file {
            None => Seal::Plain,
            Some(path) => match Source::strict(secret::Place::File(path.clone()))
                .read(&Environment::Process)
            {
                Ok(key) => Seal::keyed(&key.text),
                Err(error) => {
                    print_chain(&error, errors);
                    return Ok(Exit::Config);
                }
            },
        };
        let found = audit::verify(&self.files, &seal, self.known);
        match (&found, self.json) {
            (Ok(verified), true) => writeln!(out, "{}", document(verified))?,
            (Ok(verified), false) => lines(verified, out)?,
            (Err(broken), true) => writeln!(out, "{}", broken_document(broken))?,
            (Err(broken), false) => writeln!(out, "{broken}")?,
        }
        Ok(if found.is_ok() { Exit::Ok } else { Exit::Failed })
    }
}

fn lines(verified: &Verified, out: &mut impl Write) -> io::Result<()> {
    let Verified { lines, first, last, after, last_hash, keyed, unstopped, cut_off, lost } =
        verified;
    let counted = |count: u64| match count {
        1 => "1 line".to_owned(),
        count => format!("{count} lines"),
    };
    writeln!(out, "good: {}, and each follows the one before it", counted(*lines))?;
    writeln!(out, "first      number {} at {}", first.0, first.1)?;
    writeln!(out, "last       number {} at {}", last.0, last.1)?;
    if *after != Hash::NONE {
        writeln!(out, "after      {after}: files before these belong to the same chain")?;
    }
    let sealed = match keyed {
        true => "with the key: nobody without it has made this chain",
        false => "without a key: whoever can write the files can make such a chain",
    };
    writeln!(out, "sealed     {sealed}")?;
    for place in unstopped {
        writeln!(
            out,
            "unstopped  {place}: a gateway starts here, and the one before it has not stopped: it \
             was killed, or lines were cut off"
        )?;
    }
    for place in cut_off {
        writeln!(
            out,
            "cut off    {place}: a part of a line, which a crash or a full disk has left, or which \
             is being written"
        )?;
    }
    if *lost > 0 {
        writeln!(out, "lost       {}, as the trail itself says", counted(*lost))?;
    }
    writeln!(out, "last hash  {last_hash}: lines that were cut off behind it would not show")
}

fn document(verified: &Verified) -> serde_json::Value {
    let Verified { lines, first, last, after, last_hash, keyed, unstopped, cut_off, lost } =
        verified;
    json!({
        "version": 1,
        "good": true,
        "lines": lines,
        "first": { "seq": first.0, "at": first.1 },
        "last": { "seq": last.0, "at": last.1 },
        "after": after.to_string(),
        "last_hash": last_hash.to_string(),
        "keyed": keyed,
        "unstopped": unstopped.iter().map(place).collect::<Vec<_>>(),
        "cut_off": cut_off.iter().map(place).collect::<Vec<_>>(),
        "lost": lost,
    })
}

fn broken_document(broken: &Break) -> serde_json::Value {
    json!({
        "version": 1,
        "good": false,
        "break": {
            "at": place(&broken.place),
            "code": broken.fault.code(),
            "detail": broken.fault.to_string(),
        },
    })
}

fn place(place: &Place) -> serde_json::Value {
    let line = (place.line > 0).then_some(place.line);
    json!({ "file": place.file.display().to_string(), "line": line })
}
