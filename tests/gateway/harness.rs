//! An emulator, Doorward in front of it in this process, and a record of all that clients were
//! sent.

use std::fs;
use std::future::poll_fn;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::{Duration, SystemTime};

use doorward::access::key::ClientKey;
use doorward::app::{self, App, Inherited, Reloaded, Resolver, StartError, Surroundings};
use doorward::clock::Clock;
use doorward::emulator::{Certificate, Control, Emulator, Options, User, Vendor, mfiles};
use doorward::secret::Environment;
use doorward::server::Address;
use doorward::session::Mechanism;
use doorward::settings::Sources;
use doorward::telemetry::{Event, Reader};
use serde_json::json;
use tempfile::TempDir;

use crate::client::{Call, Door, Raw, Record};
use crate::leaks::leaks;

/// No step of a test takes longer; one that does is hung.
pub const STEP_TIME_MAX: Duration = Duration::from_secs(30);

/// What a scene is made of; change what the test is about.
pub struct Setup {
    pub vendor: Vendor,
    /// The account that Doorward logs in with.
    pub user: User,
    pub without: Option<Mechanism>,
    /// Where the account's password comes from, when it is not the file `password`.
    pub password: Option<String>,
    /// Lines of the table `[listeners.main]`, below its address.
    pub listener: String,
    /// The listener's address.
    pub address: String,
    /// Lines of the table `[upstreams.vendor]`; a recipe of one's own goes here.
    pub upstream: String,
    /// The upstream's recipe line.
    pub recipe: String,
    /// Further lines of the account's table.
    pub account: String,
    /// Lines of the first `[[routes]]` table.
    pub route: String,
    /// Further tables.
    pub tables: String,
    /// The emulator speaks TLS only.
    pub upstream_tls: bool,
    /// The listener speaks TLS only.
    pub listener_tls: bool,
    /// Further keys of the listener's `tls`, each after a comma.
    pub client_tls: String,
    /// Where the upstream is, when it is not the emulator.
    pub origin: Option<String>,
    /// Who knows the addresses of upstreams' names.
    pub resolver: Resolver,
}

/// A running emulator with Doorward in front of it. Both clocks stand still until moved.
pub struct Scene {
    pub emulator: Emulator,
    pub clock: Clock,
    pub folder: TempDir,
    app: Option<App>,
    door: Door,
    record: Record,
    events: Arc<Mutex<Vec<Event>>>,
    sources: Sources,
    without: Option<Mechanism>,
    resolver: Resolver,
    listener_authority: Option<String>,
}

impl Setup {
    pub fn of(vendor: Vendor) -> Self {
        Self {
            vendor,
            user: vendor.seeded_user(),
            without: None,
            password: None,
            listener: "access = \"open\"".to_owned(),
            address: "127.0.0.1:0".to_owned(),
            upstream: match vendor {
                Vendor::MFiles => format!("parameters = {{ vault = {:?} }}", mfiles::VAULT),
                Vendor::Contentstack | Vendor::ThoughtSpot => String::new(),
            },
            recipe: format!("recipe = \"{vendor}\""),
            account: String::new(),
            route: String::new(),
            tables: String::new(),
            upstream_tls: false,
            listener_tls: false,
            client_tls: String::new(),
            origin: None,
            resolver: Resolver::System,
        }
    }

    pub fn without(mut self, mechanism: Mechanism) -> Self {
        self.without = Some(mechanism);
        self
    }

    pub fn user(mut self, user: User) -> Self {
        self.user = user;
        self
    }

    /// The listener asks for keys, and these clients have some, and may do everything.
    pub fn keys(self, keys: &[(&str, &ClientKey)]) -> Self {
        keys.iter().fold(self, |setup, (name, key)| setup.client(name, key, "[{}]"))
    }

    /// The listener asks for keys, and this client has one, and these grants.
    pub fn client(mut self, name: &str, key: &ClientKey, grants: &str) -> Self {
        self.listener = "access = \"clients\"".to_owned();
        let digest = key.digest();
        let client = format!("[clients.{name}]\nkeys = [\"{digest}\"]\ngrants = {grants}\n");
        self.tables.push_str(&client);
        self
    }

    pub fn tables(mut self, tables: &str) -> Self {
        self.tables.push_str(tables);
        self
    }

    /// Starts both.
    pub async fn start(self) -> Scene {
        self.start_with(&[]).await
    }

