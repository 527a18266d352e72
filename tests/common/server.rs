//! Starts the program that is under test and stops it again.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::client::Client;

/// The password of every user in the tests.
pub const PASSWORD: &str = "secret";

/// How long the server may take to start, and to stop before it is killed.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a test's server is like.
pub struct Options {
    settings: Vec<(String, String)>,
    users: Vec<String>,
    environment: Vec<(String, String)>,
}

impl Default for Options {
    /// Three workers on a free port of the loopback interface, one user `ada`; events on any port, so that servers do
    /// not meet.
    fn default() -> Self {
        Options { settings: Vec::new(), users: vec!["ada".to_owned()], environment: Vec::new() }
            .set("service.listenaddr", "127.0.0.1")
            .set("service.imap.port", "0")
            .set("service.imap.numprocesses", "3")
            .set("local.ens.port", "0")
            .set("local.store.notifyplugin.ensport", "0")
    }
}

impl Options {
    /// Gives an option of the configuration a value.
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.settings.retain(|(known, _)| known != name);
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets a variable in the server's environment.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds users; all have the password [`PASSWORD`].
    pub fn users(mut self, names: impl IntoIterator<Item = impl ToString>) -> Self {
        self.users.extend(names.into_iter().map(|name| name.to_string()));
        self
    }
}

/// A running server on a base of its own. It ends when this is dropped.
pub struct Server {
    base: TempDir,
    child: Child,
    addr: SocketAddr,
    environment: Vec<(String, String)>,
}

impl Server {
    /// Makes a base, starts the server on it, and waits until it listens.
    pub fn start(options: Options) -> Server {
        let base = tempfile::tempdir().expect("make a temporary directory");
        let dir = base.path().join("msg-svr-base");
        init(&dir, &options.settings);
        import_users(&dir, &options.users);
        let environment = options.environment;
        let mut child = serve(&dir, &environment);
        let addr = wait_for_listener(&dir, &mut child);
        Server { base, child, addr, environment }
    }

    /// Stops the server, and starts it again on the same base.
    pub fn restart(&mut self) {
        self.stop();
        let dir = self.dir();
        self.child = serve(&dir, &self.environment);
        self.addr = wait_for_listener(&dir, &mut self.child);
    }

    /// Where IMAP is served.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Where IMAP over TLS is served, if it is.
    pub fn tls_addr(&self) -> Option<SocketAddr> {
        listener(&fs::read_to_string(listeners(&self.dir())).ok()?, "imaps ")
    }

    /// The base directory.
    pub fn dir(&self) -> PathBuf {
        self.base.path().join("msg-svr-base")
    }

    /// The master's process id.
    pub fn pid(&self) -> Pid {
        pid(&self.child)
    }

    /// A connection whose greeting has been read.
    pub fn connect(&self) -> Client {
        Client::connect(self.addr)
    }

    /// A connection on which `user` is logged in.
    pub fn login(&self, user: &str) -> Client {
        let mut client = self.connect();
        client.ok(format!("LOGIN {user} {PASSWORD}"));
        client
    }

    /// What the server has logged so far.
    pub fn log(&self) -> String {
        read_log(&self.dir())
    }

    /// Sends the master a signal.
    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).expect("signal the master");
    }

    /// The processes that the master has started and that live.
    pub fn children(&self) -> Vec<Pid> {
        children(self.pid())
    }

    /// Starts the server again after its master was killed.
    pub fn revive(&mut self) {
        self.wait(PATIENCE).expect("the master is dead");
        let dir = self.dir();
        self.child = serve(&dir, &self.environment);
        self.addr = wait_for_listener(&dir, &mut self.child);
    }

    /// Waits for the server's end; `None` when it lives longer than `limit`.
    pub fn wait(&mut self, limit: Duration) -> Option<std::process::ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            match self.child.try_wait().expect("wait for the server") {
                Some(status) => return Some(status),
                None if Instant::now() > deadline => return None,
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    fn stop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = kill(self.pid(), Signal::SIGTERM);
        }
        if self.wait(PATIENCE).is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
        if std::thread::panicking() {
            eprintln!("--- the server's log, last lines ---\n{}", tail(&self.log(), 60));
        }
    }
}

