//! What the admin API shows and does, out of the rooms that know it. Rows are made when somebody
//! asks; nothing is kept for them.

mod acts;
mod described;
mod rows;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Weak};

use tokio_util::sync::CancellationToken;

use super::{App, Reloader, StartError};
use crate::access::revoked::Revocations;
use crate::admin::answers::{self, Check, milliseconds, time};
use crate::admin::gateway::{Acting, Action};
use crate::admin::{self, Bound, Gateway, Metrics, Parts, Place, Recorder, Records, Server, Token};
use crate::clock::Clock;
use crate::proxy::Shared;
use crate::settings::{Admin, Loaded};
use crate::telemetry::stories::Stories;
use crate::telemetry::{Event, Operation, Reporter, WeakReporter};
pub(super) use described::Current;

/// The sockets and what they have to know, before anything runs.
pub(super) struct Opened {
    operators: Vec<Bound>,
    health: Option<Bound>,
    token: Option<Token>,
    hosts: Vec<String>,
    requests_kept: usize,
}

/// Binds the sockets of the admin API: the named one, or else `usual`, where there may be one. Blocks
/// on the file system.
///
/// # Errors
/// Where one cannot be bound that the configuration names, or its token not be read.
pub(super) fn open(loaded: &Loaded, usual: Option<&Path>) -> Result<Opened, StartError> {
    let Admin { enabled, socket, tcp, requests_kept } = &loaded.settings.admin;
    let mut opened = Opened {
        operators: Vec::new(),
        health: None,
        token: None,
        hosts: Vec::new(),
        requests_kept: *requests_kept,
    };
    let refused = |what: &'static str, place: Place| {
        move |source| StartError::Admin { what, place: place.to_string(), source }
    };
    if *enabled {
        opened.operators.extend(unix(socket.as_deref(), usual)?);
        if let Some(tcp) = tcp {
            let token = loaded.read_admin_token().map_err(StartError::Faults)?;
            opened.token = token.as_ref().map(|token| Token::new(token.expose()));
            opened.hosts.clone_from(&tcp.hosts);
            let bound = admin::bind_tcp(tcp.address);
            let place = Place::Tcp(tcp.address);
            opened.operators.push(bound.map_err(refused("admin.address", place))?);
        }
    }
    if let Some(health) = &loaded.settings.health {
        let bound = admin::bind_tcp(health.address);
        let place = Place::Tcp(health.address);
        opened.health = Some(bound.map_err(refused("health.address", place))?);
    }
    Ok(opened)
}

fn unix(named: Option<&Path>, usual: Option<&Path>) -> Result<Option<Bound>, StartError> {
    match (named, usual) {
        (Some(path), _) => {
            let refused = |source| {
                let place = Place::Unix(path.to_owned()).to_string();
                StartError::Admin { what: "admin.socket", place, source }
            };
            admin::bind_unix(path).map(Some).map_err(refused)
        }
        // Nobody has asked for this one: a gateway that cannot have it serves clients all the same.
        (None, Some(path)) => match admin::bind_usual(path) {
            Ok(bound) => Ok(Some(bound)),
            Err(error) => {
                let path = path.display();
                tracing::warn!(%path, %error, "no admin API: its usual socket cannot be had");
                Ok(None)
            }
        },
        (None, None) => Ok(None),
    }
}

impl Opened {
    /// Where cores keep the stories of requests, where somebody can ask for them.
    pub(super) fn stories(&self) -> Option<Arc<Stories>> {
        (!self.operators.is_empty()).then(|| Arc::new(Stories::new(self.requests_kept)))
    }

    /// What remembers requests and logins, where somebody can ask for them.
    pub(super) fn records(
        &self,
        stories: Option<Arc<Stories>>,
        reporter: &Reporter,
        clock: &Clock,
    ) -> (Option<Recorder>, Arc<Records>) {
        let stories = stories.unwrap_or_default();
        let (recorder, records) = admin::records(stories, reporter.interests(), clock.clone());
        (Some(recorder).filter(|_| !self.operators.is_empty()), records)
    }

    /// Serves what was bound; nothing where that is nothing.
    ///
    /// # Errors
    /// When there is no descriptor for it.
    pub(super) fn serve(
        self,
        view: View,
        records: Arc<Records>,
        metrics: Arc<dyn Metrics>,
    ) -> Result<Option<Server>, StartError> {
        let Self { operators, health, token, hosts, .. } = self;
        if operators.is_empty() && health.is_none() {
            return Ok(None);
        }
        let clock = view.clock.clone();
        let gateway: Arc<dyn Gateway> = Arc::new(view);
        let parts = Parts { gateway, records, metrics, clock, operators, token, hosts, health };
        Server::start(parts).map(Some).map_err(StartError::Core)
    }
}

