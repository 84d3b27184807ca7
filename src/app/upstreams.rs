//! Upstreams as settings tell them, made anew or taken over from what is in force: what has not
//! changed keeps its id, its accounts and its connections.

use std::path::Path;
use std::sync::Arc;

use super::build::{self, BuildError};
use super::ids::Ids;
use super::reach::Outside;
use super::secrets::{Field, Kept};
use super::{way, words};
use crate::recipe::{FieldKind, Recipe, Site};
use crate::secret::{Environment, Fingerprint, SecretText};
use crate::session::{
    self, Account, AccountId, Helper, Places, Sites, Tenant, Transport, Upstream, UpstreamId,
    recipe_print,
};
use crate::settings::{self, Authorities, Credentials, UpstreamTls, Way};
use crate::upstream::Pool;

/// An upstream, and what its connections were made of.
#[derive(Clone, Debug)]
pub(super) struct Built {
    pub(super) upstream: Arc<Upstream>,
    way: Fingerprint,
}

/// What upstreams are made of.
pub(super) struct Building<'a> {
    pub(super) credentials: &'a Credentials,
    pub(super) outside: &'a Outside,
    /// Of which login helpers see a little.
    pub(super) environment: &'a Environment,
    /// The most of an answer that the control side reads, in bytes.
    pub(super) answer_bytes_max: usize,
    /// The upstreams before; none at a start.
    pub(super) before: &'a [Built],
    /// Their ids.
    pub(super) ids_before: &'a Ids,
}

/// An account whose secrets are others than those that it logs in with.
pub(super) struct Changed {
    pub(super) account: Arc<Account>,
    pub(super) credentials: session::Credentials,
}

/// The upstreams of a configuration, with what has to be done about their accounts.
#[derive(Default)]
pub(super) struct Upstreams {
    pub(super) built: Vec<Built>,
    /// Accounts that rotate at once: what has changed of them nobody looks after.
    pub(super) changed: Vec<Changed>,
    /// Accounts whose secrets are looked after.
    pub(super) kept: Vec<Kept>,
}

impl Upstreams {
    /// The upstreams as the broker and the data path know them.
    pub(super) fn all(&self) -> Vec<Arc<Upstream>> {
        self.built.iter().map(|built| Arc::clone(&built.upstream)).collect()
    }

    /// Their recipes, in the order of the settings.
    pub(super) fn recipes(&self) -> Vec<Arc<Recipe>> {
        self.built.iter().map(|built| Arc::clone(&built.upstream.recipe)).collect()
    }
}

