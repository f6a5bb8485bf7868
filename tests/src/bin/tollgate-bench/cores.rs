//! Cores, CPU time and memory of processes, from `/proc` and `taskset`.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};

/// `USER_HZ`, in which `/proc/PID/stat` counts: fixed at 100 on every Linux the product runs on.
const TICK: Duration = Duration::from_millis(10);

/// Where processes run: the one under test on a core of its own, all others on another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cores {
    /// `None` where the machine has one core or no `taskset`: figures then hold less.
    under_test: Option<usize>,
}

impl Cores {
    /// Takes the first two cores this process may use and moves the process itself to the second.
    pub(crate) fn claim() -> anyhow::Result<Self> {
        let status = fs::read_to_string("/proc/self/status").context("cannot read /proc: Linux is needed")?;
        let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        let allowed = cores_of_list(allowed.unwrap_or_default().trim());
        let [under_test, others, ..] = allowed.as_slice() else { return Ok(Self { under_test: None }) };
        let moved = Command::new("taskset")
            .args(["-a", "-c", "-p", &others.to_string(), &std::process::id().to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        let has_moved = moved.is_ok_and(|status| status.success());
        Ok(Self { under_test: has_moved.then_some(*under_test) })
    }

    /// Whether processes are pinned at all.
    pub(crate) fn is_pinned(self) -> bool {
        self.under_test.is_some()
    }

    /// The words to put before a command for it to have its core to itself.
    pub(crate) fn prefix_for_process_under_test(self) -> Vec<String> {
        let prefix = |core: usize| vec!["taskset".to_owned(), "-c".to_owned(), core.to_string()];
        self.under_test.map(prefix).unwrap_or_default()
    }
}

/// `0-2,5` as `[0, 1, 2, 5]`.
fn cores_of_list(list: &str) -> Vec<usize> {
    let bounds = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse::<usize>().ok()?..=last.parse::<usize>().ok()?)
    };
    list.split(',').filter_map(bounds).flatten().collect()
}

/// CPU time that a process and its threads, also those that ended, have used: user and system.
pub(crate) fn cpu_time(process_id: u32) -> anyhow::Result<Duration> {
    let CpuTime { user, kernel } = split_cpu_time(process_id)?;
    Ok(user + kernel)
}

/// CPU time by where it was spent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CpuTime {
    /// In the program itself.
    pub(crate) user: Duration,
    /// In the kernel on its behalf.
    pub(crate) kernel: Duration,
}

/// The same, apart.
pub(crate) fn split_cpu_time(process_id: u32) -> anyhow::Result<CpuTime> {
    let path = format!("/proc/{process_id}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    // The name in parentheses may hold anything; the fields after it are numbers, `utime` the twelfth.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks: Vec<u32> =
        fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse().ok()).collect();
    ensure!(ticks.len() == 2, "{path} is not understood");
    Ok(CpuTime { user: TICK * ticks[0], kernel: TICK * ticks[1] })
}

/// Resident memory in KiB.
pub(crate) fn resident_kib(process_id: u32) -> anyhow::Result<u64> {
    let path = format!("/proc/{process_id}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse().ok());
    kib.with_context(|| format!("{path} names no VmRSS"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cores() {
        for (list, expected) in
            [("0-1", vec![0, 1]), ("3", vec![3]), ("0,4-6", vec![0, 4, 5, 6]), ("", vec![])]
        {
            assert_eq!(cores_of_list(list), expected, "{list}");
        }
    }

    #[test]
    fn this_process_has_used_time_and_memory() {
        let own = std::process::id();
        assert!(resident_kib(own).unwrap() > 100);
        let before = cpu_time(own).unwrap();
        let mut sum = 0_u64;
        while cpu_time(own).unwrap() == before {
            sum = std::hint::black_box(sum + 1);
        }
        assert!(cpu_time(own).unwrap() > before);
    }
}
