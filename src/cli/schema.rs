//! `doorward schema`: the JSON schema of the configuration, of recipes or of conformance files, for
//! editors.

use std::io::{self, Write};

use super::Exit;
use crate::{conformance, recipe, settings};

/// Print the JSON schema of the configuration, of recipes or of conformance files, for completion in
/// editors
#[derive(Clone, Debug, clap::Args)]
pub struct Schema {
    /// The schema of a recipe, instead of that of the configuration
    #[arg(long, conflicts_with = "conformance")]
    recipe: bool,
    /// The schema of a recipe's conformance file, instead of that of the configuration
    #[arg(long)]
    conformance: bool,
}

impl Schema {
    /// Prints the schema to `out`.
    ///
    /// # Errors
    /// What `out` refuses.
    pub fn run(&self, out: &mut impl Write) -> io::Result<Exit> {
        let schema = match self {
            Self { recipe: true, .. } => recipe::schema(),
            Self { conformance: true, .. } => conformance::schema(),
            Self { .. } => settings::schema(),
        };
        writeln!(out, "{schema:#}")?;
        Ok(Exit::Ok)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(schema: Schema) -> serde_json::Value {
        let mut out = Vec::new();
        assert_eq!(schema.run(&mut out).unwrap(), Exit::Ok);
        let schema: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
        schema
    }

    #[test]
    fn the_schema_is_json_with_every_section() {
        let schema = printed(Schema { recipe: false, conformance: false });
        for section in ["listeners", "clients", "upstreams", "routes", "limits"] {
            assert!(schema["properties"][section].is_object(), "{section}");
        }
    }

    #[test]
    fn a_recipes_schema_knows_and_explains_every_key_of_the_built_in_recipes() {
        let schema = printed(Schema { recipe: true, conformance: false });
        knows_every_key(&schema, recipe::BUILT_IN);
    }

    /// Fails when an editor would mark what is right in a conformance file.
    #[test]
    fn a_conformance_files_schema_knows_and_explains_every_key_of_the_built_in_ones() {
        let schema = printed(Schema { recipe: false, conformance: true });
        knows_every_key(&schema, conformance::BUILT_IN);
    }

    fn knows_every_key(schema: &serde_json::Value, files: &[(&str, &str)]) {
        for (name, text) in files {
            let table: toml::Table = text.parse().unwrap();
            for key in table.keys() {
                let described = &schema["properties"][key]["description"];
                assert!(described.is_string(), "{name}: {key}");
            }
        }
    }
}