/// The gateway as operators see it.
pub(super) struct View {
    /// Gone when the cores are.
    pub(super) shared: Weak<Shared>,
    /// What is in force, and how another configuration comes to be.
    pub(super) reloader: Reloader,
    pub(super) revocations: Revocations,
    pub(super) reporter: WeakReporter,
    pub(super) clock: Clock,
    /// The stop has begun.
    pub(super) stopping: CancellationToken,
    /// An operator asks for it.
    pub(super) stop_asked: CancellationToken,
}

impl View {
    fn shared(&self) -> Option<Arc<Shared>> {
        self.shared.upgrade()
    }
}

impl Gateway for View {
    fn configuration(&self) -> answers::Configuration {
        let last = self.reloader.last().map(|last| answers::LastReload {
            at: time(last.at),
            took_ms: milliseconds(last.took),
            faults: last.faults(),
        });
        answers::Configuration {
            last_reload: last,
            ..self.reloader.current().configuration.clone()
        }
    }

    fn listeners(&self) -> Vec<answers::Listener> {
        self.reloader.current().listeners.clone()
    }

    fn traffic(&self) -> answers::Traffic {
        let counts = self.reloader.current();
        let mut traffic = answers::Traffic {
            clients: counts.clients.len(),
            routes: counts.routes,
            upstreams: counts.upstreams.len(),
            ..answers::Traffic::default()
        };
        if let Some(shared) = self.shared() {
            let (sessions, logins_under_way) = shared.broker.counts();
            traffic = answers::Traffic {
                sessions,
                logins_under_way,
                connections: shared.overload.connections(),
                waiting: counts.admission.waiting(),
                load: shared.overload.load().as_str().to_owned(),
                ..traffic
            };
        }
        traffic
    }

    fn sessions(&self) -> Vec<answers::Session> {
        let rows = |shared: Arc<Shared>| rows::sessions(&shared.broker, &self.reloader.current());
        self.shared().map(rows).unwrap_or_default()
    }

    fn upstreams(&self) -> Vec<answers::Upstream> {
        let rows = |shared: Arc<Shared>| rows::upstreams(&shared.broker, &self.reloader.current());
        self.shared().map(rows).unwrap_or_default()
    }

    fn clients(&self) -> Vec<answers::Client> {
        rows::clients(&self.reloader.current(), &self.revocations, self.clock.wall())
    }

    fn settings(&self) -> Vec<answers::Setting> {
        self.reloader.current().settings.clone()
    }

    fn rejected(&self) -> Vec<answers::Rejected> {
        let all = self.shared().map(|shared| shared.rejections.all()).unwrap_or_default();
        all.iter().rev().map(rows::rejected).collect()
    }

    fn checks(&self) -> Vec<Check> {
        let check = |name: &str, trouble: Option<String>, is_required: bool| Check {
            name: name.to_owned(),
            is_ok: trouble.is_none(),
            is_required,
            detail: trouble.unwrap_or_else(|| "ok".to_owned()),
        };
        let Some(shared) = self.shared().filter(|_| !self.is_stopping()) else {
            return vec![check("running", Some("the gateway is stopping".to_owned()), true)];
        };
        let is_shedding = shared.overload.is_shedding();
        let load = is_shedding.then(|| "memory or descriptors are nearly used up".to_owned());
        let blocks = shared.reporter.blocks_requests();
        let audit = blocks.then(|| "the audit trail cannot be written".to_owned());
        let current = self.reloader.current();
        let waiting = rows::cannot_log_in(&shared.broker, &current);
        let logins = (!waiting.is_empty()).then(|| format!("no login: {}", waiting.join(", ")));
        vec![
            check("running", None, true),
            check("load", load, true),
            check("audit", audit, true),
            check("logins", logins, current.ready_requires_login),
        ]
    }

    fn is_stopping(&self) -> bool {
        self.stopping.is_cancelled()
    }

    fn act(&self, action: Action) -> Acting<'_> {
        Box::pin(acts::act(self, action))
    }

    fn report(&self, operation: Operation) {
        self.reporter.report(Event::Operator(operation));
    }
}

impl App {
    /// Where operators come in: the socket of the admin API, and its TCP port where it has one.
    pub fn operators(&self) -> &[Place] {
        self.admin.as_ref().map(Server::operators).unwrap_or_default()
    }

    /// The socket of the admin API.
    pub fn admin_socket(&self) -> Option<&Path> {
        self.operators().iter().find_map(|place| match place {
            Place::Unix(path) => Some(path.as_path()),
            Place::Tcp(_) => None,
        })
    }

    /// Where whoever watches over the gateway asks.
    pub fn health(&self) -> Option<SocketAddr> {
        self.admin.as_ref()?.health()
    }

    /// Comes when an operator asks for the stop. Cancel safe.
    pub fn stop_asked(&self) -> impl Future<Output = ()> + use<> {
        self.stop_asked.clone().cancelled_owned()
    }
}
