//! `doorward schema`: the JSON schema of the configuration or of recipes, for editors.

use std::io::{self, Write};

use super::Exit;
use crate::{recipe, settings};

/// Print the JSON schema of the configuration or of recipes, for completion in editors
#[derive(Clone, Debug, clap::Args)]
pub struct Schema {
    /// The schema of a recipe, instead of that of the configuration
    #[arg(long)]
    recipe: bool,
}

impl Schema {
    /// Prints the schema to `out`.
    ///
    /// # Errors
    /// What `out` refuses.
    pub fn run(&self, out: &mut impl Write) -> io::Result<Exit> {
        let schema = match self.recipe {
            true => recipe::schema(),
            false => settings::schema(),
        };
        writeln!(out, "{schema:#}")?;
        Ok(Exit::Ok)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(recipe: bool) -> serde_json::Value {
        let mut out = Vec::new();
        assert_eq!(Schema { recipe }.run(&mut out).unwrap(), Exit::Ok);
        let schema: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
        schema
    }

    #[test]
    fn the_schema_is_json_with_every_section() {
        let schema = printed(false);
        for section in ["listeners", "clients", "upstreams", "routes", "limits"] {
            assert!(schema["properties"][section].is_object(), "{section}");
        }
    }

    #[test]
    fn a_recipes_schema_knows_and_explains_every_key_of_the_built_in_recipes() {
        let schema = printed(true);
        for (name, text) in recipe::BUILT_IN {
            let table: toml::Table = text.parse().unwrap();
            for key in table.keys() {
                let described = &schema["properties"][key]["description"];
                assert!(described.is_string(), "{name}: {key}");
            }
        }
    }
}
