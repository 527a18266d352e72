//! The server that is measured, and the users that are used.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::str::FromStr;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, SockaddrIn, sockopt};

use crate::connection::{self, Connection};
use crate::usage::Meter;

/// Connections from one source address before the next one is taken: far below the usual 28,000 ephemeral ports, of
/// which closed connections hold some for a minute.
const PER_ADDRESS: usize = 5_000;
/// Descriptors that are not sessions: standard streams, /proc files, children's pipes, watchers.
const SPARE_DESCRIPTORS: u64 = 300;

/// Where to connect, and as whom.
#[derive(Args, Clone)]
pub struct Target {
    /// An IPv4 address.
    #[arg(long, global = true, default_value = "127.0.0.1")]
    pub host: Ipv4Addr,
    #[arg(long, global = true, default_value_t = 143)]
    pub port: u16,
    /// TLS from the first byte; the certificate is not checked.
    #[arg(long, global = true)]
    pub tls: bool,
    /// Names of the users; %d becomes the number.
    #[arg(long, global = true, default_value = "u%d")]
    pub user: String,
    /// Which numbers there are.
    #[arg(long, global = true, default_value = "1-100", value_name = "FIRST-LAST")]
    pub users: Range,
    #[arg(long, global = true, default_value = "p")]
    pub password: String,
    /// The server's main process: it and its descendants are measured.
    #[arg(long, global = true)]
    pub pid: Option<u32>,
    /// The server's control group (version 2): more exact than --pid.
    #[arg(long, global = true, value_name = "DIR")]
    pub cgroup: Option<std::path::PathBuf>,
}

/// FIRST-LAST.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    pub first: usize,
    pub last: usize,
}

impl FromStr for Range {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Range> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let range = Range { first: first.parse()?, last: last.parse()? };
        ensure!(range.first <= range.last, "the range {text} is empty");
        Ok(range)
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

impl Range {
    pub fn len(self) -> usize {
        self.last - self.first + 1
    }
}

impl Target {
    /// What names this server and these users on the command line, without what is measured of them.
    pub fn arguments(&self) -> Vec<String> {
        let mut arguments = vec![
            format!("--host={}", self.host),
            format!("--port={}", self.port),
            format!("--user={}", self.user),
            format!("--users={}", self.users),
            format!("--password={}", self.password),
        ];
        if self.tls {
            arguments.push("--tls".to_owned());
        }
        arguments
    }

    /// The name of the `n`th user; beyond the last it begins anew.
    pub fn user_name(&self, n: usize) -> String {
        self.user.replace("%d", &(self.users.first + n % self.users.len()).to_string())
    }

    /// A connection that is logged in as the `n`th user; `serial` counts connections, to spread them over source
    /// addresses.
    pub fn login(&self, n: usize, serial: usize) -> Result<Connection> {
        let stream =
            self.dial(serial).with_context(|| format!("cannot connect to {}:{}", self.host, self.port))?;
        let mut connection =
            Connection::open(stream, self.tls.then(|| Arc::clone(connection::tls_config())))?;
        connection.login(&self.user_name(n), &self.password)?;
        Ok(connection)
    }

    /// The same, with INBOX selected.
    pub fn selected(&self, n: usize, serial: usize) -> Result<Connection> {
        let mut connection = self.login(n, serial)?;
        connection.command("SELECT INBOX")?;
        Ok(connection)
    }

    /// What reads the server's processor time and memory.
    pub fn meter(&self) -> Meter {
        Meter::new(self.pid, self.cgroup.clone())
    }

    /// On loopback, many connections come from several addresses: a pair of addresses and a port of the server has only
    /// so many ports on the other side.
    fn dial(&self, serial: usize) -> Result<TcpStream> {
        if !self.host.is_loopback() || serial < PER_ADDRESS {
            return Ok(TcpStream::connect((self.host, self.port))?);
        }
        let last = 1 + u8::try_from(serial / PER_ADDRESS).context("more than five million connections")?;
        let socket: OwnedFd =
            socket::socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
        // The port is chosen when both ends are known: at once, and one that is free for that pair.
        socket::setsockopt(&socket, sockopt::IpBindAddressNoPort, &true)?;
        socket::bind(
            socket.as_raw_fd(),
            &SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, last), 0)),
        )?;
        socket::connect(socket.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(self.host, self.port)))?;
        Ok(TcpStream::from(socket))
    }
}

/// Raises the limit of open descriptors to what the system lets a process have.
pub fn raise_descriptor_limit() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

/// How many sessions one process can hold.
///
/// # Errors
/// When the limit is too low for any.
pub fn sessions_per_process() -> Result<usize> {
    let (limit, _) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if limit <= SPARE_DESCRIPTORS {
        bail!("{limit} open files are too few: raise them with `ulimit -Hn` or in /etc/security/limits.conf");
    }
    Ok((limit - SPARE_DESCRIPTORS) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_and_empty_ones_refused() {
        assert_eq!("3-7".parse::<Range>().unwrap(), Range { first: 3, last: 7 });
        assert_eq!("5".parse::<Range>().unwrap().len(), 1);
        assert!("7-3".parse::<Range>().is_err() && "x-3".parse::<Range>().is_err());
    }

    /// A process that holds sessions once took the users of the command line instead of those it was told to take, so
    /// that hundreds of idle sessions watched the mailboxes whose news was measured.
    #[test]
    fn another_process_is_given_the_same_target() {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            target: Target,
        }
        let read = |words: &[String]| {
            let words = std::iter::once("load").chain(words.iter().map(String::as_str));
            <Line as clap::Parser>::parse_from(words).target
        };
        let given =
            ["--host=127.0.0.9", "--port=1143", "--tls", "--user=m%d@x", "--users=3-7", "--password=a b"];
        let mut target = read(&given.map(str::to_owned));
        target.users.last -= 2;
        let again = read(&target.arguments());
        assert_eq!(again.users, Range { first: 3, last: 5 });
        assert_eq!(
            (again.host, again.port, again.tls, again.user, again.password),
            (target.host, target.port, target.tls, target.user, target.password)
        );
    }
}
