//! TLS with the real server and several workers: both ports, both versions, resumption, certificates, and those who
//! speak the wrong language.

mod common;

use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustls::CipherSuite;
use rustls::version::{TLS12, TLS13};

use common::client::Client;
use common::secure::{Secure, Trust, connect};
use common::server::{Options, PASSWORD, Server};

/// How long to wait for something that happens by itself.
const SOON: Duration = Duration::from_secs(10);

fn options() -> Options {
    Options::default().set("service.imap.enablesslport", "yes").set("service.imap.sslport", "0")
}

/// The certificate that the server has made for itself.
fn own_certificate(server: &Server) -> PathBuf {
    server.dir().join("config/tls/server.pem")
}

fn imaps(server: &Server, trust: &Trust) -> Secure {
    Secure::connect(server.tls_addr().expect("an address for IMAP over TLS"), trust)
}

fn log_in(client: &mut Secure) {
    client.expect("OK", &format!("LOGIN ada {PASSWORD}"));
}

fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Kills all workers, and waits for those that replace them.
fn kill_workers(server: &Server) {
    let workers = || {
        let name = |&child: &Pid| fs::read_to_string(format!("/proc/{child}/comm")).unwrap_or_default();
        let children = server.children().into_iter();
        children.filter(|child| name(child).starts_with("worker")).collect::<Vec<_>>()
    };
    let before = workers();
    before.iter().for_each(|&worker| kill(worker, Signal::SIGKILL).expect("kill a worker"));
    eventually("the workers are replaced", || {
        let now = workers();
        now.len() == before.len() && !now.iter().any(|worker| before.contains(worker))
    });
}

#[test]
fn both_ports_speak_both_versions() {
    let server = Server::start(options());
    let message = format!("Subject: large\r\n\r\n{}", "0123456789abcdef\r\n".repeat(20_000));
    for version in [&TLS12, &TLS13] {
        let trust = Trust::new(&own_certificate(&server), version);
        for mut client in [imaps(&server, &trust), Secure::starttls(server.addr(), &trust)] {
            let list = client.expect("OK", "CAPABILITY").concat();
            assert!(list.contains("AUTH=PLAIN") && !list.contains("STARTTLS"), "{list}");
            assert_eq!(client.tls().alpn_protocol(), Some(&b"imap"[..]));
            client.expect("BAD", "STARTTLS");
            log_in(&mut client);
            client.expect("OK", &format!("APPEND INBOX {{{}+}}\r\n{message}", message.len()));
            client.expect("OK", "SELECT INBOX");
            client.send("f FETCH * BODY.PEEK[]\r\ng LOGOUT\r\n");
            let rest = client.rest();
            let rest = String::from_utf8_lossy(&rest);
            assert!(rest.contains(&message) && rest.contains("f OK") && rest.contains("g OK"));
        }
    }
}

#[test]
fn sessions_resume_in_every_worker_and_in_their_successors() {
    let server = Server::start(options());
    for version in [&TLS12, &TLS13] {
        let trust = Trust::new(&own_certificate(&server), version);
        let resumes = |first: bool| {
            for number in 0..12 {
                let mut client = imaps(&server, &trust);
                client.expect("OK", "NOOP");
                assert!(client.is_resumed() || first && number == 0, "connection {number} of {version:?}");
                client.send("z LOGOUT\r\n");
                client.rest();
            }
        };
        resumes(true);
        kill_workers(&server);
        resumes(false);
    }
}

