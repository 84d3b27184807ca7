//! The process as the kernel counts it, from `/proc`; nothing where there is none.

use std::fs;

/// What the kernel says of this process.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Process {
    pub(super) cpu_seconds: Option<f64>,
    pub(super) resident_bytes: Option<u64>,
    pub(super) descriptors: Option<u64>,
    pub(super) descriptors_max: Option<u64>,
    /// Seconds since 1970.
    pub(super) started_at: Option<f64>,
}

/// Ticks of a second in `/proc/self/stat`: the kernel's `USER_HZ`, 100 on every architecture that
/// Rust is built for.
const TICKS_PER_SECOND: f64 = 100.0;

impl Process {
    pub(super) fn now() -> Self {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let boot = fs::read_to_string("/proc/stat").unwrap_or_default();
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let started = field(&stat, 22).and_then(|ticks| {
            let boot = boot.lines().find_map(|line| line.strip_prefix("btime "))?;
            Some(boot.trim().parse::<f64>().ok()? + ticks / TICKS_PER_SECOND)
        });
        let cpu = field(&stat, 14).zip(field(&stat, 15));
        Self {
            cpu_seconds: cpu.map(|(user, system)| (user + system) / TICKS_PER_SECOND),
            resident_bytes: kib(&status, "VmRSS:").map(|kib| kib * 1024),
            // The folder is open while it is read.
            descriptors: fs::read_dir("/proc/self/fd")
                .ok()
                .map(|open| (open.count() as u64).saturating_sub(1)),
            descriptors_max: descriptors_max(&limits),
            started_at: started,
        }
    }
}

/// A field of `/proc/self/stat` (proc_pid_stat(5)). The second one is the program's name in brackets,
/// and may hold spaces and brackets of its own.
fn field(stat: &str, number: usize) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(number.checked_sub(3)?)?.parse().ok()
}

fn kib(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

fn descriptors_max(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_sees_itself() {
        let Process { cpu_seconds, resident_bytes, descriptors, descriptors_max, started_at } =
            Process::now();
        assert!(cpu_seconds.unwrap() >= 0.0 && resident_bytes.unwrap() > 1024 * 1024);
        assert!(descriptors.unwrap() > 2 && descriptors_max.unwrap() >= descriptors.unwrap());
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
        let age = now - started_at.unwrap();
        assert!((-2.0..24.0 * 3600.0).contains(&age), "{age}");
    }

    #[test]
    fn the_name_of_the_program_may_hold_anything() {
        let stat = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 1 0 1234 99";
        assert_eq!(
            (field(stat, 14), field(stat, 15), field(stat, 22)),
            (Some(250.0), Some(50.0), Some(1234.0))
        );
    }
}
