//! `doorward run`: everything starts, a signal comes, everything stops in order.

use std::io::{self, IsTerminal, Write};

use tokio::runtime::Builder;

use super::signals::{RejectedSignal, ReloadSignal, StopSignals};
use super::{ConfigFiles, Exit, print_chain, print_not_started};
use crate::admin;
use crate::app::{self, App, Inherited, Progress, Reloaded, Resolver, Service, Surroundings};
use crate::clock::Clock;
use crate::diagnosis::Paint;
use crate::secret::Environment;
use crate::settings::{CoreDumps, Loaded, LogFormat, Settings};
use crate::telemetry::{Format, Log};

/// Run the gateway until it is told to stop (SIGTERM, SIGINT); SIGHUP has it read its configuration
/// again
#[derive(Clone, Debug, clap::Args)]
pub struct Run {
    #[command(flatten)]
    config: ConfigFiles,
}

impl Run {
    /// Prints every bound address to `out`, faults and warnings to `errors`.
    ///
    /// # Errors
    /// What `out` and `errors` refuse.
    pub fn run(
        &self,
        environment: Environment,
        paint: Paint,
        out: &mut impl Write,
        errors: &mut impl Write,
    ) -> io::Result<Exit> {
        // The environment is changed: there must be no other thread yet.
        let inherited = match Inherited::take() {
            Ok(inherited) => inherited,
            Err(error) => {
                print_chain(&error, errors);
                return Ok(Exit::Config);
            }
        };
        let before = app::forbid_core_dumps()?;
        let Some(loaded) = self.config.load(environment, paint, errors)? else {
            return Ok(Exit::Config);
        };
        if loaded.settings.core_dumps == CoreDumps::Allowed {
            app::allow_core_dumps(before)?;
        }
        if loaded.settings.state.is_none() {
            writeln!(errors, "note: {}", app::NOT_KEPT)?;
        }
        app::raise_descriptors();
        let descriptors = app::descriptor_advice(&loaded.settings);
        for warning in loaded.warnings.iter().chain(&descriptors) {
            writeln!(errors, "warning: {warning}")?;
        }
        Log::install(format(&loaded.settings), loaded.settings.log.level.as_str());
        // The control side: one worker, beside the cores.
        let control = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let exit = control.block_on(serve(&loaded, inherited, paint, out, errors));
        // After a second signal nobody waits for what still runs.
        control.shutdown_background();
        exit
    }
}

async fn serve(
    loaded: &Loaded,
    inherited: Inherited,
    paint: Paint,
    out: &mut impl Write,
    errors: &mut impl Write,
) -> io::Result<Exit> {
    let mut signals = StopSignals::catch()?;
    let surroundings = Surroundings {
        clock: Clock::system(),
        resolver: Resolver::System,
        readers: vec![Box::new(Log)],
        without: None,
        inherited,
        admin_socket: Some(admin::usual_socket(|name| loaded.environment().variable(name))),
    };
    let app = match App::start(loaded, surroundings) {
        Ok(app) => app,
        Err(error) => {
            print_not_started(&error, paint, errors);
            return Ok(Exit::Config);
        }
    };
    let (mut asked, mut reload) = (RejectedSignal::catch()?, ReloadSignal::catch()?);
    announce(loaded, &app, out)?;
    let service = Service::start(&app);
    let reloader = app.reloader().clone();
    let mut progress = reloader.progress();
    let mut stop_asked = std::pin::pin!(app.stop_asked());
    loop {
        tokio::select! {
            () = signals.next() => break,
            () = stop_asked.as_mut() => break,
            () = asked.next() => app.report_rejected(),
            // One that comes while another is under way is not lost: the next one follows.
            () = reload.next() => {
                // Told before it can be over: who has sent the signal waits for both words.
                service.reloading();
                let reloader = reloader.clone();
                tokio::spawn(async move { reloader.reload().await });
            }
            Ok(()) = progress.changed() => {
                let now = progress.borrow_and_update().clone();
                match now {
                    Progress::Reading => service.reloading(),
                    Progress::Over(reloaded) => {
                        service.reloaded();
                        tell(&reloaded, &app, paint, out, errors)?;
                    }
                }
            }
        }
    }
    service.stopping();
    writeln!(out, "stopping: running requests end, then sessions are logged out")?;
    out.flush()?;
    let report = tokio::select! {
        report = app.stop() => report,
        () = signals.next() => {
            writeln!(errors, "stopped at once: sessions may be left open at upstreams")?;
            return Ok(Exit::Ok);
        }
    };
    if report.kept > 0 {
        writeln!(out, "kept {} sessions for the next start", report.kept)?;
    }
    writeln!(
        out,
        "logged out {} of {} sessions",
        report.confirmed,
        report.confirmed + report.unconfirmed
    )?;
    Ok(Exit::Ok)
}

/// Tells what came of a reload, as a start would.
fn tell(
    reloaded: &Reloaded,
    app: &App,
    paint: Paint,
    out: &mut impl Write,
    errors: &mut impl Write,
) -> io::Result<()> {
    if reloaded.outcome.is_err() {
        write!(errors, "{}", reloaded.report(paint))?;
        return errors.flush();
    }
    for warning in &reloaded.warnings {
        writeln!(errors, "warning: {warning}")?;
    }
    writeln!(out, "configuration reloaded")?;
    for listening in app.listening() {
        writeln!(out, "listening on {} ({})", listening.url(), listening.name)?;
    }
    out.flush()
}

fn announce(loaded: &Loaded, app: &App, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "doorward {}", env!("CARGO_PKG_VERSION"))?;
    for listening in app.listening() {
        writeln!(out, "listening on {} ({})", listening.url(), listening.name)?;
    }
    for place in app.operators() {
        writeln!(out, "admin at {place}")?;
    }
    if let Some(address) = app.health() {
        writeln!(out, "health at http://{address}")?;
    }
    for route in &loaded.settings.routes {
        let host = route.host.as_deref().unwrap_or("*");
        writeln!(out, "route {host}{} -> {} ({})", route.path, route.upstream, route.account)?;
    }
    out.flush()
}

fn format(settings: &Settings) -> Format {
    match settings.log.format {
        Some(LogFormat::Human) => Format::Human,
        Some(LogFormat::Json) => Format::Json,
        None if io::stderr().is_terminal() => Format::Human,
        None => Format::Json,
    }
}
