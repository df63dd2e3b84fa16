//! What a process of this machine uses, as Linux tells under /proc; nothing where it does not.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

/// /proc counts CPU time in these, on every architecture.
const TICKS_PER_SECOND: u64 = 100;

/// What a process has used.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Resident memory now, in bytes.
    pub resident: u64,
    /// CPU time so far, of all threads, in user and kernel mode.
    pub cpu: Duration,
}

/// The process that listens on an address of this machine.
pub fn listening(address: SocketAddr) -> Option<u32> {
    let inode = ["/proc/net/tcp", "/proc/net/tcp6"].into_iter().find_map(|table| inode(table, address.port()))?;
    let wanted = format!("socket:[{inode}]");
    let pids = fs::read_dir("/proc").ok()?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let holds = |pid: &u32| {
        let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        files.into_iter().any(|file| fs::read_link(file.path()).is_ok_and(|link| link.as_os_str() == wanted.as_str()))
    };
    { pids }.find(holds)
}

/// The inode of the socket that listens on a port.
fn inode(table: &str, port: u16) -> Option<u64> {
    const LISTENING: &str = "0A";
    let text = fs::read_to_string(table).ok()?;
    text.lines().skip(1).find_map(|line| {
        let mut columns = line.split_whitespace();
        let (local, state) = (columns.nth(1)?, columns.nth(1)?);
        let found = u16::from_str_radix(local.rsplit(':').next()?, 16).ok()?;
        if state == LISTENING && found == port { columns.nth(5)?.parse().ok() } else { None }
    })
}

/// What a process has used by now.
pub fn usage(pid: u32) -> Option<Usage> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = resident.trim().strip_suffix("kB")?.trim().parse().ok()?;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before it may hold anything, a closing bracket too.
    let mut after_name = stat.rsplit_once(')')?.1.split_whitespace();
    let user: u64 = after_name.nth(11)?.parse().ok()?;
    let kernel: u64 = after_name.next()?.parse().ok()?;
    Some(Usage { resident: kib * 1_024, cpu: Duration::from_millis((user + kernel) * 1_000 / TICKS_PER_SECOND) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_found_by_where_it_listens() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let pid = listening(listener.local_addr().unwrap());
        assert_eq!(pid, Some(std::process::id()));
        assert!(usage(std::process::id()).unwrap().resident > 1 << 20);
    }
}
