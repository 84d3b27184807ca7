//! How much memory and how many descriptors the process uses, looked at twice a second, and what it
//! takes on accordingly.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::proxy::overload::{
    Load, NORMAL_BELOW, Overload, RESERVED_DESCRIPTORS, SHEDDING_FROM, judge, percent,
};
use crate::settings::Settings;
use crate::telemetry::{Event, Strain, WeakReporter};

/// How often memory and descriptors are looked at. Connections are counted besides, so that
/// descriptors do not run out between two looks; 1000 new ones in a second with 64 KiB each are 32 MiB.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The allocator gives back what was freed a second ago or earlier, but looks at it only when somebody
/// takes or frees a large block, which may be long after a crowd has left.
const LARGE_BLOCK_BYTES: usize = 1024 * 1024;

/// What an allocator keeps for itself is given up on after so many looks without growth.
const KEPT_AFTER: u32 = 20;

/// Raises the number of descriptors that this process may have to what the system allows it. What
/// it starts inherits that.
pub fn raise_descriptors() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_some() && current != maximum {
        // With the old number everything works as well, for fewer clients.
        _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    }
}

/// What an operator should know of `limits.connections_max` and the descriptors that this process
/// may have once it has raised its limit; nothing where they fit.
pub fn descriptor_advice(settings: &Settings) -> Option<String> {
    let maximum = getrlimit(Resource::Nofile).maximum?;
    let listeners = settings.listeners.len() as u64;
    advice(settings.limits.connections_max as u64, listeners, maximum)
}

fn advice(connections_max: u64, listeners: u64, descriptors_max: u64) -> Option<String> {
    let wanted = connections_max.saturating_mul(listeners);
    let counted = descriptors_max.saturating_sub(RESERVED_DESCRIPTORS);
    let fit = counted.saturating_mul(SHEDDING_FROM) / 100;
    (wanted > fit).then(|| {
        format!(
            "limits.connections_max allows {wanted} connections of clients, and this process may \
             have {descriptors_max} descriptors: from {fit} on requests are refused \
             (gateway_overloaded); raise the hard limit (ulimit -Hn, LimitNOFILE=), and leave room \
             for as many connections to upstreams"
        )
    })
}

/// What this process may use.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    memory_bytes: Option<u64>,
}

/// What this process uses.
#[derive(Clone, Copy, Debug, Default)]
struct Use {
    memory_bytes: Option<u64>,
    descriptors: Option<u64>,
}

/// How many descriptors this process may have now.
pub(super) fn descriptors_max() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

impl Budget {
    /// As the operator says, else as much as the control group or the machine has.
    pub(super) fn new(written: Option<u64>) -> Self {
        let memory_bytes =
            written.or_else(|| control_group_bytes().into_iter().chain(machine_bytes()).min());
        Self { memory_bytes }
    }
}

/// The smallest limit of this process's control group and those around it.
fn control_group_bytes() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let limits = groups.lines().flat_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            "memory" => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            _ => return Vec::new(),
        };
        let group = Path::new(root).join(path.trim_start_matches('/'));
        let around = group.ancestors().take_while(|folder| folder.starts_with(root));
        // Version 2 says `max` where there is none, version 1 a number that no machine has.
        let limit = |folder: &Path| fs::read_to_string(folder.join(file)).ok()?.trim().parse().ok();
        around.filter_map(limit).collect()
    });
    limits.min()
}

fn machine_bytes() -> Option<u64> {
    kib("/proc/meminfo", "MemTotal:")
}

