//! The document vaults that are there from the start.

use serde_json::{Value, json};

/// The vault "Sample Vault".
pub const VAULT: &str = "{C840BE1A-5B47-4AC0-8EF7-835C166C8E24}";

/// A vault called [`AMBIGUOUS_VAULT_NAME`].
pub const OTHER_VAULT: &str = "{35A86EFA-6B40-4718-93C1-1B76816EC724}";

/// Two vaults have this name.
pub const AMBIGUOUS_VAULT_NAME: &str = "Archive";

/// A vault.
#[derive(Debug, PartialEq, Eq)]
pub struct Vault {
    pub guid: &'static str,
    pub name: &'static str,
}

pub const VAULTS: [Vault; 3] = [
    Vault { guid: VAULT, name: "Sample Vault" },
    Vault { guid: OTHER_VAULT, name: AMBIGUOUS_VAULT_NAME },
    Vault { guid: "{0B7C1D4E-92A3-4F65-8B1D-6E5F4A3C2B19}", name: AMBIGUOUS_VAULT_NAME },
];

impl Vault {
    /// The vault of a GUID, in braces or not.
    pub fn by_guid(guid: &str) -> Option<&'static Vault> {
        let bare = |guid: &str| guid.trim_matches(['{', '}']).to_ascii_uppercase();
        VAULTS.iter().find(|vault| bare(vault.guid) == bare(guid))
    }

    /// Every vault of this name.
    pub fn by_name(name: &str) -> Vec<&'static Vault> {
        VAULTS.iter().filter(|vault| vault.name.eq_ignore_ascii_case(name)).collect()
    }

    /// The `Vault` struct; its `Authentication` is a live token for this vault.
    pub fn described(&self, token: Option<&str>) -> Value {
        json!({
            "Name": self.name,
            "GUID": self.guid,
            "Authentication": token,
            "DNSNames": [],
        })
    }
}
