//! What shows who a client is, besides keys: its certificates, and its processes on this machine.

use nix::unistd::{Group, User};

use super::Client;
use super::meaning::{Meaning, under};
use super::written;
use crate::access::identity::{SubjectAltName, UnixOwner};

/// What the kernel says for users and groups that have no number here, as those of another user
/// namespace (`/proc/sys/kernel/overflowuid`): all of them have it.
const OVERFLOW_ID: u32 = 65_534;

/// `(uid_t) -1`, which is nobody's.
const NO_ID: u32 = u32::MAX;

impl Meaning<'_> {
    pub(super) fn certificates(
        &mut self,
        at: &str,
        written: Option<Vec<String>>,
        others: &[Client],
    ) -> Vec<SubjectAltName> {
        let mut names = Vec::new();
        for (index, text) in written.unwrap_or_default().iter().enumerate() {
            let at = under(&under(at, "certificates"), &index.to_string());
            let name = match text.parse::<SubjectAltName>() {
                Ok(name) => name,
                Err(error) => {
                    self.fault(&at, error.to_string());
                    continue;
                }
            };
            let other = others.iter().find(|other| other.certificates.contains(&name));
            if names.contains(&name) {
                self.fault(&at, "this name stands here twice");
            } else if let Some(other) = other {
                self.fault(&at, format!("client `{}` has the same name", other.id));
            } else {
                names.push(name);
            }
        }
        names
    }

    pub(super) fn unix(
        &mut self,
        at: &str,
        written: Option<Vec<written::UnixOwner>>,
        others: &[Client],
    ) -> Vec<UnixOwner> {
        let mut owners = Vec::new();
        for (index, written) in written.unwrap_or_default().iter().enumerate() {
            let at = under(&under(at, "unix"), &index.to_string());
            let owner = match owner(written) {
                Ok(owner) => owner,
                Err((key, why)) => {
                    let at = key.map_or_else(|| at.clone(), |key| under(&at, key));
                    self.fault(&at, why);
                    continue;
                }
            };
            if owners.contains(&owner) {
                self.fault(&at, "this stands here twice");
            } else if let Some(other) = others.iter().find(|other| other.unix.contains(&owner)) {
                self.fault(&at, format!("client `{}` has the same user or group", other.id));
            } else {
                owners.push(owner);
            }
        }
        owners
    }
}

type Wrong = (Option<&'static str>, String);

/// Whose processes are meant; else at which key what is wrong.
fn owner(written: &written::UnixOwner) -> Result<UnixOwner, Wrong> {
    let written::UnixOwner { user, uid, group, gid } = written;
    match (user, uid, group, gid) {
        (Some(name), None, None, None) => {
            let found = User::from_name(name).map_err(|error| unknown("user", name, error))?;
            let user = found.ok_or_else(|| nobody("user", name))?;
            id("user", user.uid.as_raw()).map(UnixOwner::User)
        }
        (None, Some(uid), None, None) => id("uid", *uid).map(UnixOwner::User),
        (None, None, Some(name), None) => {
            let found = Group::from_name(name).map_err(|error| unknown("group", name, error))?;
            let group = found.ok_or_else(|| nobody("group", name))?;
            id("group", group.gid.as_raw()).map(UnixOwner::Group)
        }
        (None, None, None, Some(gid)) => id("gid", *gid).map(UnixOwner::Group),
        _ => Err((None, "exactly one of `user`, `uid`, `group` and `gid` belongs here".to_owned())),
    }
}

fn id(key: &'static str, id: u32) -> Result<u32, Wrong> {
    match id {
        NO_ID => Err((Some(key), "this is nobody's number".to_owned())),
        OVERFLOW_ID => {
            let why =
                format!("{OVERFLOW_ID} stands for everybody whom the kernel has no number for");
            Err((Some(key), why))
        }
        id => Ok(id),
    }
}

fn nobody(key: &'static str, name: &str) -> Wrong {
    (Some(key), format!("this machine has no {key} `{name}`"))
}

fn unknown(key: &'static str, name: &str, error: nix::errno::Errno) -> Wrong {
    (Some(key), format!("{key} `{name}` cannot be looked up: {}", error.desc()))
}
