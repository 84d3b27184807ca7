//! Places in a document: JSON pointers (RFC 6901) and how a person reads them.

use std::fmt;

/// A JSON pointer (RFC 6901), such as `/login/steps/0/path`. The empty pointer is the whole
/// document. `Display` writes it as a person would say it: `login.steps[0].path`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pointer(String);

impl Pointer {
    /// The whole document.
    pub fn root() -> Self {
        Self::default()
    }

    /// The place `name` (a key or an index) below this one.
    #[must_use]
    pub fn join(&self, name: impl fmt::Display) -> Self {
        let name = name.to_string().replace('~', "~0").replace('/', "~1");
        Self(format!("{}/{name}", self.0))
    }

    /// The place that holds this one; nothing for the whole document.
    pub fn parent(&self) -> Option<Self> {
        self.0.rsplit_once('/').map(|(holder, _)| Self(holder.to_owned()))
    }

    /// The last key or index, unescaped; nothing for the whole document.
    pub fn name(&self) -> Option<String> {
        self.names().next_back()
    }

    /// The keys and indices from the outside in, unescaped.
    pub fn names(&self) -> impl DoubleEndedIterator<Item = String> + '_ {
        let mut names = self.0.split('/');
        names.next();
        names.map(|name| name.replace("~1", "/").replace("~0", "~"))
    }

    /// The pointer's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Pointer {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, name) in self.names().enumerate() {
            if name.parse::<usize>().is_ok() {
                write!(out, "[{name}]")?;
            } else if position == 0 {
                write!(out, "{name}")?;
            } else {
                write!(out, ".{name}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_reads_like_a_dotted_key_and_keeps_odd_names_apart() {
        let pointer = Pointer::root().join("login").join("steps").join(0).join("a/b~c");
        assert_eq!(pointer.as_str(), "/login/steps/0/a~1b~0c");
        assert_eq!(pointer.to_string(), "login.steps[0].a/b~c");
        assert_eq!(pointer.name().as_deref(), Some("a/b~c"));
        assert_eq!(Pointer::root().parent(), None);
        assert_eq!(Pointer::from("/login").parent(), Some(Pointer::root()));
    }
}
