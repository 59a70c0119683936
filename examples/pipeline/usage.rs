//! CPU time and peak memory of a process, from `/proc`.

use std::time::Duration;

/// What a process has used.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    /// User and system time.
    pub cpu: Duration,
    /// Peak resident memory in bytes.
    pub peak_memory: u64,
}

/// The kernel counts CPU time in hundredths of a second towards user space, on every architecture.
const TICK: Duration = Duration::from_millis(10);

/// What the process has used until now; `None` when it is gone, or this is no Linux.
pub fn of(pid: u32) -> Option<Usage> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the name in parentheses, which may hold anything.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index)?.parse::<u32>().ok();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok())
        .unwrap_or(0);
    Some(Usage {
        cpu: TICK * (ticks(11)? + ticks(12)?),
        peak_memory: kib * 1024,
    })
}