#[test]
fn what_is_pipelined_behind_starttls_is_dropped_threat_1() {
    let server = Server::start(options());
    let trust = Trust::new(&own_certificate(&server), &TLS13);
    let mut plain = connect(server.addr());
    plain.write_all(format!("a STARTTLS\r\nb LOGIN ada {PASSWORD}\r\n").as_bytes()).unwrap();
    let mut heard = Vec::new();
    while !heard.ends_with(b"begin TLS now\r\n") {
        let mut byte = [0];
        plain.read_exact(&mut byte).expect("an answer to STARTTLS");
        heard.push(byte[0]);
    }
    let mut client = Secure::over(plain, &trust);
    let answer = client.expect("BAD", "SELECT INBOX");
    assert_eq!(answer.len(), 1, "nothing of the second command: {answer:?}");
    log_in(&mut client);
    assert!(server.log().contains("dropped what came in the clear behind STARTTLS"));
}

#[test]
fn passwords_wait_for_a_cipher_that_is_strong_enough() {
    let server = Server::start(options().set("service.imap.plaintextmincipher", "256"));
    let mut plain = server.connect();
    assert!(plain.greeting.contains("STARTTLS LOGINDISABLED"), "{}", plain.greeting);
    assert!(!plain.greeting.contains("AUTH="), "{}", plain.greeting);
    for command in ["LOGIN ada {6}", "LOGIN ada secret", "AUTHENTICATE PLAIN"] {
        let reply = plain.no(command);
        assert!(reply.status.starts_with("NO [PRIVACYREQUIRED]"), "{command}: {}", reply.status);
    }
    let uses = |wanted: CipherSuite| move |suite: CipherSuite| suite == wanted;
    let trust = |suite| Trust::with(&own_certificate(&server), &TLS13, uses(suite), &[]);
    let weak = trust(CipherSuite::TLS13_AES_128_GCM_SHA256);
    for mut client in [imaps(&server, &weak), Secure::starttls(server.addr(), &weak)] {
        client.expect("NO [PRIVACYREQUIRED]", &format!("LOGIN ada {PASSWORD}"));
        assert!(client.expect("OK", "CAPABILITY").concat().contains("LOGINDISABLED"));
    }
    let strong = trust(CipherSuite::TLS13_AES_256_GCM_SHA384);
    for mut client in [imaps(&server, &strong), Secure::starttls(server.addr(), &strong)] {
        assert!(!client.expect("OK", "CAPABILITY").concat().contains("LOGINDISABLED"));
        log_in(&mut client);
    }
}

/// A certificate for `localhost` and its key, in a directory.
fn certificate(dir: &Path, name: &str) -> (PathBuf, PathBuf) {
    let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let (certificate, key) = (dir.join(format!("{name}.pem")), dir.join(format!("{name}.key")));
    fs::write(&certificate, signed.cert.pem()).expect("write the certificate");
    fs::write(&key, signed.signing_key.serialize_pem()).expect("write the key");
    (certificate, key)
}

#[test]
fn a_new_certificate_is_taken_up_and_no_session_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let (old, old_key) = certificate(dir.path(), "old");
    let (new, new_key) = certificate(dir.path(), "new");
    let (used, used_key) = (dir.path().join("used.pem"), dir.path().join("used.key"));
    let install = |certificate: &Path, key: &Path| {
        fs::copy(certificate, &used).unwrap();
        fs::copy(key, &used_key).unwrap();
    };
    install(&old, &old_key);
    let server = Server::start(
        // Its own port comes with the certificate.
        Options::default()
            .set("service.imap.sslport", "0")
            .set("service.imap.sslcertfile", used.to_str().unwrap())
            .set("service.imap.sslkeyfile", used_key.to_str().unwrap()),
    );
    assert!(!own_certificate(&server).exists(), "none is made where one is configured");
    let shown = |trust: &Path| {
        let trust = Trust::new(trust, &TLS13);
        let addr = server.tls_addr().expect("an address for IMAP over TLS");
        Secure::over(connect(addr), &trust).try_line().is_ok()
    };
    let mut session = imaps(&server, &Trust::new(&old, &TLS13));
    log_in(&mut session);

    install(&new, &old_key);
    server.signal(Signal::SIGHUP);
    eventually("the log tells of the mismatch", || {
        server.log().contains("does not belong to the first certificate")
    });
    assert!(shown(&old) && !shown(&new), "what was loaded before stays in use");

    install(&new, &new_key);
    server.signal(Signal::SIGHUP);
    eventually("all workers show the new certificate", || (0..6).all(|_| shown(&new)));
    session.expect("OK", "NOOP");
    kill_workers(&server);
    assert!((0..6).all(|_| shown(&new)), "workers that come later have it, too");
}

