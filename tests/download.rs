//! Messages from one byte to thirty megabytes, in the clear and over TLS, to clients that read slowly, byte for byte; to
//! clients that go away; and while their space is given back.

mod common;

use std::fs;
use std::io::Read;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use nix::sys::signal::Signal;
use nix::sys::socket::{setsockopt, sockopt::RcvBuf};
use rustls::version::TLS13;

use common::client::Client;
use common::secure::{Secure, Trust, connect};
use common::server::{Options, PASSWORD, Server};

/// Around the sizes at which pieces end and at which a message gets a file of its own.
const SIZES: [usize; 10] =
    [1, 2, 4_095, 65_535, 65_536, 65_537, 512 * 1024, 512 * 1024 + 1, 1_000_003, 30_000_000];

/// Of a receive buffer that is soon full.
const SMALL: usize = 16 * 1024;

/// A message of some size that differs at every place from the others.
fn message(size: usize) -> Vec<u8> {
    let mut text = Vec::with_capacity(size + 40);
    for line in 0.. {
        if text.len() >= size {
            break;
        }
        text.extend_from_slice(format!("line {line} of a message of {size} bytes\r\n").as_bytes());
    }
    text.truncate(size);
    text
}

fn append(client: &mut Client, message: &[u8]) {
    let reply = client.append("INBOX", message).expect("an answer to APPEND");
    assert!(reply.status.starts_with("OK"), "{}", reply.status);
}

