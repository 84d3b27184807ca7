//! `doorward key`: a new client key, shown once, and what to keep of it; keys that are revoked; the
//! keys that there are.

pub(super) mod list;
mod revoke;

use std::io::{self, Read, Write};

use jiff::Timestamp;

use super::Exit;
use crate::access::key::{ClientId, ClientKey};
use crate::diagnosis::Paint;
use crate::secret::Environment;

/// Make, revoke and list client keys
#[derive(Clone, Debug, clap::Args)]
pub struct Key {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Command {
    /// Print a new key for a client, and the configuration lines with its digest
    New {
        /// The client's name
        name: ClientId,
        /// When the key stops being good: a time with its offset, such as 2027-01-31T00:00:00Z
        #[arg(long, value_name = "TIME")]
        expires: Option<Timestamp>,
    },
    Revoke(revoke::Revoke),
    List(list::List),
}

impl Key {
    /// Prints results to `out`, and faults and notes to `notes`. A key that is to be revoked may
    /// come by `input`.
    ///
    /// # Errors
    /// What `input` does not give, what `out` and `notes` refuse, and a machine without random
    /// bytes.
    pub fn run(
        &self,
        environment: Environment,
        paint: Paint,
        input: &mut impl Read,
        out: &mut impl Write,
        notes: &mut impl Write,
    ) -> io::Result<Exit> {
        match &self.command {
            Command::New { name, expires } => Self::make(name, expires.as_ref(), out, notes),
            Command::Revoke(revoke) => revoke.run(environment, paint, input, out, notes),
            Command::List(list) => list.run(environment, paint, out, notes),
        }
    }

    /// Prints the key alone to `out`, so that a script can take it, and the configuration lines
    /// to `notes`.
    fn make(
        name: &ClientId,
        expires: Option<&Timestamp>,
        out: &mut impl Write,
        notes: &mut impl Write,
    ) -> io::Result<Exit> {
        let key = ClientKey::generate(name.clone()).map_err(io::Error::other)?;
        writeln!(out, "{}", key.expose())?;
        out.flush()?;
        writeln!(notes)?;
        writeln!(
            notes,
            "# The key above is shown once. Only its digest is kept, in doorward.toml:"
        )?;
        writeln!(notes, "[clients.{name}]")?;
        let digest = key.digest();
        match expires {
            None => writeln!(notes, "keys = [\"{digest}\"]")?,
            Some(end) => {
                writeln!(notes, "keys = [{{ digest = \"{digest}\", expires = \"{end}\" }}]")?;
            }
        }
        writeln!(
            notes,
            "# All that the routes lead to; `methods`, `paths`, `upstreams`, `accounts` bound it."
        )?;
        writeln!(notes, "grants = [{{}}]")?;
        Ok(Exit::Ok)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        key: Key,
    }

    fn run(key: &Key, out: &mut Vec<u8>, notes: &mut Vec<u8>) -> Exit {
        let environment = Environment::given([]);
        key.run(environment, Paint::Plain, &mut io::empty(), out, notes).unwrap()
    }

    #[test]
    fn the_printed_lines_accept_the_printed_key() {
        let line = Line::try_parse_from(["doorward", "new", "alice"]).unwrap();
        let (mut out, mut notes) = (Vec::new(), Vec::new());
        assert_eq!(run(&line.key, &mut out, &mut notes), Exit::Ok);
        let key = ClientKey::parse(String::from_utf8(out).unwrap().trim_end()).unwrap();
        let notes = String::from_utf8(notes).unwrap();
        assert!(!notes.contains(key.expose()));
        let table: toml::Table = notes.parse().unwrap();
        let digest = table["clients"]["alice"]["keys"][0].as_str().unwrap();
        assert_eq!(digest.parse(), Ok(key.digest()));
        assert_eq!(table["clients"]["alice"]["grants"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn the_end_of_a_key_is_printed_beside_its_digest() {
        let expires = ["--expires", "2027-01-31T01:00:00+01:00"];
        let line = Line::try_parse_from([&["doorward", "new", "alice"][..], &expires].concat());
        let (mut out, mut notes) = (Vec::new(), Vec::new());
        run(&line.unwrap().key, &mut out, &mut notes);
        let table: toml::Table = String::from_utf8(notes).unwrap().parse().unwrap();
        let key = &table["clients"]["alice"]["keys"][0];
        assert_eq!(key["expires"].as_str(), Some("2027-01-31T00:00:00Z"));
        assert!(key["digest"].as_str().unwrap().starts_with("sha256:"));
    }

    #[test]
    fn a_name_that_no_key_can_hold_is_a_fault_of_usage() {
        let error = Line::try_parse_from(["doorward", "new", "Al ice"]).unwrap_err();
        assert_eq!(error.exit_code(), i32::from(Exit::Usage.code()));
        assert!(error.to_string().contains("lower-case letters"), "{error}");
    }
}
