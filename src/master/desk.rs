//! What a worker tells administrators: a Unix socket per worker, `control.N` in `data/proc`, with a thread of its own,
//! so that no session waits for whoever asks.
//!
//! | line sent | answer |
//! |---|---|
//! | `list` | a line per session, fields separated by tabs: user (empty before login), address, port, seconds since 1970 of the login (0 before it), seconds since the connection, mailboxes selected |
//! | `kill USER` | the number of sessions that are told to end |
//!
//! The end of the answer is the end of the connection. Only root and the server's own user are served.

use std::fs::{self, Permissions};
use std::io::{self, BufRead, BufReader, BufWriter, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

use crate::sys::SocketDirectory;
use crate::worker::{Registry, SessionInfo};

use super::limits::{DESK_TIMEOUT, MAX_QUESTION};

/// Name of the sockets, before the worker's number.
const PREFIX: &str = "control.";

/// A socket that administrators ask at.
pub struct Desk {
    listener: UnixListener,
}

impl Desk {
    /// Binds the socket of a worker, in place of its predecessor's.
    pub fn bind(directory: &Path, worker: usize) -> io::Result<Self> {
        let name = format!("{PREFIX}{worker}");
        match fs::remove_file(directory.join(&name)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(SocketDirectory::open(directory)?.path(&name))?;
        fs::set_permissions(directory.join(&name), Permissions::from_mode(0o600))?;
        Ok(Desk { listener })
    }

    /// Answers in a thread of its own, for as long as the process lives.
    pub fn open(self, registry: Registry) -> io::Result<()> {
        let work = move || {
            for stream in self.listener.incoming() {
                let answered = stream.and_then(|stream| answer(&stream, &registry));
                if let Err(error) = answered {
                    log::warn!(error:% = error; "an administrator got no answer");
                    // Out of descriptors, for instance: asking again at once would not help.
                    std::thread::sleep(Duration::from_millis(50));
                }
            }
        };
        std::thread::Builder::new().name("control".to_owned()).spawn(work).map(drop)
    }
}

fn answer(stream: &UnixStream, registry: &Registry) -> io::Result<()> {
    let peer = getsockopt(&stream.as_fd(), PeerCredentials)?.uid();
    if peer != 0 && peer != nix::unistd::geteuid().as_raw() {
        return Err(io::Error::new(ErrorKind::PermissionDenied, "it was asked for by another user"));
    }
    stream.set_read_timeout(Some(DESK_TIMEOUT))?;
    stream.set_write_timeout(Some(DESK_TIMEOUT))?;
    let mut question = String::new();
    BufReader::new(stream.take(MAX_QUESTION)).read_line(&mut question)?;
    let mut out = BufWriter::new(stream);
    match question.trim_end().split_once(' ') {
        None if question.trim_end() == "list" => {
            for session in list(registry) {
                writeln!(out, "{session}")?;
            }
        }
        Some(("kill", user)) => {
            let count = registry.kill(user);
            log::info!(user, count; "sessions ended by an administrator");
            writeln!(out, "{count}")?;
        }
        _ => return Err(io::Error::new(ErrorKind::InvalidData, "it was asked for nothing that is known")),
    }
    out.flush()
}

/// Collected first, so that no session waits while a slow reader takes the list.
fn list(registry: &Registry) -> Vec<String> {
    let (mut lines, now) = (Vec::new(), Instant::now());
    registry.visit(|session| lines.push(line(&session, now)));
    lines
}

fn line(session: &SessionInfo, now: Instant) -> String {
    let SessionInfo { peer, opened, summary } = session;
    format!(
        "{}\t{}\t{}\t{}\t{}\t{}",
        summary.user.as_deref().unwrap_or(""),
        peer.remote.ip(),
        peer.remote.port(),
        summary.login_time.map_or(0, seconds),
        now.saturating_duration_since(*opened).as_secs(),
        summary.mailboxes_selected,
    )
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// A session, as an administrator hears of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedSession {
    /// `None` before login.
    pub user: Option<String>,
    pub client: SocketAddr,
    pub login: Option<SystemTime>,
    pub connected: Duration,
    /// How often a mailbox was selected.
    pub selected: u32,
}

impl ListedSession {
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split('\t');
        let mut next = || fields.next();
        let user = next().map(str::to_owned).filter(|user| !user.is_empty());
        let client = SocketAddr::new(next()?.parse().ok()?, next()?.parse().ok()?);
        let login = next()?.parse().ok().filter(|&seconds| seconds != 0);
        let login = login.map(|seconds| UNIX_EPOCH + Duration::from_secs(seconds));
        let connected = Duration::from_secs(next()?.parse().ok()?);
        Some(ListedSession { user, client, login, connected, selected: next()?.parse().ok()? })
    }
}

/// The sessions of a worker.
///
/// # Errors
/// When the worker does not answer.
pub fn list_sessions(directory: &Path, worker: usize) -> io::Result<Vec<ListedSession>> {
    Ok(ask(directory, worker, "list")?.lines().filter_map(ListedSession::parse).collect())
}

/// Ends the sessions of a user in a worker; how many there were.
///
/// # Errors
/// When the worker does not answer.
pub fn kill_sessions(directory: &Path, worker: usize, user: &str) -> io::Result<usize> {
    let answer = ask(directory, worker, &format!("kill {user}"))?;
    answer.trim().parse().map_err(|_| io::Error::new(ErrorKind::InvalidData, "the worker gave no number"))
}

fn ask(directory: &Path, worker: usize, question: &str) -> io::Result<String> {
    if question.len() as u64 >= MAX_QUESTION || question.contains('\n') {
        return Err(io::Error::new(ErrorKind::InvalidInput, "no user has such a name"));
    }
    let path = SocketDirectory::open(directory)?;
    let mut stream = UnixStream::connect(path.path(&format!("{PREFIX}{worker}")))?;
    stream.set_read_timeout(Some(DESK_TIMEOUT))?;
    stream.set_write_timeout(Some(DESK_TIMEOUT))?;
    stream.write_all(format!("{question}\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::{Peer, Summary};

    #[test]
    fn a_session_is_told_in_a_line() {
        let now = Instant::now();
        for (user, login) in
            [(None, None), (Some("ada"), Some(UNIX_EPOCH + Duration::from_secs(1_800_000_000)))]
        {
            let peer =
                Peer { remote: "[2001:db8::1]:4143".parse().unwrap(), local: "[::1]:143".parse().unwrap() };
            let summary = Summary {
                user: user.map(str::to_owned),
                login_time: login,
                mailboxes_selected: 3,
                ..Summary::default()
            };
            let info = SessionInfo { peer, opened: now, summary };
            let heard = ListedSession::parse(&line(&info, now + Duration::from_secs(9))).unwrap();
            let expected = ListedSession {
                user: user.map(str::to_owned),
                client: info.peer.remote,
                login,
                connected: Duration::from_secs(9),
                selected: 3,
            };
            assert_eq!(heard, expected);
        }
        assert_eq!(ListedSession::parse("ada\t1.2.3.4\t5"), None);
    }

    #[test]
    fn a_name_cannot_smuggle_a_second_question() {
        let directory = tempfile::tempdir().unwrap();
        for user in ["ada\nkill grace", &"a".repeat(5000)] {
            let refused = kill_sessions(directory.path(), 0, user).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::InvalidInput);
        }
    }
}
