//! A store that is full, read-only, damaged or in wrong hands, as a client meets it: a clear answer, a line in the log
//! that names the file, everything acknowledged still there, other users served, and service again without a restart
//! when the cause is gone. What a disk can do in between, the tests of the store try on a simulated one.

mod common;

use std::fs;
use std::os::unix::fs::{FileExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use common::client::Client;
use common::server::{Options, Server};

const MESSAGE: &[u8] = b"Subject: kept\r\n\r\nThis message was acknowledged.\r\n";

/// A server that knows ada's mail, and has not opened it yet.
struct Scene {
    server: Server,
    ada: PathBuf,
}

impl Scene {
    fn new() -> Scene {
        let mut server =
            Server::start(Options::default().set("service.imap.numprocesses", "1").users(["bob"]));
        let mut client = server.login("ada");
        client.append("INBOX", MESSAGE).filter(|reply| reply.status.starts_with("OK")).expect("an OK");
        drop(client);
        let ada = find(&partition(&server), "=ada").expect("ada's directory");
        server.restart();
        Scene { server, ada }
    }

    /// Ada's mail cannot be had now, and the answer says why with this code; bob's can.
    fn refuses(&self, code: &str, named: &Path) {
        let mut client = self.server.connect();
        let reply = try_mail(&mut client);
        assert!(reply.contains(code), "{named:?}: expected {code}, came {reply}");
        let named = named.to_str().expect("a plain path");
        assert!(self.server.log().contains(named), "the log does not name {named}");
        self.server.login("bob").ok("SELECT INBOX");
    }

    /// With nothing open.
    fn restarted(mut self) -> Scene {
        self.server.restart();
        self
    }

    fn serves(&self) {
        let mut client = self.server.login("ada");
        let bodies: Vec<Vec<u8>> = client.bodies("INBOX").into_values().collect();
        assert_eq!(bodies, [MESSAGE]);
    }
}

/// Logs in and selects, and gives back the first answer that is not OK.
fn try_mail(client: &mut Client) -> String {
    for command in ["LOGIN ada secret", "SELECT INBOX"] {
        let status = client.command(command).status;
        if !status.starts_with("OK") {
            return status;
        }
    }
    "OK".into()
}

fn partition(server: &Server) -> PathBuf {
    server.dir().join("data/store/partition/primary")
}

fn find(dir: &Path, name: &str) -> Option<PathBuf> {
    fs::read_dir(dir)
        .ok()?
        .flatten()
        .map(|entry| entry.path())
        .find_map(|path| if path.file_name()? == name { Some(path) } else { find(&path, name) })
}

#[test]
fn a_link_in_the_store_is_not_followed() {
    let scene = Scene::new();
    let moved = scene.server.dir().join("moved");
    fs::rename(&scene.ada, &moved).expect("move the directory");
    symlink(&moved, &scene.ada).expect("plant a link");
    scene.refuses("[UNAVAILABLE]", &scene.ada);
    fs::remove_file(&scene.ada).expect("take the link away");
    fs::rename(&moved, &scene.ada).expect("put the directory back");
    scene.serves();
}

#[test]
fn a_directory_of_somebody_else_is_not_used() {
    let scene = Scene::new();
    let given = chown(&scene.ada, Some(54_321), None);
    if given.is_err() {
        eprintln!("only root can give directories away: nothing was tried");
        return;
    }
    scene.refuses("[UNAVAILABLE]", &scene.ada);
    chown(&scene.ada, Some(nix::unistd::geteuid().as_raw()), None).expect("take the directory back");
    scene.serves();
}

#[test]
fn a_flipped_bit_is_reported_and_nothing_is_cut() {
    let scene = Scene::new();
    let path = scene.ada.join("log/0000000001");
    let file = fs::File::options().write(true).open(&path).expect("the log");
    let whole = fs::read(&path).expect("the log");
    let at = whole.windows(4).position(|window| window == b"kept").expect("the message");
    file.write_all_at(b"KEPT", at as u64).expect("damage it");
    scene.refuses("[SERVERBUG]", &path);
    assert_eq!(fs::metadata(&path).expect("the log").len(), whole.len() as u64);
    file.write_all_at(b"kept", at as u64).expect("mend it");
    scene.serves();
}

/// Messages whose records are enough for a snapshot.
const MANY: usize = 700;

/// Ada's directory with a snapshot, which the server makes by itself after enough mail; it has stopped since.
fn with_snapshot() -> Scene {
    let mut scene = Scene::new();
    let mut client = scene.server.login("ada");
    client.ok("CREATE other");
    let keywords: Vec<String> = (0..25).map(|number| format!("keyword-number-{number}")).collect();
    let mut command = b"APPEND other".to_vec();
    for _ in 0..MANY {
        command.extend(format!(" ({}) {{{}+}}\r\n", keywords.join(" "), MESSAGE.len()).bytes());
        command.extend(MESSAGE);
    }
    client.ok(command);
    drop(client);
    let snapshot = scene.ada.join("snapshot");
    let deadline = Instant::now() + Duration::from_secs(10);
    while !snapshot.exists() {
        assert!(Instant::now() < deadline, "no snapshot came");
        std::thread::sleep(Duration::from_millis(20));
    }
    scene.server.restart();
    scene
}

#[test]
fn a_damaged_snapshot_is_passed_over_and_named() {
    for damage in [|bytes: &mut Vec<u8>| bytes.truncate(100), |bytes: &mut Vec<u8>| bytes[60] ^= 4] {
        let scene = with_snapshot();
        let path = scene.ada.join("snapshot");
        let mut bytes = fs::read(&path).expect("the snapshot");
        damage(&mut bytes);
        fs::write(&path, bytes).expect("damage it");
        scene.serves();
        assert_eq!(scene.server.login("ada").bodies("other").len(), MANY);
        let named = path.to_str().expect("a plain path");
        let log = scene.server.log();
        assert!(log.contains("ignoring a snapshot") && log.contains(named), "{log}");
    }
}

#[test]
fn a_log_that_is_shorter_than_it_was_is_reported_and_not_written_to() {
    let scene = with_snapshot();
    let path = scene.ada.join("log/0000000001");
    let whole = fs::read(&path).expect("the log");
    fs::write(&path, &whole[..whole.len() / 2]).expect("cut it");
    scene.refuses("[SERVERBUG]", &path);
    assert_eq!(fs::metadata(&path).expect("the log").len() as usize, whole.len() / 2);
    fs::write(&path, &whole).expect("mend it");
    scene.serves();
}

#[test]
fn a_log_that_is_missing_is_reported_and_not_begun_anew() {
    let scene = Scene::new();
    scene.serves();
    let scene = scene.restarted();
    let (log, elsewhere) = (scene.ada.join("log/0000000001"), scene.ada.join("elsewhere"));
    fs::rename(&log, &elsewhere).expect("take the log away");
    scene.refuses("[SERVERBUG]", &scene.ada);
    assert!(!log.exists(), "another log was begun");
    fs::rename(&elsewhere, &log).expect("put it back");
    scene.serves();
}

#[test]
fn without_descriptors_the_client_hears_of_it_and_waits() {
    let scene = Scene::new();
    let mut client = scene.server.connect();
    client.ok("NOOP");
    let bob = &mut scene.server.login("bob");
    bob.ok("SELECT INBOX");
    let worker = worker(&scene.server);
    set_descriptors(&worker, "0:");
    let refused = try_mail(&mut client);
    bob.ok("NOOP");
    set_descriptors(&worker, "1024:");
    assert!(refused.contains("[UNAVAILABLE]"), "{refused}");
    scene.serves();
}

/// The process id of the only worker.
fn worker(server: &Server) -> String {
    let name = |pid: &String| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let mut children = server.children().into_iter().map(|pid| pid.to_string());
    children.find(|pid| name(pid).starts_with("worker")).expect("a worker")
}

fn set_descriptors(pid: &str, limits: &str) {
    let status = Command::new("prlimit").args(["--pid", pid, &format!("--nofile={limits}")]).status();
    assert!(status.expect("run prlimit").success());
}

/// A small file system of its own for the store; gone when this is dropped.
struct Mounted(PathBuf);

impl Mounted {
    /// `None` where only root may mount.
    fn over(partition: &Path) -> Option<Mounted> {
        mount(&["-t", "tmpfs", "-o", "size=1m,mode=0700", "tmpfs", partition.to_str()?])
            .then(|| Mounted(partition.to_owned()))
    }

    /// The same files again, read-only.
    fn read_only(directory: &Path) -> Option<Mounted> {
        let path = directory.to_str()?;
        let mounted = mount(&["--bind", path, path]).then(|| Mounted(directory.to_owned()))?;
        mount(&["-o", "remount,bind,ro", path]).then_some(mounted)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

fn mount(arguments: &[&str]) -> bool {
    Command::new("mount").args(arguments).output().is_ok_and(|output| output.status.success())
}

#[test]
fn a_full_file_system_is_survived() {
    let server = Server::start(Options::default());
    let partition = partition(&server);
    let Some(_mounted) = Mounted::over(&partition) else {
        eprintln!("only root can mount: nothing was tried");
        return;
    };
    let mut client = server.login("ada");
    let mut append = |count: usize| {
        let message = [MESSAGE, &b"x".repeat(count)].concat();
        client.append("INBOX", &message).expect("an answer").status
    };
    assert!(append(0).starts_with("OK"));
    let filler = partition.join("filler");
    fs::write(&filler, vec![0; 900_000]).expect("fill the disk");
    let small = (0..).map(|_| append(30_000)).find(|status| !status.starts_with("OK")).expect("a full disk");
    assert!(small.starts_with("NO [UNAVAILABLE] the disk is full"), "{small}");
    let large = append(400_000);
    assert!(large.starts_with("NO [UNAVAILABLE] the disk is full"), "{large}");
    fs::remove_file(filler).expect("make room");
    assert!(append(400_000).starts_with("OK"));

    let kept = server.login("ada").bodies("INBOX");
    assert!(kept.values().all(|body| body.starts_with(MESSAGE)));
    drop(server);
}

#[test]
fn a_read_only_file_system_is_reported() {
    let scene = Scene::new();
    let Some(mounted) = Mounted::read_only(&scene.ada) else {
        eprintln!("only root can mount: nothing was tried");
        return;
    };
    scene.refuses("[UNAVAILABLE]", &scene.ada);
    drop(mounted);
    scene.serves();
}