impl Building<'_> {
    /// Makes all of them, and gives them ids.
    ///
    /// # Errors
    /// See [`BuildError`].
    pub(super) fn all(
        &self,
        written: &[settings::Upstream],
        ids: &mut Ids,
    ) -> Result<Upstreams, BuildError> {
        let mut upstreams = Upstreams::default();
        for written in written {
            let built = self.one(written, ids, &mut upstreams)?;
            upstreams.built.push(built);
        }
        Ok(upstreams)
    }

    /// Places that logins tell of, where the recipe lets them.
    fn places(&self, written: &settings::Upstream, recipe: &Recipe) -> Places {
        if recipe.session.base.is_none() {
            return Places::new(|_| None);
        }
        let (written, credentials) = (written.clone(), self.credentials.clone());
        let outside = self.outside.clone();
        Places::new(move |site| way::site(&written, site, &credentials, &outside).ok())
    }

    fn sites(&self, written: &settings::Upstream, recipe: &Recipe) -> Result<Sites, BuildError> {
        let pool = |site: &Site| {
            let origin = way::site(written, site, self.credentials, self.outside)?;
            Ok((site.clone(), Pool::new(Arc::new(origin))))
        };
        recipe.sites().into_iter().map(pool).collect()
    }

    fn helper(&self, written: &settings::Upstream) -> Option<Helper> {
        let command = written.login_helper.clone()?;
        Some(Helper { command, environment: self.environment.clone() })
    }

    fn one(
        &self,
        written: &settings::Upstream,
        ids: &mut Ids,
        upstreams: &mut Upstreams,
    ) -> Result<Built, BuildError> {
        let recipe = Arc::new(build::recipe(written)?);
        let recipe_print = recipe_print(&recipe);
        let id = ids.give_upstream(self.ids_before, &written.name, meaning(written, recipe_print));
        let mut known = self.before.iter();
        let known = known.find(|known| *known.upstream.name == *written.name);
        let way = way_print(written, self.credentials)?;
        let (origin, pool) = match known.filter(|known| known.way == way) {
            Some(Built { upstream, .. }) => {
                (Arc::clone(&upstream.origin), Arc::clone(upstream.transport.pool()))
            }
            None => {
                let origin = Arc::new(way::origin(written, self.credentials, self.outside)?);
                let pool = Arc::new(Pool::new(Arc::clone(&origin)));
                (origin, pool)
            }
        };
        let mut accounts = Vec::new();
        for account in &written.accounts {
            let fields = fields(written, account, self.credentials)?;
            let credentials = credentials(&recipe, &fields);
            let meaning = account_meaning(id, &recipe, &credentials);
            let name = (written.name.as_str(), account.name.as_str());
            let id = ids.give_account(self.ids_before, name, meaning);
            let known = known.and_then(|known| known.upstream.account(id));
            let made = match known {
                None => new_account(id, &account.name, &recipe, credentials),
                Some(known) => Arc::clone(known),
            };
            upstreams.look_after(&made, written, &recipe, fields);
            accounts.push(made);
        }
        let upstream = Upstream {
            id,
            name: Arc::from(written.name.as_str()),
            recipe_print,
            recipe: Arc::clone(&recipe),
            origin,
            tenant: tenant(written),
            accounts,
            places: self.places(written, &recipe),
            transport: Transport::new(pool, self.answer_bytes_max)
                .with_sites(self.sites(written, &recipe)?)
                .with_helper(self.helper(written)),
            streams: words::streams(written.streams),
            search_bodies: words::search_bodies(written.search_bodies),
            // An operator's word outlasts a configuration.
            pause: known.map(|known| Arc::clone(&known.upstream.pause)).unwrap_or_default(),
        };
        Ok(Built { upstream: Arc::new(upstream), way })
    }
}

impl Upstreams {
    /// Sees to it that an account logs in with what its fields are now. What somebody looks after may
    /// still be being written: that is left to whoever does.
    fn look_after(
        &mut self,
        account: &Arc<Account>,
        written: &settings::Upstream,
        recipe: &Arc<Recipe>,
        mut fields: Vec<Field>,
    ) {
        let current = account.credentials();
        let is_new = |field: &&mut Field| field.text.expose() != current.values.text(&field.name);
        let rotates = fields.iter_mut().filter(is_new).any(|field| !field.can_change());
        if rotates {
            let credentials = credentials(recipe, &fields);
            self.changed.push(Changed { account: Arc::clone(account), credentials });
        } else {
            // The look that comes first finds what has changed.
            for field in fields.iter_mut().filter(is_new) {
                field.text = SecretText::from(current.values.text(&field.name).to_owned());
            }
        }
        if fields.iter().any(Field::can_change) {
            self.kept.push(Kept {
                account: Arc::clone(account),
                upstream_name: Arc::from(written.name.as_str()),
                recipe: Arc::clone(recipe),
                fields,
            });
        }
    }
}

/// One upstream by itself, for commands that start nothing.
///
/// # Errors
/// See [`BuildError`].
pub(super) fn alone(
    written: &settings::Upstream,
    credentials: &Credentials,
    (outside, environment): (&Outside, &Environment),
    answer_bytes_max: usize,
) -> Result<Arc<Upstream>, BuildError> {
    let none = Ids::default();
    let (before, ids_before) = (&[][..], &none);
    let building =
        Building { credentials, outside, environment, answer_bytes_max, before, ids_before };
    let built = building.one(written, &mut none.after(), &mut Upstreams::default())?;
    Ok(built.upstream)
}

fn new_account(
    id: AccountId,
    name: &str,
    recipe: &Recipe,
    credentials: session::Credentials,
) -> Arc<Account> {
    let login_name = credentials.values.text(recipe.login_name_field()).to_owned();
    Arc::new(Account::new(id, name, login_name, credentials))
}

fn fields(
    upstream: &settings::Upstream,
    account: &settings::Account,
    credentials: &Credentials,
) -> Result<Vec<Field>, BuildError> {
    let fields = account.fields.iter().map(|(name, field)| match field {
        settings::Field::Text(text) => Ok(Field::new(name, SecretText::from(text.clone()), None)),
        settings::Field::Secret(source) => {
            let secret = credentials.secret(&upstream.name, &account.name, name);
            let secret = secret.cloned().ok_or_else(|| {
                let (upstream, account) = (&upstream.name, &account.name);
                BuildError::Inconsistent(format!("no secret for {upstream}.{account}.{name}"))
            })?;
            Ok(Field::new(name, secret, Some(source.clone())))
        }
    });
    fields.collect()
}

