//! What Linux counts of this process, under the names that Prometheus' own clients use.

use super::text::{Kind, Text};

/// Nothing where `/proc` says nothing.
pub fn add(text: &mut Text) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    if let Some(kib) = field("VmRSS:") {
        text.family("process_resident_memory_bytes", Kind::Gauge, "Resident memory size in bytes.");
        text.sample("process_resident_memory_bytes", &[], kib * 1_024);
    }
    if let Some(threads) = field("Threads:") {
        text.family("process_threads", Kind::Gauge, "Number of threads.");
        text.sample("process_threads", &[], threads);
    }
    if let Some(seconds) = cpu_seconds() {
        text.family("process_cpu_seconds_total", Kind::Counter, "Total user and system CPU time spent in seconds.");
        text.sample("process_cpu_seconds_total", &[], seconds);
    }
    if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
        text.family("process_open_fds", Kind::Gauge, "Number of open file descriptors.");
        text.sample("process_open_fds", &[], files.count());
    }
}

fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // Behind the name, which may have spaces in it: utime and stime are the 12th and 13th field.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let ticks: u64 = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    // SAFETY: it asks for a number of the system's.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    (per_second > 0).then(|| ticks as f64 / per_second as f64)
}
