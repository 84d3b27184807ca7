//! Who may log in, and the lock against guessing.

use std::collections::BTreeMap;
use std::time::Duration;

use super::LOGIN;
use crate::clock::Moment;
use crate::emulator::user::{Kind, User};

/// The trusted-authentication key of the cluster.
pub const SECRET_KEY: &str = "trusted-key-0f8b63c1-5d2e-4b7a-9c11";

/// The orgs of the cluster: number and name.
pub const ORGS: [(u32, &str); 2] = [(0, "Primary"), (1, "Sandbox")];

/// So many refused passwords in a row lock an account (ThoughtSpot documentation, "Security
/// events").
const REFUSALS_MAX: u32 = 4;

/// How long the lock holds.
const LOCKED_FOR: Duration = Duration::from_secs(60 * 60);

/// Everybody the cluster knows, by login.
#[derive(Debug, Default)]
pub struct Accounts(BTreeMap<String, Account>);

/// Somebody the cluster knows.
#[derive(Debug)]
pub struct Account {
    user: User,
    /// The GUID, the same in every run.
    pub id: String,
    pub display_name: String,
    /// May end other people's sessions.
    pub administrator: bool,
    /// The orgs open to this user.
    pub orgs: Vec<u32>,
    /// Where a login without an org leads to.
    pub last_org: u32,
    refusals: u32,
    locked_until: Option<Moment>,
}

/// What somebody proves a login with.
#[derive(Clone, Copy)]
pub enum Proof<'a> {
    Password(&'a str),
    SecretKey(&'a str),
}

/// Why a proof was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Unknown user, wrong password or wrong key.
    Wrong,
    /// The same, and it was the one that locked the account.
    WrongAndLocked,
    /// The account is locked.
    Locked,
    /// The user has a second factor or logs in elsewhere: no password is taken.
    NotByPassword,
}

impl Accounts {
    /// Adds or replaces an account; says whether somebody's password has changed by that.
    pub fn add(&mut self, user: User) -> bool {
        let account = Account::new(user);
        let password = account.user.password.clone();
        let before = self.0.insert(account.user.login.clone(), account);
        before.is_some_and(|before| before.user.password != password)
    }

    /// Makes the account that a trusted login asked for, if there is none.
    pub fn add_unless_known(&mut self, login: &str) {
        if !self.0.contains_key(login) {
            self.add(User::new(login, ""));
        }
    }

    pub fn of(&self, login: &str) -> Option<&Account> {
        self.0.get(login)
    }

    pub fn of_mut(&mut self, login: &str) -> Option<&mut Account> {
        self.0.get_mut(login)
    }

    pub fn all(&self) -> impl Iterator<Item = &Account> {
        self.0.values()
    }

    /// Whether this proof is one for this login. Refused passwords are counted.
    pub fn prove(&mut self, login: &str, proof: Proof<'_>, now: Moment) -> Result<(), Refused> {
        let account = self.0.get_mut(login).ok_or(Refused::Wrong)?;
        if matches!(account.user.kind, Kind::Locked) {
            return Err(Refused::Locked);
        }
        match proof {
            Proof::SecretKey(SECRET_KEY) => Ok(()),
            Proof::SecretKey(_) => Err(Refused::Wrong),
            Proof::Password(password) => account.prove_by_password(password, now),
        }
    }
}

impl Account {
    fn new(user: User) -> Self {
        let seeded = user.login == LOGIN;
        Self {
            id: stable_guid(&user.login),
            display_name: if seeded { "Ana Lyst".to_owned() } else { user.login.clone() },
            administrator: seeded,
            orgs: if seeded { vec![0, 1] } else { vec![0] },
            last_org: 0,
            refusals: 0,
            locked_until: None,
            user,
        }
    }

    pub fn login(&self) -> &str {
        &self.user.login
    }

    fn prove_by_password(&mut self, password: &str, now: Moment) -> Result<(), Refused> {
        if self.locked_until.is_some_and(|until| now < until) {
            return Err(Refused::Locked);
        }
        if matches!(self.user.kind, Kind::SecondFactor { .. } | Kind::SingleSignOn) {
            return Err(Refused::NotByPassword);
        }
        if !self.user.password.is_empty() && self.user.password == password {
            self.refusals = 0;
            self.locked_until = None;
            return Ok(());
        }
        self.refusals += 1;
        if self.refusals < REFUSALS_MAX {
            return Err(Refused::Wrong);
        }
        self.refusals = 0;
        self.locked_until = Some(now + LOCKED_FOR);
        Err(Refused::WrongAndLocked)
    }
}

/// A GUID that depends on the name alone: an object's identity, not a credential.
pub fn stable_guid(name: &str) -> String {
    use aws_lc_rs::digest::{SHA256, digest};

    let digits = data_encoding::HEXLOWER.encode(digest(&SHA256, name.as_bytes()).as_ref());
    grouped(&digits)
}

/// The first 32 digits in the five groups of a GUID.
pub fn grouped(digits: &str) -> String {
    let groups = [0..8, 8..12, 12..16, 16..20, 20..32];
    groups.map(|group| digits.get(group).unwrap_or_default()).join("-")
}
