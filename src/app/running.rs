//! What runs: the rooms that a configuration makes, and those that stay while configurations come
//! and go. Another one is judged and made whole first; only then is anything changed, and that
//! cannot fail any more.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use data_encoding::HEXLOWER;
use tokio_util::sync::CancellationToken;

use super::core::Core;
use super::ids::Ids;
use super::limits::Named;
use super::reach::Outside;
use super::upstreams::{Building, Built, Changed, Upstreams};
use super::{
    StartError, access_log, build, clients, issuers, limits, listeners, metrics, revoked, secrets,
    strain,
};
use crate::access::revoked::Revocations;
use crate::access::{Access, Clients};
use crate::clock::Clock;
use crate::diagnosis::Faults;
use crate::forward::replay::keeping::Keeping;
use crate::proxy::Shared;
use crate::proxy::force::InForce;
use crate::route::Table;
use crate::secret::SecretText;
use crate::server::Inherited;
use crate::session::{Broker, Change, ClientNumber};
use crate::settings::{Loaded, Settings};
use crate::telemetry::Reporter;

/// What is the same for all configurations of a process.
pub(super) struct Process {
    pub(super) outside: Outside,
    pub(super) clock: Clock,
    pub(super) reporter: Reporter,
    /// What is revoked stays so, whatever a configuration says.
    pub(super) revocations: Revocations,
    /// Signs the tokens of local logins where no key is given.
    pub(super) token_key: SecretText,
}

/// What runs.
pub(super) struct Running {
    pub(super) process: Process,
    pub(super) loaded: Loaded,
    pub(super) sha256: Arc<str>,
    pub(super) in_force: Arc<InForce>,
    /// Cancelled when no request goes by it any more.
    released: CancellationToken,
    pub(super) shared: Arc<Shared>,
    pub(super) cores: Vec<Core>,
    pub(super) listeners: Vec<listeners::Opened>,
    stopping: CancellationToken,
    pub(super) secrets: secrets::Keeper,
    pub(super) revoked: Option<revoked::Keeper>,
    pub(super) issuers: issuers::Keeper,
    pub(super) gauge: strain::Gauge,
    made_of: MadeOf,
}

/// What of a configuration the next one is compared with.
struct MadeOf {
    ids: Ids,
    built: Vec<Built>,
    limits: Named,
}

/// A configuration of which everything is made that may fail. Nothing has changed yet, and nothing
/// does if it is dropped.
pub(super) struct Prepared {
    loaded: Loaded,
    sha256: Arc<str>,
    ids: Ids,
    upstreams: Upstreams,
    routes: Table,
    limits: limits::Planned,
    clients: Arc<Clients>,
    keeping: Arc<Keeping>,
    revoked: Option<revoked::Known>,
    issuers: issuers::Planned,
}

/// What is left to do at a start, once there are cores and sockets.
pub(super) struct Parts {
    pub(super) shared: Arc<Shared>,
    pub(super) cores: Vec<Core>,
    pub(super) listeners: Vec<listeners::Opened>,
    pub(super) in_force: Arc<InForce>,
    pub(super) released: CancellationToken,
    pub(super) stopping: CancellationToken,
}

impl Prepared {
    /// Makes what a configuration says, with what is there of the one `before`. Blocks on the file
    /// system and on commands.
    ///
    /// # Errors
    /// See [`StartError`].
    pub(super) fn new(
        process: &Process,
        loaded: Loaded,
        before: Option<&Running>,
    ) -> Result<Self, StartError> {
        let settings = &loaded.settings;
        let (credentials, _) = loaded.read_credentials().map_err(StartError::Faults)?;
        let nothing = MadeOf { ids: Ids::default(), built: Vec::new(), limits: Named::default() };
        let made_of = before.map_or(&nothing, |before| &before.made_of);
        let mut ids = made_of.ids.after();
        for client in &settings.clients {
            ids.give_client(&made_of.ids, client.id.as_str());
        }
        let building = Building {
            credentials: &credentials,
            outside: &process.outside,
            environment: loaded.environment(),
            answer_bytes_max: settings.limits.login_answer_bytes_max,
            before: &made_of.built,
            ids_before: &made_of.ids,
        };
        let upstreams = building.all(&settings.upstreams, &mut ids)?;
        let recipes = upstreams.recipes();
        let routes = build::routes(settings, &ids)?;
        let clock = &process.clock;
        let limits = limits::limits(settings, &ids, &recipes, clock, &made_of.limits)?;
        let tokens = clients::tokens(&loaded, &process.token_key)?;
        let (issued, issuers) = issuers::plan(settings, before.map(|before| &before.issuers))?;
        let revocations = &process.revocations;
        let clients = clients::clients(settings, &ids, &recipes, tokens, revocations, issued)?;
        let kept = before.filter(|before| keeps_alike(settings, &before.loaded.settings));
        let keeping = match kept {
            Some(before) => Arc::clone(&before.in_force.keeping),
            None => Arc::new(build::keeping(settings)),
        };
        // The last one: what it finds revoked is so from then on.
        let revoked = revoked::open(settings, revocations, &process.reporter)?;
        let sha256 = Arc::from(sha256(&loaded, &upstreams));
        Ok(Self {
            loaded,
            sha256,
            ids,
            upstreams,
            routes,
            limits,
            clients,
            keeping,
            revoked,
            issuers,
        })
    }

