//! `doorward key new NAME`: a new client key, shown once, and what to keep of it.

use std::io::{self, Write};

use jiff::Timestamp;

use super::Exit;
use crate::access::key::{ClientId, ClientKey};

/// Make client keys
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
}

impl Key {
    /// Prints the key alone to `out`, so that a script can take it, and the configuration lines
    /// to `notes`.
    ///
    /// # Errors
    /// What `out` and `notes` refuse, and a machine without random bytes.
    pub fn run(&self, out: &mut impl Write, notes: &mut impl Write) -> io::Result<Exit> {
        let Command::New { name, expires } = &self.command;
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

    #[test]
    fn the_printed_lines_accept_the_printed_key() {
        let line = Line::try_parse_from(["doorward", "new", "alice"]).unwrap();
        let (mut out, mut notes) = (Vec::new(), Vec::new());
        assert_eq!(line.key.run(&mut out, &mut notes).unwrap(), Exit::Ok);
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
        line.unwrap().key.run(&mut out, &mut notes).unwrap();
        let table: toml::Table = String::from_utf8(notes).unwrap().parse().unwrap();
        let key = &table["clients"]["alice"]["keys"][0];
        assert_eq!(key["expires"].as_str(), Some("2027-01-31T00:00:00Z"));
        assert!(key["digest"].as_str().unwrap().starts_with("sha256:"));
    }

    #[test]
    fn a_name_that_no_key_can_hold_is_a_fault_of_usage() {
        let error = Line::try_parse_from(["doorward", "new", "Al ice"]).unwrap_err();
        assert_eq!(error.exit_code(), Exit::Usage as i32);
        assert!(error.to_string().contains("lower-case letters"), "{error}");
    }
}