/// Runs one command of the program against a base and insists on its success.
pub fn heliograph(args: &[&str]) -> String {
    let output = program().args(args).stdin(Stdio::null()).output().expect("run heliograph");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "heliograph {} failed: {}{text}",
        args.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

/// A port of 127.0.0.1 on which nobody listens, another for each call.
///
/// It lies below those that Linux picks by itself, so no other server of this test comes to it by chance. It is looked
/// at from outside: a listener of our own would live on for a moment in any child that another test starts just now.
pub fn free_port() -> u16 {
    const PORTS: std::ops::Range<u16> = 10_000..32_768;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Other programs of tests may run at the same time: each begins somewhere else.
    let start = std::process::id().wrapping_mul(97);
    std::iter::repeat_with(|| start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) as usize % PORTS.len())
        .take(PORTS.len())
        .filter_map(|nth| PORTS.clone().nth(nth))
        .find(|port| TcpStream::connect(("127.0.0.1", *port)).is_err())
        .expect("a free port")
}

/// The living children of a process.
pub fn children(parent: Pid) -> Vec<Pid> {
    let processes = fs::read_dir("/proc").expect("list /proc").flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.filter(|&id: &i32| parent_of(id) == Some(parent.as_raw())).map(Pid::from_raw).collect()
}

/// The parent of a process that is not a zombie.
fn parent_of(id: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let mut fields = stat[stat.rfind(')')? + 1..].split_whitespace();
    match fields.next()? {
        "Z" => None,
        _ => fields.next()?.parse().ok(),
    }
}

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_heliograph"));
    command.env_remove("MSG_SVR_BASE");
    command
}

fn init(dir: &Path, settings: &[(String, String)]) {
    let settings: Vec<String> = settings.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let mut args = vec!["init"];
    for setting in &settings {
        args.extend(["--set", setting]);
    }
    args.push(path(dir));
    heliograph(&args);
}

fn import_users(dir: &Path, users: &[String]) {
    let lines: String = users.iter().map(|name| format!("{name}:{{PLAIN}}{PASSWORD}\n")).collect();
    let file = dir.with_file_name("users");
    fs::write(&file, lines).expect("write the list of users");
    heliograph(&["--base", path(dir), "user", "import", path(&file)]);
}

fn serve(dir: &Path, environment: &[(String, String)]) -> Child {
    let _ = fs::remove_file(listeners(dir));
    let log = File::options().create(true).append(true).open(log_file(dir)).expect("open the log");
    program()
        .args(["--base", path(dir), "serve"])
        .env_remove("ENS_ACCESS")
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("share the log"))
        .stderr(log)
        .spawn()
        .expect("start heliograph")
}

/// The master writes this file when every service listens: `imap 127.0.0.1:41234` or `imaps …`, a line per socket.
fn listeners(dir: &Path) -> PathBuf {
    dir.join("data/proc/listeners")
}

fn wait_for_listener(dir: &Path, child: &mut Child) -> SocketAddr {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if let Some(addr) =
            fs::read_to_string(listeners(dir)).ok().as_deref().and_then(|text| listener(text, "imap "))
        {
            return addr;
        }
        if let Ok(Some(status)) = child.try_wait() {
            panic!("the server ended with {status}:\n{}", read_log(dir));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let _ = kill(pid(child), Signal::SIGKILL);
    panic!("the server did not say where it listens:\n{}", read_log(dir));
}

fn listener(text: &str, service: &str) -> Option<SocketAddr> {
    text.lines().find_map(|line| line.strip_prefix(service)?.trim().parse().ok())
}

fn log_file(dir: &Path) -> PathBuf {
    dir.with_file_name("serve.log")
}

fn read_log(dir: &Path) -> String {
    String::from_utf8_lossy(&fs::read(log_file(dir)).unwrap_or_default()).into_owned()
}

fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).expect("a process id fits"))
}

fn path(path: &Path) -> &str {
    path.to_str().expect("the temporary directory has a plain name")
}