    /// What it says of sessions, for a start.
    pub(super) fn broker_parts(
        &self,
        process: &Process,
        without: Option<crate::session::Mechanism>,
        kept: crate::session::Kept,
    ) -> crate::session::Parts {
        crate::session::Parts {
            upstreams: self.upstreams.all(),
            clock: process.clock.clone(),
            reporter: process.reporter.clone(),
            limits: build::session_limits(&self.loaded.settings),
            control: tokio::runtime::Handle::current(),
            without,
            kept,
        }
    }

    /// What requests go by under it. `released` is cancelled when none does any more.
    pub(super) fn in_force(&self, released: &CancellationToken) -> Arc<InForce> {
        let settings = &self.loaded.settings;
        Arc::new(InForce {
            routes: self.routes.clone(),
            upstreams: self.upstreams.all(),
            clients: Access::Clients(Arc::clone(&self.clients)),
            admission: Arc::clone(&self.limits.limits),
            limits: build::request_limits(settings),
            keeping: Arc::clone(&self.keeping),
            key_headers: settings.access.key_headers.clone(),
            shows: access_log::shows(settings, &self.upstreams.recipes()),
            catalog: metrics::catalog(settings, &self.upstreams.all(), &self.ids),
            released: released.clone().drop_guard(),
        })
    }

    /// Its settings.
    pub(super) fn settings(&self) -> &Settings {
        &self.loaded.settings
    }

    /// Looks after everything from now on. On the control side's runtime.
    pub(super) fn run(self, process: Process, parts: Parts) -> Running {
        let Self { loaded, sha256, ids, upstreams, limits, revoked, issuers, .. } = self;
        let Parts { shared, cores, listeners, in_force, released, stopping } = parts;
        let Process { clock, reporter, .. } = &process;
        let Upstreams { built, kept, .. } = upstreams;
        let mut keeper = issuers::Keeper::default();
        keeper.look_after(issuers, clock, reporter);
        Running {
            secrets: look_after_secrets(kept, &shared.broker, &loaded, &process),
            revoked: revoked.map(|known| revoked::Keeper::start(known, clock.clone())),
            issuers: keeper,
            gauge: gauge(&loaded.settings, &shared, reporter),
            made_of: MadeOf { ids, built, limits: limits.named },
            process,
            loaded,
            sha256,
            in_force,
            released,
            shared,
            cores,
            listeners,
            stopping,
        }
    }
}

impl Running {
    /// Makes another configuration, with its listeners. Nothing has changed when it comes back.
    /// Blocks on the file system and on commands.
    ///
    /// # Errors
    /// All that keeps it from being used.
    pub(super) fn prepare(
        &self,
        loaded: Loaded,
    ) -> Result<(Prepared, listeners::Planned), StartError> {
        unchangeable(&loaded, &self.loaded.settings).or(()).map_err(StartError::Faults)?;
        let prepared = Prepared::new(&self.process, loaded, Some(self))?;
        let (cores, clock) = (self.core_refs(), &self.process.clock);
        // What was handed over was taken at the start.
        let planning = listeners::Planning {
            before: &self.listeners,
            cores: &cores,
            clock,
            stopping: &self.stopping,
            inherited: &mut Inherited::default(),
        };
        let planned = listeners::plan(prepared.settings(), planning)?;
        Ok((prepared, planned))
    }

    /// Puts a configuration in force, for all requests that begin from now on. On the control side's
    /// runtime.
    pub(super) fn put_in_force(&mut self, prepared: Prepared, planned: listeners::Planned) {
        let released = CancellationToken::new();
        let in_force = prepared.in_force(&released);
        let Prepared { loaded, sha256, ids, upstreams, limits, revoked, issuers, .. } = prepared;
        let Upstreams { built, changed, kept } = upstreams;
        let settings = &loaded.settings;
        let broker = &self.shared.broker;
        limits.set();
        metrics::begin(&self.shared.metrics, &in_force.upstreams);
        // First what requests may ask for, then the requests that do.
        let clients_gone = ids.clients_gone(&self.made_of.ids);
        broker.change(Change {
            upstreams: in_force.upstreams.clone(),
            limits: build::session_limits(settings),
            clients_gone,
            released: self.released.clone(),
            released_within: released_within(&self.loaded.settings),
        });
        for core in &self.cores {
            core.put_in_force(&in_force);
        }
        let before = std::mem::take(&mut self.listeners);
        self.listeners = planned.carry_out(before, &self.core_refs());
        for Changed { account, credentials } in changed {
            self.shared.broker.rotate(&account, credentials);
        }
        let Process { clock, reporter, .. } = &self.process;
        self.secrets = look_after_secrets(kept, &self.shared.broker, &loaded, &self.process);
        self.revoked = revoked.map(|known| revoked::Keeper::start(known, clock.clone()));
        self.issuers.look_after(issuers, clock, reporter);
        if settings.limits.memory_bytes_max != self.loaded.settings.limits.memory_bytes_max {
            self.gauge = gauge(settings, &self.shared, reporter);
        }
        self.made_of = MadeOf { ids, built, limits: limits.named };
        (self.loaded, self.sha256) = (loaded, sha256);
        (self.in_force, self.released) = (in_force, released);
    }

