//! Settings become rooms: each gets what is its own, in its own words.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;
use tokio_util::sync::CancellationToken;

use super::ids::Ids;
use crate::access::key::NoRandomness;
use crate::clock::Clock;
use crate::diagnosis::{Document, Faults};
use crate::forward::replay::keeping::{Keeping, Quota};
use crate::forward::via::Via;
use crate::proxy::connections::Connections;
use crate::proxy::overload::Overload;
use crate::proxy::patience::Slowness;
use crate::proxy::{self, Shared, spill};
use crate::recipe::template::Values;
use crate::recipe::{self, FieldKind, Recipe};
use crate::route::{Route, Sharing, Table};
use crate::secret::{Fingerprint, SecretText};
use crate::server;
use crate::session::{self, Broker};
use crate::settings::{
    self, FieldShape, ParameterShape, Presence, RecipeFault, RecipeReference, RecipeShape, Secrecy,
    Settings,
};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::stories::Stories;
use crate::telemetry::trace::Tracing;
use crate::telemetry::{Rejections, Reporter};
use crate::upstream::tls;

/// The largest recipe file, in bytes.
const RECIPE_BYTES_MAX: u64 = 1024 * 1024;

/// Why a room cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A recipe has faults that only its parameters bring out.
    #[error("{0}")]
    Recipe(Faults),
    /// No such recipe.
    #[error(transparent)]
    Unknown(#[from] recipe::UnknownRecipe),
    /// TLS towards an upstream.
    #[error("upstream `{0}`: {1}")]
    UpstreamTls(String, #[source] tls::TlsError),
    /// TLS towards an issuer of tokens.
    #[error("issuer `{0}`: {1}")]
    IssuerTls(String, #[source] tls::TlsError),
    /// TLS towards clients.
    #[error(transparent)]
    ListenerTls(#[from] server::TlsError),
    /// The machine gives no random bytes.
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
    /// A name that settings should have judged already.
    #[error("{0}")]
    Inconsistent(String),
}

/// What holds for as long as the process lives.
pub(super) fn shared(
    broker: Broker,
    clock: &Clock,
    reporter: &Reporter,
    stories: Option<Arc<Stories>>,
    cut_off: CancellationToken,
    tracing: Option<Tracing>,
) -> Shared {
    Shared {
        broker,
        clock: clock.clone(),
        reporter: reporter.clone(),
        stories,
        rejections: Rejections::default(),
        overload: Arc::new(Overload::new(super::strain::descriptors_max())),
        cut_off,
        metrics: Metrics::new(clock.wall()),
        connections: Connections::default(),
        tracing,
        via: via(),
    }
}

/// Bounds of requests.
pub(super) fn request_limits(settings: &Settings) -> proxy::Limits {
    proxy::Limits {
        verdict_body_bytes_max: settings.limits.verdict_body_bytes_max,
        // It is kept in memory, as what is sent again.
        inject_body_bytes_max: settings.limits.replay_body_bytes_max,
        mask_body_bytes_max: settings.limits.login_answer_bytes_max,
        request_timeout: settings.timeouts.request,
        tunnel_idle: settings.timeouts.tunnel_idle,
        client_login_bytes_max: settings.limits.client_login_bytes_max,
        client_login_timeout: settings.timeouts.head,
        body: slowness(settings, settings.timeouts.body),
        answer: slowness(settings, settings.timeouts.write),
        client_token_life: settings.timeouts.client_token,
    }
}

/// How slow a client may be that may pause for `pause_max`.
fn slowness(settings: &Settings, pause_max: Duration) -> Slowness {
    Slowness { pause_max, bytes_per_second_min: settings.limits.bytes_per_second_min }
}

/// Where request bodies are kept.
pub(super) fn keeping(settings: &Settings) -> Keeping {
    let limits = &settings.limits;
    Keeping {
        memory_bytes_max: limits.replay_body_bytes_max as u64,
        spill_bytes_max: limits.replay_spill_bytes_max,
        memory: Quota::new(limits.replay_body_total_bytes_max),
        spill: Quota::new(limits.replay_spill_total_bytes_max),
        storage: Box::new(spill::Folder::new(settings.spill_dir.clone())),
    }
}

/// How long the parts of a session's life may take.
pub(super) fn session_limits(settings: &Settings) -> session::Limits {
    session::Limits {
        login_timeout: settings.timeouts.login,
        login_distance: settings.timeouts.login_distance,
        logout_timeout: settings.timeouts.logout,
        drain_timeout: settings.timeouts.drain,
        session_idle: settings.timeouts.session_idle,
        sessions_max: settings.limits.sessions_max,
    }
}

/// A pseudonym of this process.
fn via() -> Via {
    let name = uuid::Uuid::new_v4().simple().to_string().split_off(24);
    Via::new(&format!("doorward-{name}"))
}

/// An upstream's recipe with its parameters.
///
/// # Errors
/// See [`BuildError`].
pub(super) fn recipe(written: &settings::Upstream) -> Result<Recipe, BuildError> {
    let document = recipe_document(&written.recipe)?;
    Recipe::load(&document, &written.parameters).map_err(BuildError::Recipe)
}

/// What an account logs in with, out of its fields.
pub(super) fn credentials<'f>(
    recipe: &Recipe,
    fields: impl IntoIterator<Item = (&'f str, SecretText)>,
) -> session::Credentials {
    let mut values = Values::default();
    let mut secrets = Vec::new();
    for (name, text) in fields {
        if recipe.fields.get(name).is_some_and(|field| field.kind == FieldKind::Secret) {
            secrets.push(text.clone());
        }
        values.set(name.to_owned(), text);
    }
    session::Credentials { values, fingerprint: Fingerprint::of(&secrets) }
}

/// Which peers send the PROXY protocol.
pub(super) fn senders(written: &settings::Proxies) -> server::Senders {
    match written {
        settings::Proxies::In(networks) => server::Senders::In(networks.clone()),
        settings::Proxies::Everybody => server::Senders::Everybody,
    }
}

pub(super) fn half_closed(written: settings::HalfClosed) -> server::HalfClosed {
    match written {
        settings::HalfClosed::Left => server::HalfClosed::Left,
        settings::HalfClosed::Answered => server::HalfClosed::Answered,
    }
}

/// TLS towards clients, by the time of `clock`.
pub(super) fn listener_tls(written: &settings::ServerTls, clock: &Clock) -> server::Tls {
    let clients = written.clients.as_ref().map(|clients| server::ClientCertificates {
        authorities: clients.ca_file.clone(),
        revocation_lists: clients.crl_files.clone(),
        presence: match clients.certificates {
            settings::ClientCertificates::Optional => server::Presence::Optional,
            settings::ClientCertificates::Required => server::Presence::Required,
        },
    });
    server::Tls {
        certificate: written.certificate.clone(),
        key: written.key.clone(),
        clients,
        time: Arc::new(Wall(clock.clone())),
    }
}

/// The wall time of a clock, for TLS.
#[derive(Debug)]
struct Wall(Clock);

impl TimeProvider for Wall {
    fn current_time(&self) -> Option<UnixTime> {
        let since = self.0.wall().duration_since(SystemTime::UNIX_EPOCH).ok()?;
        Some(UnixTime::since_unix_epoch(since))
    }
}

/// The routes, by host and path.
///
/// # Errors
/// See [`BuildError`].
pub(super) fn routes(settings: &Settings, ids: &Ids) -> Result<Table, BuildError> {
    let routes = settings.routes.iter().zip(0..).map(|(route, number)| {
        let id = |account: &str| ids.account(&route.upstream, account);
        let choices = route.accounts.iter().map(|name| Ok((name.clone(), id(name)?)));
        Ok(Route {
            number,
            host: route.host.clone(),
            prefix: route.path.trim_end_matches('/').to_owned(),
            strip_prefix: route.prefix == settings::Prefix::Stripped,
            upstream: ids.upstream(&route.upstream)?,
            account: id(&route.account)?,
            choices: choices.collect::<Result<_, BuildError>>()?,
            sharing: match route.session {
                settings::SessionScope::Shared => Sharing::Shared,
                settings::SessionScope::PerClient => Sharing::PerClient,
            },
        })
    });
    routes.collect::<Result<Vec<_>, BuildError>>().map(Table::new)
}

pub(super) fn server_limits(settings: &Settings, cores: usize) -> server::Limits {
    server::Limits {
        request_head_bytes_max: settings.limits.request_head_bytes_max,
        header_fields_max: settings.limits.header_fields_max,
        streams_max: settings.limits.streams_max,
        connections_max: settings.limits.connections_max.div_ceil(cores),
        head_timeout: settings.timeouts.head,
        idle_timeout: settings.timeouts.idle,
        write: slowness(settings, settings.timeouts.write),
    }
}

/// What a recipe asks an operator for, so that settings can be judged.
///
/// # Errors
/// See [`RecipeFault`].
pub fn recipe_shape(reference: &RecipeReference) -> Result<RecipeShape, RecipeFault> {
    let document = recipe_document(reference).map_err(|error| match error {
        BuildError::Recipe(faults) => RecipeFault::Faulty(faults),
        _ => RecipeFault::Unknown(
            recipe::BUILT_IN.iter().map(|(name, _)| (*name).to_owned()).collect(),
        ),
    })?;
    // The whole recipe is judged, with its defaults, before anybody is asked to fill it in.
    let judged = Recipe::load(&document, &BTreeMap::new()).map_err(RecipeFault::Faulty)?;
    let shape = Recipe::shape(&document).map_err(RecipeFault::Faulty)?;
    let presence = |required: bool| match required {
        true => Presence::Required,
        false => Presence::Optional,
    };
    let fields = shape.fields.into_iter().map(|(name, field)| FieldShape {
        name,
        presence: presence(!field.optional),
        secrecy: match field.kind {
            FieldKind::Secret => Secrecy::Secret,
            FieldKind::LoginName | FieldKind::Plain => Secrecy::Plain,
        },
    });
    let parameters = shape.parameters.into_iter();
    Ok(RecipeShape {
        fields: fields.collect(),
        parameters: parameters
            .map(|(name, required)| ParameterShape { name, presence: presence(required) })
            .collect(),
        code_fields: judged.code_fields().map(str::to_owned).collect(),
        asks_helper: judged.asks_helper(),
    })
}

fn recipe_document(reference: &RecipeReference) -> Result<Document, BuildError> {
    match reference {
        RecipeReference::BuiltIn(name) => Ok(recipe::built_in(name)?),
        RecipeReference::File(path) => {
            let unreadable = |why: String| {
                let fault =
                    crate::diagnosis::Fault::new(path, format!("the recipe cannot be read: {why}"));
                let mut faults = Faults::new();
                faults.push(fault);
                BuildError::Recipe(faults)
            };
            let size =
                std::fs::metadata(path).map_err(|error| unreadable(error.to_string()))?.len();
            if size > RECIPE_BYTES_MAX {
                return Err(unreadable(format!("it is longer than {RECIPE_BYTES_MAX} bytes")));
            }
            let text =
                std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
            Document::parse(path, text).map_err(BuildError::Recipe)
        }
    }
}