#[test]
fn certificates_that_do_not_serve_are_named_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let (one, _) = certificate(dir.path(), "one");
    let (_, key) = certificate(dir.path(), "other");
    let base = dir.path().join("base");
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let program = || std::process::Command::new(env!("CARGO_BIN_EXE_heliograph"));
    let sets = [
        "service.listenaddr=127.0.0.1".to_owned(),
        "service.imap.port=0".to_owned(),
        "service.imap.sslport=0".to_owned(),
        format!("service.imap.sslcertfile={}", text(&one)),
        format!("service.imap.sslkeyfile={}", text(&key)),
    ];
    let made = program().arg("init").args(sets.iter().flat_map(|set| ["--set", set])).arg(&base).status();
    assert!(made.expect("run heliograph").success());
    let output = program().arg("--base").arg(&base).arg("serve").output().expect("run heliograph");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains(&text(&key)), "{said}");
    assert!(said.contains("does not belong to the first certificate"), "{said}");
}

#[test]
fn who_speaks_the_wrong_language_gets_an_end_and_a_line_in_the_log_threat_3() {
    let server = Server::start(options());
    let tls = server.tls_addr().expect("an address for IMAP over TLS");
    let trust = Trust::with(&own_certificate(&server), &TLS13, |_| true, &[b"h2", b"http/1.1"]);
    let error = Secure::over(connect(tls), &trust).try_line().unwrap_err();
    assert!(error.to_string().contains("NoApplicationProtocol"), "{error}");

    for spoken in
        ["a LOGIN ada secret\r\n", "GET / HTTP/1.1\r\n\r\n", "\u{16}\u{3}\u{1}\0\u{5}\u{3}\0\0\u{1}x"]
    {
        let mut plain = connect(tls);
        plain.write_all(spoken.as_bytes()).unwrap();
        let mut heard = Vec::new();
        plain.read_to_end(&mut heard).expect("an end, not a reset");
        assert!(heard.len() == 7 && heard[0] == 21, "an alert: {heard:?}");
    }

    let trust = Trust::new(&own_certificate(&server), &TLS13);
    let mut client = imaps(&server, &trust);
    log_in(&mut client);
    client.send_raw(b"\x17\x03\x03\x00\x20 this was never sealed by TLS!! ");
    let error = client.try_line().unwrap_err();
    assert!(error.to_string().contains("BadRecordMac"), "{error}");

    assert!(Secure::over(connect(server.addr()), &trust).try_line().is_err());
    assert!(Secure::over(connect(server.addr()), &trust).try_line().is_err());
    eventually("the log names them", || {
        let log = server.log();
        log.matches("reason=\"tls on the plain port\"").count() == 2
            && log.matches("reason=\"TLS failed\"").count() == 5
    });
    Client::connect(server.addr()).ok("NOOP");
}

#[test]
fn pipelines_news_and_new_keys_pass_through_tls() {
    let server = Server::start(options());
    let trust = Trust::new(&own_certificate(&server), &TLS13);
    let mut client = imaps(&server, &trust);
    log_in(&mut client);
    client.send((0..20_000).map(|number| format!("n{number} NOOP\r\n")).collect::<String>());
    for number in 0..20_000 {
        assert!(client.line().starts_with(&format!("n{number} OK")));
    }
    for _ in 0..3 {
        client.tls().refresh_traffic_keys().expect("new keys");
        client.expect("OK", "NOOP");
    }
    client.expect("OK", "SELECT INBOX");
    client.send("i IDLE\r\n");
    assert!(client.line().starts_with("+ "));
    for number in 1..4 {
        server.login("ada").append("INBOX", b"Subject: news\r\n\r\nnews\r\n").expect("an answer");
        let mut line = client.line();
        while !line.ends_with("EXISTS") {
            line = client.line();
        }
        assert_eq!(line, format!("* {number} EXISTS"));
    }
    client.send("DONE\r\nz LOGOUT\r\n");
    assert!(String::from_utf8_lossy(&client.rest()).contains("z OK"));
}