fn credentials(recipe: &Recipe, fields: &[Field]) -> session::Credentials {
    let fields = fields.iter().map(|field| (field.name.as_str(), field.text.clone()));
    build::credentials(recipe, fields)
}

fn print_of(texts: impl IntoIterator<Item = String>) -> Fingerprint {
    Fingerprint::of(&texts.into_iter().map(SecretText::from).collect::<Vec<_>>())
}

/// What an upstream's id stands for: where it is, by what way, and what its sessions live by. Of
/// certificates their files' names count, not what is in them: one that is renewed leads to the same.
fn meaning(written: &settings::Upstream, recipe_print: Fingerprint) -> Fingerprint {
    let way = match &written.way {
        Way::Proxy(proxy) => format!("{:?} {:?}", proxy.origin, proxy.tls),
        way => format!("{way:?}"),
    };
    let addresses = &written.reach.addresses;
    let settings::Upstream { origin, base_path, authority, tls, parameters, .. } = written;
    print_of([
        format!("{origin:?} {base_path:?} {authority:?} {addresses:?}"),
        format!("{way} {tls:?}"),
        format!("{parameters:?} {:?}", recipe_print.to_bytes()),
    ])
}

/// What an account's id stands for: its login name, and what else of it is no secret.
fn account_meaning(
    upstream: UpstreamId,
    recipe: &Recipe,
    credentials: &session::Credentials,
) -> Fingerprint {
    let is_plain =
        |name: &str| recipe.fields.get(name).is_none_or(|field| field.kind != FieldKind::Secret);
    let plain = credentials.values.iter().filter(|(name, _)| is_plain(name));
    let plain = plain.map(|(name, value)| format!("{name}={}", value.expose()));
    print_of(std::iter::once(format!("{}", upstream.0)).chain(plain))
}

/// What connections to an upstream are made of, with what is in the files that they need.
fn way_print(
    written: &settings::Upstream,
    credentials: &Credentials,
) -> Result<Fingerprint, BuildError> {
    let settings::Upstream {
        name,
        origin,
        base_path,
        authority,
        way,
        tls,
        http2,
        upgrades,
        connect_timeout,
        response_timeout,
        idle_timeout,
        reach,
        ..
    } = written;
    let mut texts = vec![
        format!("{origin:?} {base_path:?} {authority:?} {way:?} {tls:?} {http2:?} {upgrades:?}"),
        format!("{connect_timeout:?} {response_timeout:?} {idle_timeout:?} {reach:?}"),
    ];
    let mut files = files_of(tls);
    if let Way::Proxy(proxy) = way {
        files.extend(files_of(&proxy.tls));
        texts.extend(credentials.proxy_password(name).map(|text| text.expose().to_owned()));
    }
    for file in files {
        let content = std::fs::read(file).map_err(|error| {
            BuildError::Inconsistent(format!("`{}` cannot be read: {error}", file.display()))
        })?;
        texts.push(data_encoding::HEXLOWER.encode(&content));
    }
    Ok(print_of(texts))
}

/// The files that TLS to an upstream needs.
pub(super) fn files_of(tls: &UpstreamTls) -> Vec<&Path> {
    let authorities = match &tls.authorities {
        Authorities::Machine => None,
        Authorities::MachineAnd(file) | Authorities::Only(file) => Some(file.as_path()),
    };
    let identity = tls.identity.iter().flat_map(|identity| [&identity.certificate, &identity.key]);
    authorities.into_iter().chain(identity.map(|file| file.as_path())).collect()
}

fn tenant(written: &settings::Upstream) -> Tenant {
    let mut place = format!("{}{}", written.origin, written.base_path);
    // Either makes another server of the same URL.
    if let Some(authority) = &written.authority {
        place.push_str(&format!(" as {authority}"));
    }
    if let Way::Unix(path) = &written.way {
        place.push_str(&format!(" at {}", path.display()));
    }
    let parameters = written.parameters.iter().map(|(name, value)| format!("{name}={value}"));
    Tenant(print_of(std::iter::once(place).chain(parameters)))
}
