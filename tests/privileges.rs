//! A base that root starts and another user serves. Only root can check that: without it, these tests say so and pass.

mod common;

use std::fs::{self, Permissions};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User, geteuid};
use rustls::version::TLS13;

use common::client::Client;
use common::secure::{Secure, Trust, connect};
use common::server::{children, heliograph};
use common::wire::Received;

const SOON: Duration = Duration::from_secs(15);

/// Every system has this user; none has to be made.
const USER: &str = "nobody";

/// A base with ports that only root can bind, a key that only root can read, and the user `ada`.
struct Base {
    directory: tempfile::TempDir,
    plain: SocketAddr,
    tls: SocketAddr,
}

impl Base {
    /// `None`: this is not root.
    fn new() -> Option<Base> {
        if !geteuid().is_root() {
            eprintln!("not run: needs root");
            return None;
        }
        let directory = tempfile::tempdir().expect("make a temporary directory");
        fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).expect("let others pass");
        let [plain, tls] = low_ports();
        let base = Base { directory, plain, tls };
        let [certificate, key] = base.identity("first");
        let sets = [
            format!("local.serveruid={USER}"),
            "service.listenaddr=127.0.0.1".to_owned(),
            format!("service.imap.port={}", plain.port()),
            format!("service.imap.sslport={}", tls.port()),
            format!("service.imap.sslcertfile={}", certificate.display()),
            format!("service.imap.sslkeyfile={}", key.display()),
            "service.imap.numprocesses=2".to_owned(),
            "local.ens.port=0".to_owned(),
            "local.store.notifyplugin.ensport=0".to_owned(),
        ];
        let dir = base.dir();
        let sets = sets.iter().flat_map(|set| ["--set", set]);
        heliograph(&["init"].into_iter().chain(sets).chain([path(&dir)]).collect::<Vec<_>>());
        base.import("secret");
        Some(base)
    }

    fn dir(&self) -> PathBuf {
        self.directory.path().join("base")
    }

    /// Sets the password, as root.
    fn import(&self, password: &str) {
        let users = self.directory.path().join("users");
        fs::write(&users, format!("ada:{{PLAIN}}{password}\n")).expect("write the list of users");
        heliograph(&["--base", path(&self.dir()), "user", "import", path(&users)]);
    }

    /// A certificate and its key, root's alone, in a directory of root's.
    fn identity(&self, name: &str) -> [PathBuf; 2] {
        let directory = self.directory.path().join("tls");
        fs::create_dir_all(&directory).expect("make a directory");
        fs::set_permissions(&directory, Permissions::from_mode(0o700)).expect("close it");
        let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let texts = [signed.cert.pem(), signed.signing_key.serialize_pem()];
        ["pem", "key"].map(|kind| {
            let file = directory.join(format!("{name}.{kind}"));
            fs::write(&file, &texts[usize::from(kind == "key")]).expect("write it");
            fs::set_permissions(&file, Permissions::from_mode(0o600)).expect("close it");
            file
        })
    }

    fn call(&self, command: &str, args: &[&str]) -> Output {
        let mut process = Command::new(self.dir().join("sbin").join(command));
        process.args(args).current_dir("/").stdin(Stdio::null()).output().expect("run the command")
    }

    fn does(&self, command: &str, args: &[&str]) -> String {
        let output = self.call(command, args);
        assert!(output.status.success(), "{command}: {}{}", text(&output.stderr), self.log());
        text(&output.stdout)
    }

    fn fails(&self, command: &str, args: &[&str]) -> String {
        let output = self.call(command, args);
        assert!(!output.status.success(), "{command}: {}", text(&output.stdout));
        text(&output.stderr)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir().join("log/imap")).unwrap_or_default()
    }

    fn master(&self) -> Pid {
        let file = fs::read_to_string(self.dir().join("data/proc/master.pid")).expect("a master");
        Pid::from_raw(file.trim().parse().expect("its number"))
    }

    fn login(&self) -> Client {
        let mut client = Client::connect(self.plain);
        client.ok("LOGIN ada secret");
        client
    }

    fn secure(&self, certificate: &Path) -> Secure {
        let mut client = Secure::connect(self.tls, &Trust::new(certificate, &TLS13));
        client.expect("OK", "LOGIN ada secret");
        client
    }

    /// Whether all workers show this certificate.
    fn shows(&self, certificate: &Path) -> bool {
        let trust = Trust::new(certificate, &TLS13);
        (0..6).all(|_| Secure::over(connect(self.tls), &trust).try_line().is_ok())
    }

    /// Nothing that the server has to read or write was left to root by a command.
    fn is_all_the_users(&self) {
        for part in ["data", "log"] {
            for file in files(&self.dir().join(part)) {
                // A server at work renames and removes files.
                let Ok(found) = fs::symlink_metadata(&file) else { continue };
                assert_eq!(found.uid(), uid(), "{}", file.display());
            }
        }
    }
}

impl Drop for Base {
    fn drop(&mut self) {
        self.call("stop-msg", &["-f"]);
    }
}