/// Sends every byte on its own, receives as few as possible.
struct Trickle(TcpStream);

impl Read for Trickle {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let few = room.len().min(7);
        self.0.read(&mut room[..few])
    }
}

impl Write for Trickle {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(&bytes[..bytes.len().min(1)])
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[test]
fn records_may_arrive_byte_by_byte() {
    let server = Server::start(options());
    for version in [&TLS12, &TLS13] {
        let trust = Trust::new(&own_certificate(&server), version);
        let stream = connect(server.tls_addr().expect("an address for IMAP over TLS"));
        let mut client = Secure::over(Trickle(stream), &trust);
        client.line();
        client.expect("OK", &format!("LOGIN ada {PASSWORD}"));
        client.expect("OK", "SELECT INBOX");
        client.send("z LOGOUT\r\n");
        assert!(String::from_utf8_lossy(&client.rest()).contains("z OK"));
    }
}

#[test]
fn half_closed_and_slow_clients_get_all_their_answers() {
    let server = Server::start(options());
    let trust = Trust::new(&own_certificate(&server), &TLS13);
    let mut client = imaps(&server, &trust);
    log_in(&mut client);
    let message = format!("Subject: m\r\n\r\n{}", "x".repeat(1 << 20));
    client.expect("OK", &format!("APPEND INBOX {{{}+}}\r\n{message}", message.len()));
    client.expect("OK", "SELECT INBOX");
    let fetches: String = (0..20).map(|number| format!("f{number} FETCH 1 BODY.PEEK[]\r\n")).collect();
    client.send(fetches);
    client.finish();
    // More than all buffers on the way hold: the server has to wait for the client.
    std::thread::sleep(Duration::from_millis(300));
    Client::connect(server.addr()).ok("NOOP");
    let rest = client.rest();
    let text = String::from_utf8_lossy(&rest);
    assert!((0..20).all(|number| text.contains(&format!("\r\nf{number} OK"))));
    assert!(rest.len() > 20 * message.len());
}

#[test]
fn a_handshake_that_does_not_end_is_ended() {
    let server = Server::start(options().set("service.imap.logintimeout", "5"));
    let tls = server.tls_addr().expect("an address for IMAP over TLS");
    let silent = connect(tls);
    let mut slow = connect(tls);
    slow.write_all(b"\x16\x03\x01\x02\x00\x01").unwrap();
    let mut long = connect(tls);
    // A client hello of 64 KiB, in records of 16 KiB: never complete, and more than is kept.
    for record in 0..2 {
        let start: &[u8] = if record == 0 { b"\x01\x00\xff\xff" } else { b"" };
        let mut bytes = b"\x16\x03\x01\x40\x00".to_vec();
        bytes.extend_from_slice(start);
        bytes.resize(5 + 0x4000, 0);
        // The server may have hung up already.
        let _ = long.write_all(&bytes);
    }
    let mut heard = Vec::new();
    let _ = long.read_to_end(&mut heard);
    eventually("the log tells of it", || server.log().contains("handshake message is too long"));
    for mut stream in [silent, slow] {
        heard.clear();
        stream.read_to_end(&mut heard).expect("an end");
        assert!(heard.is_empty(), "{heard:?}");
    }
    eventually("the log says why", || server.log().matches("no TLS handshake in time").count() == 2);
}