    /// Starts both with these environment variables.
    pub async fn start_with(self, variables: &[(&str, &str)]) -> Scene {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::manual(SystemTime::now());
        let certificate =
            self.upstream_tls.then(|| Certificate::for_names(&["localhost", "127.0.0.1"]).unwrap());
        let authority = certificate.as_ref().map(|certificate| {
            write(folder.path(), "upstream-ca.pem", certificate.authority_pem())
        });
        let options = Options { tls: certificate, clock: clock.clone(), ..Options::default() };
        let emulator = Emulator::start(self.vendor, options).await.unwrap();
        without_rate_limits(emulator.control());

        let listener_certificate =
            self.listener_tls.then(|| Certificate::for_names(&["localhost", "127.0.0.1"]).unwrap());
        let text = self.configuration(
            folder.path(),
            &emulator,
            authority.as_deref(),
            listener_certificate.as_ref(),
        );
        let config = write(folder.path(), "doorward.toml", &text);
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let environment = Environment::Given(variables.iter().map(owned).collect());
        // Tests begin logins faster than any account allows.
        write(folder.path(), "state_key", "the key that seals the state of a test");
        let base = write(folder.path(), "base.toml", "[timeouts]\nlogin_distance = \"0s\"\n");
        let sources = Sources { files: vec![base, config], environment };
        let mut scene = Scene {
            emulator,
            clock,
            folder,
            app: None,
            door: Door { address: Address::Unix(PathBuf::new()), authority_pem: None },
            record: Record::default(),
            events: Arc::default(),
            sources,
            without: self.without,
            resolver: self.resolver.clone(),
            listener_authority: listener_certificate
                .map(|certificate| certificate.authority_pem().to_owned()),
        };
        scene.start_again();
        scene
    }

    fn configuration(
        &self,
        folder: &Path,
        emulator: &Emulator,
        upstream_authority: Option<&Path>,
        certificate: Option<&Certificate>,
    ) -> String {
        let file = write(folder, "password", &self.user.password);
        let password = format!("{{ file = {file:?}, verbatim = true }}");
        let password = self.password.as_ref().unwrap_or(&password);
        let listener_tls = certificate.map_or_else(String::new, |certificate| {
            let chain = write(folder, "listener.crt", certificate.certificate_pem());
            let key = write(folder, "listener.key", &certificate.key_pem());
            format!("tls = {{ certificate = {chain:?}, key = {key:?}{} }}\n", self.client_tls)
        });
        let upstream_tls = upstream_authority
            .map_or_else(String::new, |authority| format!("tls = {{ ca_file = {authority:?} }}\n"));
        let origin = self.origin.clone().unwrap_or_else(|| emulator.origin());
        format!(
            "[listeners.main]\naddress = {:?}\n{}\n{listener_tls}\n\
             [upstreams.vendor]\nurl = {origin:?}\n{}\n{}\n{upstream_tls}\n\
             [upstreams.vendor.accounts.user]\nusername = {:?}\n\
             password = {password}\n{}\n\n\
             [[routes]]\nupstream = \"vendor\"\naccount = \"user\"\n{}\n\n[runtime]\ncores = 2\n{}",
            self.address,
            self.listener,
            self.recipe,
            self.upstream,
            self.user.login,
            self.account,
            self.route,
            self.tables
        )
    }
}

/// Tests are faster than any vendor allows.
fn without_rate_limits(control: &Control) {
    match control.vendor() {
        Vendor::Contentstack => control.switch("rate_limit", json!(false)).unwrap(),
        Vendor::ThoughtSpot => control.switch("requests_per_second", json!(0)).unwrap(),
        Vendor::MFiles => {}
    }
}

/// Writes a file that only its owner may read.
pub fn write(folder: &Path, name: &str, content: &str) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

impl Scene {
    /// A vendor's emulator behind the built-in recipe.
    pub async fn of(vendor: Vendor) -> Self {
        Setup::of(vendor).start().await
    }

    pub fn control(&self) -> &Control {
        self.emulator.control()
    }

    /// Where clients connect to.
    pub fn door(&self) -> &Door {
        &self.door
    }

    /// Requests that wait for their turn at an account.
    pub fn waiting(&self) -> usize {
        self.app.as_ref().unwrap().waiting()
    }

    /// What has been reported so far.
    pub fn events(&self) -> Vec<Event> {
        self.events.lock().unwrap().clone()
    }

    /// What the clients of this scene were sent.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// The configuration file.
    pub fn config(&self) -> PathBuf {
        self.folder.path().join("doorward.toml")
    }

    /// Writes the configuration file anew, with `from` replaced by `to`, which must be there.
    pub fn change_config(&self, from: &str, to: &str) {
        let text = fs::read_to_string(self.config()).unwrap();
        assert!(text.contains(from), "{from:?} is not in\n{text}");
        fs::write(self.config(), text.replace(from, to)).unwrap();
    }

    /// Has the configuration read again, which must succeed.
    pub async fn reload(&self) -> Reloaded {
        let reloaded = within(self.app().reloader().reload()).await;
        assert!(reloaded.outcome.is_ok(), "{reloaded}");
        reloaded
    }