#[test]
fn every_child_is_the_user_and_confined_also_one_that_comes_later() {
    let Some(base) = Base::new() else { return };
    base.does("start-msg", &[]);
    let master = base.master();
    assert_eq!(status(master, "Uid"), format!("0 {} 0 {}", uid(), uid()), "root only when it has to be");
    let check = |pid: Pid| {
        let all_four = [uid().to_string(), uid().to_string(), uid().to_string(), uid().to_string()].join(" ");
        assert_eq!(status(pid, "Uid"), all_four);
        for (field, value) in [("NoNewPrivs", "1"), ("Seccomp", "2")] {
            assert_eq!(status(pid, field), value, "{field} of {}", status(pid, "Name"));
        }
        for field in ["CapEff", "CapPrm"] {
            assert!(status(pid, field).bytes().all(|digit| digit == b'0'), "{field}");
        }
        assert!(!status(pid, "Groups").split(' ').any(|group| group == "0"));
    };
    let before = children(master);
    assert_eq!(before.len(), 5, "enpd, stored, auth, two workers");
    eventually("all are confined", || before.iter().all(|&pid| is_confined(pid)));
    before.iter().for_each(|&pid| check(pid));
    for &victim in &before {
        kill(victim, Signal::SIGKILL).expect("kill a child");
    }
    eventually("all are replaced", || {
        let now = children(master);
        now.len() == before.len() && !now.iter().any(|pid| before.contains(pid))
    });
    eventually("one can log in again", || {
        Client::try_connect(base.plain).is_some_and(|mut it| it.try_command("LOGIN ada secret").is_some())
    });
    eventually("all are confined again", || children(master).into_iter().all(is_confined));
    children(master).into_iter().for_each(check);
    let log = base.log();
    for role in ["enpd", "stored", "auth", "\"worker 0\"", "\"worker 1\""] {
        let confined = format!("confined role={role} uid={} landlock=", uid());
        assert!(log.lines().any(|line| line.contains(&confined) && line.ends_with("seccomp=on")), "{log}");
    }
}

#[test]
fn mail_is_served_with_ports_and_a_key_that_are_roots() {
    let Some(base) = Base::new() else { return };
    let first = base.directory.path().join("tls/first.pem");
    base.does("start-msg", &[]);
    let mut idle = base.login();
    idle.ok("SELECT INBOX");
    idle.start("IDLE");
    assert!(matches!(idle.wire().receive(), Received::Response(line) if line.starts_with(b"+")));
    let mut secure = base.secure(&first);
    secure.expect("OK", "APPEND INBOX {20+}\r\nSubject: kept\r\n\r\n+\r\n");
    let heard = std::iter::repeat_with(|| idle.wire().receive())
        .take_while(|heard| matches!(heard, Received::Response(_)))
        .find(|heard| matches!(heard, Received::Response(line) if line.ends_with(b" EXISTS")));
    assert!(heard.is_some(), "IDLE tells of it");
    secure.expect("OK", "SELECT INBOX");
    assert!(secure.expect("OK", "FETCH 1 BODY[]").concat().contains("Subject: kept"));

    // A new certificate, and a port that only root can bind.
    let [second, key] = base.identity("second");
    let [port, _] = low_ports();
    for (option, value) in [
        ("service.imap.sslcertfile", path(&second)),
        ("service.imap.sslkeyfile", path(&key)),
        ("service.imap.port", &port.port().to_string()),
    ] {
        base.does("configutil", &["-o", option, "-v", value]);
    }
    base.does("refresh", &[]);
    eventually("all workers show the new certificate", || base.shows(&second));
    secure.expect("OK", "NOOP");
    Client::connect(port).ok("LOGIN ada secret");

    base.does("stop-msg", &[]);
    base.does("start-msg", &[]);
    assert!(base.secure(&second).expect("OK", "STATUS INBOX (MESSAGES)").concat().contains("MESSAGES 1"));
    base.is_all_the_users();
}

#[test]
fn what_root_commands_takes_effect_and_leaves_nothing_to_root() {
    let Some(base) = Base::new() else { return };
    base.does("start-msg", &["imap"]);
    base.login().ok("CREATE box");
    base.import("changed");
    Client::connect(base.plain).no("LOGIN ada secret");
    Client::connect(base.plain).ok("LOGIN ada changed");
    base.import("secret");
    let mut session = base.login();
    assert!(base.does("imsconnutil", &["-c"]).contains("1 users"));
    assert!(base.does("counterutil", &[]).contains("numGoodLogins"));
    assert!(base.does("start-msg", &["ens"]).contains("Starting ens"));
    base.does("imsconnutil", &["-k", "-u", "ada"]);
    eventually("the session is ended", || session.try_command("NOOP").is_none());
    base.does("stop-msg", &["imap"]);
    base.does("start-msg", &[]);
    base.login();

    // A backup is the caller's file, where only the caller can write; what comes back is the user's.
    base.login().append("box", b"Subject: kept\r\n\r\n").expect("an answer");
    let backup = base.directory.path().join("tls/backup");
    base.does("heliograph", &["imsbackup", "-f", path(&backup)]);
    assert_eq!(fs::metadata(&backup).expect("the backup").uid(), 0);
    base.login().ok("DELETE box");
    base.does("heliograph", &["imsrestore", "-f", path(&backup)]);
    assert_eq!(base.login().bodies("box").len(), 1);
    base.is_all_the_users();

    let log = base.dir().join("log/imap");
    fs::rename(&log, log.with_extension("1")).expect("move the log away");
    kill(base.master(), Signal::SIGUSR1).expect("signal the master");
    eventually("workers write to a new log", || {
        base.login();
        let closed = |line: &str| line.contains(" closed ");
        fs::read_to_string(&log).unwrap_or_default().lines().any(closed)
    });
    base.is_all_the_users();
    let mode = fs::metadata(base.dir().join("config/users")).expect("the user file").mode();
    assert_eq!(mode & 0o777, 0o640, "still for the auth process to read");
    base.does("stop-msg", &[]);
    base.is_all_the_users();
}

