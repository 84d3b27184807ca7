//! What a service manager hears of the binary: that it is ready, how it is, that every core lives.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use doorward::emulator::{Emulator, Options, Vendor};
use nix::sys::ptrace;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;
use tokio::net::UnixDatagram;
use tokio::time::timeout;

use crate::site::{Doorward, Site, ask, until};

/// As long as a test waits for anything.
const STEP_TIME_MAX: Duration = Duration::from_secs(60);

/// Within so long the manager wants to hear that all is well.
const WATCHDOG: Duration = Duration::from_millis(500);

/// As long as one request may take that a core may have been given that hangs.
const TRY_TIME_MAX: Duration = Duration::from_secs(5);

/// So many connections do not all come to one of two cores.
const TRIES_MAX: usize = 32;

/// The manager's end: the socket that `NOTIFY_SOCKET` names.
struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Manager {
    fn of(site: &Site) -> Self {
        let path = site.path().join("notify");
        Self { socket: UnixDatagram::bind(&path).unwrap(), path }
    }

    async fn hears(&self) -> String {
        timeout(STEP_TIME_MAX, self.next()).await.expect("the manager hears nothing")
    }

    async fn next(&self) -> String {
        let mut message = vec![0; 4096];
        let length = self.socket.recv(&mut message).await.unwrap();
        message.truncate(length);
        String::from_utf8(message).unwrap()
    }

    /// Waits for a message with this line.
    async fn hears_line(&self, line: &str) -> String {
        loop {
            let message = self.hears().await;
            if message.lines().any(|told| told == line) {
                return message;
            }
        }
    }

    /// Forgets what was told so far.
    fn forget(&self) {
        while self.socket.try_recv(&mut [0; 4096]).is_ok() {}
    }
}

/// Fails when a manager is told too early, too late, or nothing of what goes on.
#[tokio::test]
async fn a_manager_is_told_of_the_start_of_sessions_and_requests_and_of_the_stop() {
    let emulator = Emulator::start(Vendor::MFiles, Options::default()).await.unwrap();
    let site = Site::new(&emulator);
    let manager = Manager::of(&site);
    let variables = [("NOTIFY_SOCKET", manager.path.as_os_str())];
    let mut doorward = Doorward::start_told(&site, 0, &variables).await;
    let ready = manager.hears().await;
    assert_eq!(ready, "READY=1\nSTATUS=0 sessions live, 0 requests under way\n");

    assert!(ask(doorward.address, Vendor::MFiles).await.starts_with("HTTP/1.1 200"));
    manager.hears_line("STATUS=1 session live, 0 requests under way").await;
    let hold = emulator.control().hold("GET /REST/views/items");
    doorward.ask(Vendor::MFiles);
    manager.hears_line("STATUS=1 session live, 1 request under way").await;

    doorward.signal().await;
    assert_eq!(manager.hears().await, "STOPPING=1\n");
    manager.hears_line("STATUS=Stopping: 1 request under way, 1 session live").await;
    hold.release();
    assert!(doorward.ended().await.success());
    assert_eq!(emulator.control().counters().live_sessions, 0);
}

/// Fails when a manager is not told that the configuration is read again, since when, or that it was;
/// or hears that it was before that is so.
#[tokio::test]
async fn a_manager_is_told_of_each_reload_whatever_comes_of_it() {
    let emulator = Emulator::start(Vendor::MFiles, Options::default()).await.unwrap();
    let site = Site::new(&emulator);
    let manager = Manager::of(&site);
    let variables = [("NOTIFY_SOCKET", manager.path.as_os_str())];
    let mut doorward = Doorward::start_told(&site, 0, &variables).await;
    manager.hears_line("READY=1").await;
    let text = fs::read_to_string(site.path().join("doorward.toml")).unwrap();
    let moved = text.replace("[[routes]]", "[[routes]]\npath = \"/elsewhere\"");
    for config in [moved, text.replace("[[routes]]", "[[rotes]]"), text] {
        site.write("doorward.toml", &config);
        let before = monotonic_microseconds();
        doorward.signal_by("-HUP").await;
        let begun = manager.hears_line("RELOADING=1").await;
        let moment = begun.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC="));
        let moment: u128 = moment.unwrap_or_else(|| panic!("{begun}")).parse().unwrap();
        assert!((before..=monotonic_microseconds()).contains(&moment), "{begun}");
        manager.hears_line("READY=1").await;
        let is_moved = !ask(doorward.address, Vendor::MFiles).await.starts_with("HTTP/1.1 200");
        assert_eq!(is_moved, !config.contains("[[routes]]\nupstream"), "{config}");
    }
    doorward.stop().await;
}

/// The clock that a manager compares with.
fn monotonic_microseconds() -> u128 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap();
    Duration::from(now).as_micros()
}

/// Fails when a watchdog is told by a timer that goes on although a core hangs, or is told nothing
/// although all run.
#[tokio::test]
async fn the_watchdog_is_told_nothing_while_one_core_hangs() {
    let emulator = Emulator::start(Vendor::MFiles, Options::default()).await.unwrap();
    let site = Site::new(&emulator);
    let text = fs::read_to_string(site.path().join("doorward.toml")).unwrap();
    // Only then may others than root stop its thread.
    let text = text.replace("cores = 1", "cores = 2\ncore_dumps = \"allowed\"");
    site.write("doorward.toml", &text);
    let manager = Manager::of(&site);
    let within = WATCHDOG.as_micros().to_string();
    let variables =
        [("NOTIFY_SOCKET", manager.path.as_os_str()), ("WATCHDOG_USEC", within.as_ref())];
    let doorward = Doorward::start_told(&site, 0, &variables).await;
    for _ in 0..3 {
        manager.hears_line("WATCHDOG=1").await;
    }

    let core = thread(doorward.id(), "core-1");
    ptrace::seize(core, ptrace::Options::empty()).unwrap();
    ptrace::interrupt(core).unwrap();
    until("it is told", || doorward.log().contains("a core does not answer")).await;
    assert!(doorward.log().contains("\"core\":1"), "{}", doorward.log());
    manager.forget();
    // The other core and the control side run all the while. The system gives each of them a part of
    // the connections: one that comes to the core that hangs is not answered.
    let mut tries = 0..TRIES_MAX;
    loop {
        assert!(tries.next().is_some(), "the other core answers nobody");
        let asked = timeout(TRY_TIME_MAX, ask(doorward.address, Vendor::MFiles)).await;
        if asked.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200")) {
            break;
        }
    }
    let heard = timeout(WATCHDOG * 3, async { manager.hears_line("WATCHDOG=1").await });
    assert!(heard.await.is_err(), "the watchdog is told that all is well");

    ptrace::detach(core, None).unwrap();
    manager.hears_line("WATCHDOG=1").await;
    assert!(doorward.log().contains("the core answers again"), "{}", doorward.log());
}

/// The thread of a process by its name.
fn thread(process: u32, name: &str) -> Pid {
    let threads = fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let mut threads = threads.map(|entry| entry.unwrap().path());
    let named = threads.find(|path| fs::read_to_string(path.join("comm")).unwrap().trim() == name);
    let number = named.unwrap().file_name().unwrap().to_str().unwrap().parse().unwrap();
    Pid::from_raw(number)
}