/// Reads exactly what is expected, in portions of different sizes, with a rest now and then.
fn expect(stream: &mut impl Read, expected: &[u8]) {
    let (mut at, mut portion) = (0, 1);
    while at < expected.len() {
        portion = portion * 7 % 300_007;
        let mut bytes = vec![0; portion.min(expected.len() - at)];
        stream.read_exact(&mut bytes).unwrap_or_else(|error| panic!("after {at} bytes: {error}"));
        let wrong = bytes.iter().zip(&expected[at..]).position(|(came, due)| came != due);
        assert!(wrong.is_none(), "another byte at {}", at + wrong.unwrap_or(0));
        at += bytes.len();
        if portion % 31 == 0 {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// The commands, pipelined, and all that is to be answered.
fn exchange(messages: &[Vec<u8>]) -> (String, Vec<u8>) {
    let (mut commands, mut answers) = ("a FETCH 1:* BODY.PEEK[]\r\n".to_owned(), Vec::new());
    for (message, number) in messages.iter().zip(1..) {
        tell(&mut answers, number, "BODY[]", message);
    }
    answers.extend_from_slice(b"a OK FETCH completed\r\n");
    for (start, count) in [(0, 1), (1, 70_000), (65_530, 65_545), (999_999, 10)] {
        commands += &format!("b{start} FETCH 9:10 BODY.PEEK[]<{start}.{count}>\r\n");
        for number in [9, 10] {
            let message = &messages[number - 1];
            let part = &message[start..message.len().min(start + count)];
            tell(&mut answers, number, &format!("BODY[]<{start}>"), part);
        }
        answers.extend_from_slice(format!("b{start} OK FETCH completed\r\n").as_bytes());
    }
    (commands, answers)
}

fn tell(answers: &mut Vec<u8>, number: usize, item: &str, bytes: &[u8]) {
    answers.extend_from_slice(format!("* {number} FETCH ({item} {{{}}}\r\n", bytes.len()).as_bytes());
    answers.extend_from_slice(bytes);
    answers.extend_from_slice(b")\r\n");
}

#[test]
fn every_byte_comes() {
    let tls = [("service.imap.enablesslport", "yes"), ("service.imap.sslport", "0")];
    let server =
        Server::start(tls.iter().fold(Options::default(), |all, (name, value)| all.set(name, value)));
    let messages = SIZES.map(message);
    let mut plain = server.login("ada");
    messages.iter().for_each(|message| append(&mut plain, message));
    plain.ok("SELECT INBOX");
    let (commands, answers) = exchange(&messages);

    setsockopt(plain.wire().stream(), RcvBuf, &SMALL).expect("a socket option");
    plain.wire().send(&commands);
    expect(&mut plain.wire().stream(), &answers);

    let trust = Trust::new(&server.dir().join("config/tls/server.pem"), &TLS13);
    let socket = connect(server.tls_addr().expect("an address for IMAP over TLS"));
    setsockopt(&socket, RcvBuf, &SMALL).expect("a socket option");
    let mut secure = Secure::over(socket, &trust);
    assert!(secure.line().starts_with("* OK"));
    secure.expect("OK", &format!("LOGIN ada {PASSWORD}"));
    secure.expect("OK", "SELECT INBOX");
    secure.send(&commands);
    expect(secure.reader(), &answers);
    secure.expect("OK", "NOOP");
}

/// NUL comes as 0x80 in a literal and as it is in a literal8, wherever a piece ends.
#[test]
fn nul_is_sent_where_it_may_be() {
    let server = Server::start(Options::default());
    let mut client = server.login("ada");
    let mut sent = message(300_000);
    let places = [0, 65_535, 65_536, 299_999];
    places.iter().for_each(|&at| sent[at] = 0);
    append(&mut client, &sent);
    client.ok("SELECT INBOX");
    let mut masked = sent.clone();
    places.iter().for_each(|&at| masked[at] = 0x80);
    client.wire().send("a FETCH 1 BODY.PEEK[]\r\nb FETCH 1 BINARY.PEEK[]\r\n");
    let mut stream = client.wire().stream();
    for (head, bytes, tail) in [("BODY[] ", &masked, "a"), ("BINARY[] ~", &sent, "b")] {
        expect(&mut stream, format!("* 1 FETCH ({head}{{300000}}\r\n").as_bytes());
        expect(&mut stream, bytes);
        expect(&mut stream, format!(")\r\n{tail} OK FETCH completed\r\n").as_bytes());
    }
}

/// A client in the middle of a large message that it does not read on.
fn stalled(server: &Server, size: usize) -> TcpStream {
    let mut client = server.login("ada");
    client.ok("SELECT INBOX");
    setsockopt(client.wire().stream(), RcvBuf, &SMALL).expect("a socket option");
    client.wire().send("a FETCH 1:2 BODY.PEEK[]\r\nb NOOP\r\n");
    let mut stream = client.wire().stream().try_clone().expect("a second handle");
    expect(&mut stream, format!("* 1 FETCH (BODY[] {{{size}}}\r\n").as_bytes());
    stream
}

#[test]
fn who_hangs_up_in_the_middle_leaves_nothing_behind() {
    let server = Server::start(Options::default());
    let mut client = server.login("ada");
    append(&mut client, &message(30_000_000));
    append(&mut client, b"small");
    let stalled: Vec<_> = (0..20).map(|_| stalled(&server, 30_000_000)).collect();
    wait_until("every client's message is open", || open_messages(&server) == 20);
    drop(stalled);
    wait_until("no message is open any more", || open_messages(&server) == 0);
    wait_until("all are logged", || server.log().matches("connection lost").count() == 20);
    client.ok("SELECT INBOX");
    assert_eq!(client.ok("FETCH 2 BODY.PEEK[]").untagged, [b"* 2 FETCH (BODY[] {5}\r\nsmall)"]);
}

/// The rest of the message does not come any more, and nothing else in its place.
#[test]
fn a_stop_does_not_wait_for_who_reads_slowly() {
    let mut server = Server::start(Options::default());
    let mut client = server.login("ada");
    append(&mut client, &message(30_000_000));
    append(&mut client, b"small");
    let mut stream = stalled(&server, 30_000_000);
    wait_until("the message is open", || open_messages(&server) == 1);
    server.signal(Signal::SIGTERM);
    assert!(server.wait(Duration::from_secs(5)).is_some(), "it ends");
    let mut received = Vec::new();
    stream.read_to_end(&mut received).expect("the rest");
    assert!(message(30_000_000).starts_with(&received), "only the message has come");
}

/// Files of large messages that the server's processes have open.
fn open_messages(server: &Server) -> usize {
    let links = |process| fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten().flatten();
    let targets = server.children().into_iter().flat_map(links);
    targets.filter_map(|link| fs::read_link(link.path()).ok()).filter(|path| is_message(path)).count()
}

fn is_message(path: &Path) -> bool {
    path.parent().is_some_and(|parent| parent.ends_with("blob"))
}

#[test]
fn a_download_ends_well_while_its_space_is_given_back() {
    let options = Options::default().set("store.cleanupage", "0").set("store.cleanupinterval", "1");
    let server = Server::start(options);
    let mut writer = server.login("ada");
    let large = message(30_000_000);
    append(&mut writer, &large);
    append(&mut writer, &message(1_000_003));
    let mut stream = stalled(&server, large.len());

    let user = server.dir().join("data/store/partition/primary/=user");
    let long_ago = SystemTime::now() - Duration::from_secs(7200);
    for path in large_messages(&user) {
        let file = fs::File::options().append(true).open(path).expect("open a message");
        file.set_modified(long_ago).expect("set its time");
    }
    writer.ok("SELECT INBOX");
    writer.ok("STORE 1:2 +FLAGS.SILENT (\\Deleted)");
    writer.ok("EXPUNGE");
    wait_until("the files are gone", || large_messages(&user).is_empty());
    expect(&mut stream, &large);
    expect(&mut stream, b")\r\na NO [EXPUNGEISSUED] ");
    let mut rest = Vec::new();
    while !rest.ends_with(b"b OK NOOP completed\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("more of the answer");
        rest.extend(byte);
    }
    let rest = String::from_utf8_lossy(&rest);
    assert_eq!(rest.matches(" EXPUNGE\r\n").count(), 2, "{rest}");
}

/// Messages beneath a directory that have files of their own; what goes meanwhile counts nothing.
fn large_messages(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    entries
        .flat_map(|path| match path.is_dir() {
            true => large_messages(&path),
            false => Vec::from_iter(is_message(&path).then_some(path)),
        })
        .collect()
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