    /// Ends what looks after files and keys.
    pub(super) async fn stop(self) {
        self.secrets.stop().await;
        if let Some(revoked) = self.revoked {
            revoked.stop().await;
        }
        self.issuers.stop().await;
    }

    /// The number of a client, if the configuration has it.
    pub(super) fn client_number(&self, name: &str) -> Option<ClientNumber> {
        self.made_of.ids.client(name).ok()
    }

    fn core_refs(&self) -> Vec<&Core> {
        self.cores.iter().collect()
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Running").field("sha256", &self.sha256).finish_non_exhaustive()
    }
}

/// A request is given its turn within its time and its session within as much again: whoever has
/// none by then gets none.
fn released_within(settings: &Settings) -> Duration {
    settings.timeouts.request * 2
}

fn look_after_secrets(
    accounts: Vec<secrets::Kept>,
    broker: &Broker,
    loaded: &Loaded,
    process: &Process,
) -> secrets::Keeper {
    secrets::Keeper::start(secrets::Parts {
        accounts,
        broker: broker.clone(),
        environment: loaded.environment().clone(),
        clock: process.clock.clone(),
        reporter: process.reporter.clone(),
    })
}

fn gauge(settings: &Settings, shared: &Shared, reporter: &Reporter) -> strain::Gauge {
    let budget = strain::Budget::new(settings.limits.memory_bytes_max);
    strain::Gauge::start(budget, Arc::clone(&shared.overload), reporter.downgrade())
}

/// What cannot be changed while Doorward runs, and is changed.
fn unchangeable(loaded: &Loaded, before: &Settings) -> Faults {
    let after = &loaded.settings;
    let log = |settings: &Settings| format!("{:?}", settings.log);
    let state = |settings: &Settings| format!("{:?}", settings.state);
    let audit = |settings: &Settings| format!("{:?}", settings.audit);
    let access_log = |settings: &Settings| format!("{:?}", settings.access_log);
    let traces = |settings: &Settings| format!("{:?}", settings.traces);
    let admin = |settings: &Settings| format!("{:?}", settings.admin);
    let health = |settings: &Settings| format!("{:?}", settings.health);
    let sections = [
        ("/runtime/cores", after.cores == before.cores),
        ("/state", state(after) == state(before)),
        ("/audit", audit(after) == audit(before)),
        ("/runtime/core_dumps", after.core_dumps == before.core_dumps),
        ("/log", log(after) == log(before)),
        ("/access_log", access_log(after) == access_log(before)),
        ("/traces", traces(after) == traces(before)),
        ("/admin", admin(after) == admin(before)),
        ("/health", health(after) == health(before)),
    ];
    let mut faults = Faults::new();
    for (pointer, is_as_before) in sections {
        if !is_as_before {
            let key = pointer.trim_start_matches('/').replace('/', ".");
            let message = format!("`{key}` cannot be changed while Doorward runs");
            faults.push(loaded.key_fault(pointer, message).help("restart Doorward to change it"));
        }
    }
    faults
}

/// Whether request bodies are kept in the same way.
fn keeps_alike(one: &Settings, other: &Settings) -> bool {
    let of = |settings: &Settings| {
        let limits = &settings.limits;
        (
            limits.replay_body_bytes_max,
            limits.replay_body_total_bytes_max,
            limits.replay_spill_bytes_max,
            limits.replay_spill_total_bytes_max,
            settings.spill_dir.clone(),
        )
    };
    of(one) == of(other)
}

/// Tells a configuration from others: by what it says, with what its recipes come to. Secrets and
/// certificates are not in it.
fn sha256(loaded: &Loaded, upstreams: &Upstreams) -> String {
    let mut context = Context::new(&SHA256);
    context.update(loaded.canonical().as_bytes());
    for built in &upstreams.built {
        context.update(&built.upstream.recipe_print.to_bytes());
    }
    HEXLOWER.encode(context.finish().as_ref())
}
