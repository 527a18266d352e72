//! What the server's processes use: processor time and memory.

use std::fs;
use std::path::PathBuf;

/// Reads the use of a process tree or of a control group.
pub struct Meter {
    pid: Option<u32>,
    cgroup: Option<PathBuf>,
}

impl Meter {
    pub fn new(pid: Option<u32>, cgroup: Option<PathBuf>) -> Meter {
        Meter { pid, cgroup }
    }

    /// Microseconds of processor time so far, of processes that ended as well.
    pub fn cpu(&self) -> Option<f64> {
        if let Some(cgroup) = &self.cgroup {
            let text = fs::read_to_string(cgroup.join("cpu.stat")).ok()?;
            return text.lines().find_map(|line| line.strip_prefix("usage_usec "))?.parse().ok();
        }
        let per_tick = 1e6 / nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok()?? as f64;
        let ticks: u64 = self.pids().iter().filter_map(|&pid| ticks(pid)).sum();
        self.pid.map(|_| ticks as f64 * per_tick)
    }

    /// KiB resident; a page that processes share counts once.
    pub fn memory(&self) -> Option<f64> {
        let pids = self.pids();
        (!pids.is_empty()).then(|| pids.iter().filter_map(|&pid| proportional(pid)).sum())
    }

    fn pids(&self) -> Vec<u32> {
        if let Some(cgroup) = &self.cgroup {
            let text = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
            return text.lines().filter_map(|line| line.parse().ok()).collect();
        }
        let mut found = Vec::from_iter(self.pid);
        let mut next = 0;
        while let Some(&pid) = found.get(next) {
            found.extend(children(pid));
            next += 1;
        }
        found
    }
}

fn children(pid: u32) -> Vec<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

/// utime, stime, cutime and cstime.
fn ticks(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields = text.rsplit_once(')')?.1.split_whitespace().skip(11).take(4);
    Some(fields.filter_map(|field| field.parse::<u64>().ok()).sum())
}

fn proportional(pid: u32) -> Option<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("Pss:"))?.trim().strip_suffix(" kB")?.trim().parse().ok()
}
