//! `doorward demo`: local upstreams and Doorward in front of them, to play with; or a scripted walk
//! that proves what Doorward promises.

mod client;
mod configuration;
mod finding;
mod guide;
mod live;
mod page;
mod stage;
mod table;
mod walk;

use std::io::{self, Write};
use std::pin::pin;

use jiff::tz::TimeZone;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;

use self::finding::Finding;
use self::live::Live;
use self::page::Page;
use self::stage::{Ports, Stage};
use super::signals::StopSignals;
use super::{Exit, print_chain};
use crate::app::{Inherited, Resolver, Surroundings};
use crate::clock::Clock;
use crate::diagnosis::Paint;
use crate::session::{LogoutReport, Mechanism};

/// Where Doorward listens if nothing else is asked for; the emulators have the next ports.
/// Registered for nothing that is common on a developer's machine, and below the ports that systems
/// give out by themselves.
const PORT: u16 = 7400;

/// The mechanisms that the walk notices the absence of.
const NOTICED: [Mechanism; 3] = [Mechanism::GenerationGuard, Mechanism::Replay, Mechanism::Logout];

/// Try Doorward out: local upstreams, Doorward in front of them, curl lines to paste
#[derive(Clone, Debug, clap::Args)]
pub struct Demo {
    /// Run a scripted walk, print a table and exit: 0 only if every step did what it should
    #[arg(long)]
    once: bool,
    /// Print the walk's table as one JSON object
    #[arg(long, requires = "once")]
    json: bool,
    /// Doorward's port; the upstreams take the next three. 0 takes any free ones
    #[arg(long, value_name = "PORT", default_value_t = PORT, conflicts_with = "once")]
    port: u16,
    /// Switch one mechanism off, to see that the walk notices
    #[arg(long, value_name = "MECHANISM", hide = true, requires = "once", value_parser = noticed)]
    without: Option<Mechanism>,
}

impl Demo {
    /// Prints to `out` in `paint`; what keeps it from starting to `errors`.
    ///
    /// # Errors
    /// What `out` and `errors` refuse.
    pub fn run(
        &self,
        paint: Paint,
        out: &mut impl Write,
        errors: &mut impl Write,
    ) -> io::Result<Exit> {
        // Emulators and the control side share it; the cores of Doorward have runtimes of their
        // own.
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let exit = match self.once {
            true => self.walk(&runtime, paint, out, errors),
            false => runtime.block_on(self.show(paint, out, errors)),
        };
        // Whatever still runs after a second signal is not waited for.
        runtime.shutdown_background();
        exit
    }

    fn walk(
        &self,
        runtime: &Runtime,
        paint: Paint,
        out: &mut impl Write,
        errors: &mut impl Write,
    ) -> io::Result<Exit> {
        let findings = match runtime.block_on(walk::walk(self.without)) {
            Ok(findings) => findings,
            Err(error) => {
                print_chain(&error, errors);
                return Ok(Exit::Failed);
            }
        };
        match self.json {
            true => writeln!(out, "{}", table::as_json(&findings, self.without))?,
            false => table::print(&findings, paint, out)?,
        }
        Ok(if findings.iter().all(Finding::is_ok) { Exit::Ok } else { Exit::Failed })
    }

    async fn show(
        &self,
        paint: Paint,
        out: &mut impl Write,
        errors: &mut impl Write,
    ) -> io::Result<Exit> {
        let mut signals = StopSignals::catch()?;
        let (live, mut lines) = Live::new(TimeZone::system(), paint);
        let surroundings = Surroundings {
            clock: Clock::system(),
            resolver: Resolver::System,
            readers: vec![Box::new(live)],
            without: self.without,
            inherited: Inherited::default(),
            admin_socket: None,
        };
        let stage = match Stage::start(self.ports(), surroundings).await {
            Ok(stage) => stage,
            Err(error) => {
                print_chain(&error, errors);
                return Ok(Exit::Failed);
            }
        };
        let page = match Page::open(&stage) {
            Ok(page) => page,
            Err(error) => {
                // All else is there without it.
                print_chain(&error, errors);
                None
            }
        };
        guide::print(&stage, page.as_ref(), paint, out)?;
        loop {
            tokio::select! {
                Some(line) = lines.recv() => print_line(&line, out)?,
                () = signals.next() => break,
            }
        }
        if let Some(page) = page {
            page.stop().await;
        }
        stop(stage, signals, lines, out).await
    }

    fn ports(&self) -> Ports {
        match self.port {
            0 => Ports::Free,
            port => Ports::From(port),
        }
    }
}

async fn stop(
    stage: Stage,
    mut signals: StopSignals,
    mut lines: mpsc::Receiver<String>,
    out: &mut impl Write,
) -> io::Result<Exit> {
    print_line("\nStopping: running requests end, then every session is logged out.", out)?;
    let mut stopping = pin!(stage.stop_doorward());
    let (report, emulators) = loop {
        tokio::select! {
            stopped = stopping.as_mut() => break stopped,
            Some(line) = lines.recv() => print_line(&line, out)?,
            () = signals.next() => {
                print_line("Stopped at once: sessions were not logged out.", out)?;
                return Ok(Exit::Ok);
            }
        }
    };
    while let Ok(line) = lines.try_recv() {
        print_line(&line, out)?;
    }
    let LogoutReport { confirmed, unconfirmed, kept: _ } = report;
    let live = emulators.iter().map(|emulator| emulator.control().counters().live_sessions);
    let (all, live) = (confirmed + unconfirmed, live.sum::<u64>());
    let end = format!(
        "Stopped: {confirmed} of {all} logouts confirmed; sessions left alive on the servers: {live}."
    );
    print_line(&end, out)?;
    for emulator in emulators {
        emulator.stop().await;
    }
    Ok(Exit::Ok)
}

fn print_line(line: &str, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{line}")?;
    out.flush()
}

fn noticed(name: &str) -> Result<Mechanism, String> {
    let known = NOTICED.into_iter().find(|mechanism| mechanism.as_str() == name);
    known.ok_or_else(|| format!("the walk notices {}", NOTICED.map(Mechanism::as_str).join(", ")))
}