    /// Has the configuration read again, which must fail; why, in words.
    pub async fn fail_to_reload(&self) -> String {
        let reloaded = within(self.app().reloader().reload()).await;
        assert!(reloaded.outcome.is_err(), "it was taken over");
        reloaded.faults().join("\n")
    }

    pub fn app(&self) -> &App {
        self.app.as_ref().unwrap()
    }

    pub fn call(&self, method: &str, target: &str) -> Call {
        Call::new(self.door.clone(), self.record.clone(), method, target)
    }

    /// A call past the gateway, to see what the upstream itself says.
    pub fn call_emulator(&self, method: &str, target: &str) -> Call {
        let address = Address::Tcp(self.emulator.address());
        let door = Door { address, authority_pem: None };
        Call::new(door, Record::default(), method, target)
    }

    pub fn port(&self) -> u16 {
        match &self.door.address {
            Address::Tcp(address) => address.port(),
            Address::Unix(_) => panic!("a Unix socket has no port"),
        }
    }

    /// Starts Doorward with the same configuration as before.
    pub fn start_again(&mut self) {
        let app = self.try_start().unwrap_or_else(|error| panic!("{error}"));
        self.door = Door {
            address: app.listening()[0].address.clone(),
            authority_pem: self.listener_authority.clone(),
        };
        self.app = Some(app);
    }

    /// Starts one more Doorward with the same configuration.
    pub fn try_start(&self) -> Result<App, StartError> {
        let loaded = app::load(&self.sources).unwrap_or_else(|faults| panic!("{faults}"));
        let surroundings = Surroundings {
            clock: self.clock.clone(),
            resolver: self.resolver.clone(),
            readers: vec![Box::new(Notes(Arc::clone(&self.events)))],
            without: self.without,
            inherited: Inherited::default(),
            admin_socket: None,
        };
        App::start(&loaded, surroundings)
    }

    /// Takes the gateway out, for tests about its stop.
    pub fn take_app(&mut self) -> App {
        self.app.take().unwrap()
    }

    /// Stops Doorward, and proves what holds in every scene: no session is left, nothing leaked.
    pub async fn stop(mut self) -> Ended {
        let app = self.take_app();
        within(app.stop()).await;
        assert_eq!(self.control().counters().live_sessions, 0, "a session was left open");
        let ended = self.ended();
        ended.assert_no_leak();
        ended
    }

    /// Takes the gateway out and stops it; the clock moves once, by `drain`, and by nothing more
    /// that would end a request in another way.
    pub async fn stop_cutting_off(&mut self, drain: Duration) {
        let mut stop = std::pin::pin!(self.take_app().stop());
        // The drain time counts from the first look.
        let begun = poll_fn(|context| Poll::Ready(stop.as_mut().poll(context).is_pending())).await;
        assert!(begun, "nothing was under way");
        self.clock.advance(drain);
        within(stop).await;
    }

    /// What is left when the gateway has been stopped.
    pub fn ended(self) -> Ended {
        let events = self.events.lock().unwrap().clone();
        let Self { emulator, record, folder, .. } = self;
        Ended { emulator, record, events, folder }
    }
}

/// A scene after its gateway's stop.
pub struct Ended {
    pub emulator: Emulator,
    pub record: Record,
    pub events: Vec<Event>,
    pub folder: TempDir,
}

impl Ended {
    /// No token, cookie value or password in what clients were sent or in what was reported.
    pub fn assert_no_leak(&self) {
        let secrets = self.emulator.control().issued();
        let events = format!("{:?}", self.events).into_bytes();
        for (what, bytes) in [("a client", self.record.bytes()), ("a report", events)] {
            let leaked = leaks(&secrets, &bytes);
            assert!(leaked.is_empty(), "{what} was told {leaked:?}");
        }
    }
}

/// Notes every event.
struct Notes(Arc<Mutex<Vec<Event>>>);

impl Reader for Notes {
    fn read(&mut self, _: SystemTime, event: &Event) {
        self.0.lock().unwrap().push(event.clone());
    }

    fn wants_requests(&self) -> bool {
        true
    }
}

/// Waits no longer than a hung test may.
pub async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(STEP_TIME_MAX, future).await.expect("a step of this test hangs")
}

/// Waits until nobody is let in any more.
pub async fn refused(door: &Door) {
    let refused = async {
        while Raw::try_connect(door).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    within(refused).await;
}

/// Waits until `holds` is true of the world; something that is under way makes it so.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    let waited = tokio::time::timeout(STEP_TIME_MAX, waiting).await;
    assert!(waited.is_ok(), "it never came that {what}");
}
