//! `doorward schema`: the JSON schema of the configuration, for editors.

use std::io::{self, Write};

use super::Exit;
use crate::settings;

/// Print the JSON schema of the configuration, for completion in editors
#[derive(Clone, Debug, clap::Args)]
pub struct Schema {}

impl Schema {
    /// Prints the schema to `out`.
    ///
    /// # Errors
    /// What `out` refuses.
    pub fn run(&self, out: &mut impl Write) -> io::Result<Exit> {
        writeln!(out, "{:#}", settings::schema())?;
        Ok(Exit::Ok)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_is_json_with_every_section() {
        let mut out = Vec::new();
        assert_eq!(Schema {}.run(&mut out).unwrap(), Exit::Ok);
        let schema: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
        for section in ["listeners", "clients", "upstreams", "routes", "limits"] {
            assert!(schema["properties"][section].is_object(), "{section}");
        }
    }
}