#[test]
fn what_stands_in_the_way_is_said_in_a_line() {
    let Some(base) = Base::new() else { return };
    let unknown = base.fails("configutil", &["-o", "local.serveruid", "-v", "no-such-user"]);
    assert!(unknown.contains("this machine has no user `no-such-user`"), "{unknown}");

    fs::set_permissions(base.directory.path(), Permissions::from_mode(0o700)).expect("close the way");
    let closed = base.fails("heliograph", &["serve"]);
    assert!(closed.contains("nobody (local.serveruid) cannot reach"), "{closed}");
    fs::set_permissions(base.directory.path(), Permissions::from_mode(0o755)).expect("open the way");

    // Mail of root's, from a time without a service user; and the other way round.
    let partition = base.dir().join("data/store/partition/primary");
    fs::write(partition.join("epoch"), "").expect("write a file");
    let foreign = base.fails("heliograph", &["serve"]);
    assert!(
        foreign.contains("another account than nobody") && foreign.contains("chown -R nobody"),
        "{foreign}"
    );
    fs::remove_file(partition.join("epoch")).expect("remove it");
    base.does("start-msg", &[]);
    base.does("stop-msg", &[]);
    base.does("configutil", &["-o", "local.serveruid", "-d"]);
    let foreign = base.fails("heliograph", &["serve"]);
    assert!(foreign.contains("another account than root"), "{foreign}");

    base.does("configutil", &["-o", "local.serveruid", "-v", "root"]);
    for file in files(&base.dir()) {
        std::os::unix::fs::lchown(file, Some(uid()), None).expect("give it away");
    }
    let mut program = Command::new(env!("CARGO_BIN_EXE_heliograph"));
    program.uid(uid()).args(["--base", path(&base.dir())]).current_dir("/");
    // The program may be where that user cannot reach it.
    if let Ok(output) = program.arg("serve").output() {
        let said = text(&output.stderr);
        assert!(said.contains("only root can serve as another user"), "{said}");
    }
}

#[test]
fn root_without_a_service_user_is_warned() {
    let Some(base) = Base::new() else { return };
    base.does("configutil", &["-o", "local.serveruid", "-d"]);
    base.does("configutil", &["-o", "local.sandbox", "-v", "off"]);
    base.does("start-msg", &[]);
    base.login();
    let log = base.log();
    let warnings = log.lines().filter(|line| line.contains(" warning ") || line.contains(" warn "));
    assert_eq!(warnings.filter(|line| line.contains("set local.serveruid")).count(), 1, "{log}");
    assert!(log.contains("not confined: local.sandbox is off"), "{log}");
    let seccomp: Vec<_> = children(base.master()).into_iter().map(|pid| status(pid, "Seccomp")).collect();
    assert!(seccomp.iter().all(|mode| *mode == status(Pid::this(), "Seccomp")), "{seccomp:?}");
}

fn uid() -> u32 {
    User::from_name(USER).expect("the table of users").expect("nobody").uid.as_raw()
}

/// Two addresses with ports that need privileges, free a moment ago; others than those of another call.
fn low_ports() -> [SocketAddr; 2] {
    use std::sync::atomic::{AtomicU16, Ordering};
    static NEXT: AtomicU16 = AtomicU16::new(1023);
    let mut free =
        std::iter::repeat_with(|| SocketAddr::from(([127, 0, 0, 1], NEXT.fetch_sub(1, Ordering::Relaxed))))
            .take(500)
            .filter(|address| TcpStream::connect(address).is_err());
    [free.next().expect("a free port"), free.next().expect("a free port")]
}

/// A field of a process's status, its words separated by one blank.
fn status(pid: Pid, field: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.expect("a field").split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The last that a child does before its work: it may have been forked a moment ago.
fn is_confined(pid: Pid) -> bool {
    status(pid, "Seccomp") == "2"
}

/// A directory with everything beneath it.
fn files(path: &Path) -> Vec<PathBuf> {
    let mut all = vec![path.to_owned()];
    if fs::symlink_metadata(path).is_ok_and(|found| found.is_dir()) {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        all.extend(entries.flat_map(|entry| files(&entry.path())));
    }
    all
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a plain name")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !condition() {
        assert!(Instant::now() < deadline, "it did not happen that {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
