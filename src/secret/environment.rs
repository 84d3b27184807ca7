//! The environment variables, injected: a test hands its own over.

use std::collections::BTreeMap;
use std::ffi::OsString;

/// Where environment variables are looked up.
#[derive(Clone, Debug, Default)]
pub enum Environment {
    /// In the environment of this process.
    #[default]
    Process,
    /// In this list alone.
    Given(BTreeMap<String, String>),
}

impl Environment {
    /// An environment of exactly these variables.
    pub fn given<const N: usize>(variables: [(&str, &str); N]) -> Self {
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        Self::Given(variables.into_iter().map(owned).collect())
    }

    /// The value of a variable, if it is set.
    pub fn variable(&self, name: &str) -> Option<OsString> {
        match self {
            Self::Process => std::env::var_os(name),
            Self::Given(variables) => variables.get(name).map(OsString::from),
        }
    }

    /// The variables whose names begin with `prefix`, by name. Names that are no UTF-8 are left
    /// out: no name of ours is one of them.
    pub fn with_prefix(&self, prefix: &str) -> BTreeMap<String, OsString> {
        let all: Vec<(OsString, OsString)> = match self {
            Self::Process => std::env::vars_os().collect(),
            Self::Given(variables) => {
                variables.iter().map(|(name, value)| (name.into(), value.into())).collect()
            }
        };
        let named =
            all.into_iter().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
        named.filter(|(name, _)| name.starts_with(prefix)).collect()
    }
}