/// A line of a file of `/proc` that tells KiB.
fn kib(path: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

impl Use {
    /// Resident memory, which is all that counts against a control group and that no own account
    /// would know of (buffers of TLS and HTTP/2, the allocator's); and open descriptors.
    fn now() -> Self {
        Self { memory_bytes: kib("/proc/self/status", "VmRSS:"), descriptors: descriptors() }
    }
}

/// Since Linux 6.2 the folder's size is their number; else they are counted.
fn descriptors() -> Option<u64> {
    match fs::metadata("/proc/self/fd").ok()?.len() {
        0 => Some(fs::read_dir("/proc/self/fd").ok()?.count() as u64),
        descriptors => Some(descriptors),
    }
}

/// Looks at what is used; ends when it is dropped.
#[derive(Debug)]
pub(super) struct Gauge(JoinHandle<()>);

impl Gauge {
    pub(super) fn start(budget: Budget, overload: Arc<Overload>, reporter: WeakReporter) -> Self {
        // Connections are counted from now on: what else there is must be known.
        _ = Use::now().descriptors.map(|used| overload.note_descriptors(used));
        Self(tokio::spawn(async move {
            let mut memory = Memory { budget, kept: 0, most: 0, connections: 0, looks: 0 };
            // The last that was told.
            let mut told = Load::Normal;
            loop {
                sleep(LOOK_EVERY).await;
                give_back();
                let (load, strain) = look(&mut memory, &overload, overload.load(), Use::now());
                overload.set(load);
                if load != told {
                    reporter.report(Event::Strain(strain));
                    told = load;
                }
            }
        }))
    }
}

impl Drop for Gauge {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Has the allocator give memory back to the system. Nothing is written to the block: it costs none.
fn give_back() {
    std::hint::black_box(Vec::<u8>::with_capacity(LARGE_BLOCK_BYTES));
}

/// What is taken on after a look, and what is told of it.
fn look(memory: &mut Memory, overload: &Overload, before: Load, seen: Use) -> (Load, Strain) {
    if let Some(descriptors) = seen.descriptors {
        overload.note_descriptors(descriptors);
    }
    let descriptors = seen.descriptors.map(|used| percent(used, overload.descriptors_max()));
    let bytes = seen.memory_bytes.and_then(|used| memory.used(used, overload.connections()));
    let used = descriptors.max(bytes).unwrap_or(0);
    let load = judge(before, used);
    let strain = Strain {
        load: load.as_str(),
        descriptors_percent: descriptors,
        memory_percent: bytes,
        connections: overload.connections(),
    };
    (load, strain)
}

/// Memory that is used. An allocator may keep what was freed, for what comes next: it would look
/// used for ever. So when nothing has grown for a while and half of the connections are gone, what is
/// left counts as free, and its growth is what counts.
#[derive(Debug)]
struct Memory {
    budget: Budget,
    /// What the allocator keeps.
    kept: u64,
    most: u64,
    /// The most connections while it was scarce.
    connections: u64,
    looks: u32,
}

impl Memory {
    /// How many percent are used; nothing where nobody knows how much there is.
    fn used(&mut self, bytes: u64, connections: u64) -> Option<u64> {
        let budget = self.budget.memory_bytes?;
        if percent(bytes, budget) < NORMAL_BELOW {
            (self.kept, self.most, self.connections, self.looks) = (0, 0, 0, 0);
            return Some(percent(bytes, budget));
        }
        let used = |kept: u64| percent(bytes.saturating_sub(kept), budget.saturating_sub(kept));
        if used(self.kept) < NORMAL_BELOW {
            return Some(used(self.kept));
        }
        self.connections = self.connections.max(connections);
        self.looks = if bytes > self.most { 0 } else { self.looks + 1 };
        self.most = self.most.max(bytes);
        if self.looks >= KEPT_AFTER && connections <= self.connections / 2 {
            self.kept = bytes.min(budget);
            (self.most, self.connections, self.looks) = (bytes, 0, 0);
        }
        Some(used(self.kept))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operator_is_told_when_connections_do_not_fit_into_the_descriptors() {
        assert_eq!(advice(9_000, 1, 10_016), None);
        let told = advice(9_001, 1, 10_016).unwrap();
        assert!(told.contains("10016 descriptors") && told.contains("from 9000 on"), "{told}");
        assert!(advice(5_000, 2, 10_016).is_some());
    }

    #[test]
    fn the_process_sees_itself() {
        let now = Use::now();
        assert!(now.descriptors.unwrap() > 2 && now.memory_bytes.unwrap() > 1024 * 1024);
        let files: Vec<_> = (0..50).map(|_| fs::File::open("/dev/null").unwrap()).collect();
        assert!(Use::now().descriptors.unwrap() >= now.descriptors.unwrap() + 20);
        drop(files);
        let budget = Budget::new(None).memory_bytes.unwrap();
        assert!(budget <= machine_bytes().unwrap() && budget > 16 * 1024 * 1024, "{budget}");
        assert_eq!(Budget::new(Some(7)).memory_bytes, Some(7));
    }

    #[test]
    fn what_is_scarcest_decides() {
        let budget = Budget { memory_bytes: Some(1000) };
        let mut memory = Memory { budget, kept: 0, most: 0, connections: 0, looks: 0 };
        let overload = Overload::new(100 + RESERVED_DESCRIPTORS);
        let mut look = |memory_bytes, descriptors| {
            let seen = Use { memory_bytes: Some(memory_bytes), descriptors: Some(descriptors) };
            let (load, strain) = look(&mut memory, &overload, Load::Normal, seen);
            (load, strain.memory_percent.unwrap(), strain.descriptors_percent.unwrap())
        };
        assert_eq!(look(500, 50), (Load::Normal, 50, 50));
        assert_eq!(look(900, 50), (Load::Shedding, 90, 50));
        assert_eq!(look(500, 96), (Load::Full, 50, 96));
    }

    #[test]
    fn what_an_allocator_keeps_does_not_refuse_requests_for_ever() {
        let budget = Budget { memory_bytes: Some(1000) };
        let mut memory = Memory { budget, kept: 0, most: 0, connections: 0, looks: 0 };
        assert_eq!(memory.used(950, 100), Some(95));
        for _ in 0..100 {
            // Everybody is still there.
            assert_eq!(memory.used(940, 90), Some(94));
        }
        assert_eq!(memory.used(940, 10), Some(0), "they are gone, and nothing has come back");
        // What grows from here on counts.
        assert_eq!(memory.used(950, 20), Some(16));
        assert_eq!(memory.used(995, 20), Some(91));
        assert_eq!(memory.used(700, 20), Some(70));
        assert_eq!(memory.used(940, 20), Some(94));
    }
}
