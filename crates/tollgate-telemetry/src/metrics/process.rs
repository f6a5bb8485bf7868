//! Memory, CPU and tasks of this process, the former under the names that Prometheus' own client libraries use. Read from
//! `/proc/self` when somebody scrapes; elsewhere than on Linux the series are absent.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::collector::gauge;

/// Ticks per second of the times in `/proc/self/stat`: `USER_HZ`, fixed in Linux' ABI.
const CLOCK_TICKS_PER_SECOND: f64 = 100.0;

/// Reads `/proc/self`, and counts the tasks of the runtime it was made in.
#[derive(Debug)]
pub(super) struct ProcessCollector {
    runtime: Option<tokio::runtime::Handle>,
}

impl ProcessCollector {
    pub(super) fn new() -> Self {
        Self { runtime: tokio::runtime::Handle::try_current().ok() }
    }
}

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        if let Some(bytes) = read("/proc/self/status").and_then(|status| resident_bytes(&status)) {
            let help = "Memory that the process holds";
            gauge(&mut encoder, "process_resident_memory_bytes", help, bytes as f64)?;
        }
        if let Some(seconds) = read("/proc/self/stat").and_then(|stat| cpu_seconds(&stat)) {
            let help = "Processor time the process has used";
            encoder
                .encode_descriptor("process_cpu_seconds", help, None, MetricType::Counter)?
                .encode_counter::<NoLabelSet, f64, f64>(&seconds, None)?;
        }
        if let Ok(entries) = std::fs::read_dir("/proc/self/fd") {
            gauge(&mut encoder, "process_open_fds", "Open file descriptors", entries.count() as f64)?;
        }
        if let Some(runtime) = &self.runtime {
            let n_tasks = runtime.metrics().num_alive_tasks();
            let help = "Tasks of the asynchronous runtime that have not ended";
            gauge(&mut encoder, "tollgate_tasks", help, n_tasks as f64)?;
        }
        Ok(())
    }
}

fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

/// `VmRSS:   123456 kB`
fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// Fields 14 and 15 of `stat`; the second field is a name in parentheses that may hold spaces.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((user + system) as f64 / CLOCK_TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_texts_parse() {
        assert_eq!(resident_bytes("Name:\tx\nVmRSS:\t    2048 kB\nThreads:\t3\n"), Some(2 << 20));
        assert_eq!(resident_bytes("Name:\tx\n"), None);
        let stat = "42 (a (b) c) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0";
        assert_eq!(cpu_seconds(stat), Some(2.0));
        assert_eq!(cpu_seconds("garbage"), None);
    }
}
