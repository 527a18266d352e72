//! Hostile input beside a session that has to stay served: framing and what comes before login, then what a client
//! can do that has logged in. Each attack is over when the server has answered or hung up; afterwards the healthy
//! session, and a new one, get their answers, and the processes have not grown.

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use common::client::Client;
use common::server::{Options, PASSWORD, Server};
use common::target::Target;
use common::wire::{Received, TIMEOUT, Wire};

/// How long an attacker listens for an answer when none may come.
const PATIENCE: Duration = Duration::from_millis(500);

/// By how much all processes together may grow, in bytes, while they are attacked.
const GROWTH: usize = 128 << 20;

/// What an attacker may get back before we call it too much, in bytes.
const ANSWER: usize = 1 << 20;

/// What the server has to do about an attack.
enum Outcome {
    /// Say BAD, NO or BYE, or hang up; never a tagged OK.
    Refused,
    /// Anything but a tagged OK.
    NotOk,
    /// An answer to every tag, whatever it says, or the end of the connection.
    Answered,
}

use Outcome::{Answered, NotOk, Refused};

/// What is sent before login.
fn before_login() -> Vec<(&'static str, Vec<u8>, Outcome)> {
    let mut attacks = vec![
        ("a browser", b"GET / HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n".to_vec(), Refused),
        ("a form", b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\na NOOP\r\n".to_vec(), NotOk),
        ("a TLS ClientHello", tls_client_hello(), NotOk),
        ("a literal of 4 GiB", b"a LOGIN {4294967295}\r\n".to_vec(), Refused),
        ("a literal beyond 64 bits", b"a LOGIN {18446744073709551616}\r\n".to_vec(), Refused),
        ("a negative literal", b"a LOGIN {-1}\r\n".to_vec(), Refused),
        ("a literal in a tag", b"{1}\r\na NOOP\r\n".to_vec(), Answered),
        ("a literal8 for a name", b"a LOGIN ~{3+}\r\nada secret\r\n".to_vec(), NotOk),
        (
            "a large literal that does not wait",
            join(&[b"a LOGIN {9999999+}\r\n", &vec![b'x'; 9_999_999], b" x\r\n"]),
            Refused,
        ),
        ("a NUL in a command", b"a NO\0OP\r\n".to_vec(), Refused),
        ("a NUL in a literal", b"a LOGIN {3+}\r\na\0a x\r\n".to_vec(), Refused),
        ("a tag of one megabyte", join(&[&vec![b'a'; 1 << 20], b" NOOP\r\n"]), Refused),
        ("tags that are no tags", b"* NOOP\r\n+ NOOP\r\n\"a\" NOOP\r\n".to_vec(), Refused),
        ("a line without end", vec![b'x'; 8 << 20], NotOk),
        ("only CR", vec![b'\r'; 1 << 20], NotOk),
        ("only LF", vec![b'\n'; 1 << 20], NotOk),
        ("open lists", join(&[b"a ID ", &vec![b'('; 1_000_000], b"\r\n"]), Refused),
        ("open lists in LOGIN", join(&[b"a LOGIN ", &vec![b'('; 60_000], b"\r\n"]), Refused),
        ("what is not base64", b"a AUTHENTICATE PLAIN\r\n$$$$\r\n".to_vec(), NotOk),
        ("endless base64", join(&[b"a AUTHENTICATE PLAIN\r\n", &vec![b'A'; 4 << 20], b"\r\n"]), NotOk),
        ("too many NULs", b"a AUTHENTICATE PLAIN AGFkYQBzZWNyZXQAeA==\r\n".to_vec(), Refused),
        ("too few NULs", b"a AUTHENTICATE PLAIN YWRhc2VjcmV0\r\n".to_vec(), Refused),
        ("an empty response", b"a AUTHENTICATE PLAIN =\r\n".to_vec(), Refused),
        ("another mechanism", b"a AUTHENTICATE GSSAPI AGFkYQBzZWNyZXQ=\r\n".to_vec(), Refused),
        ("a name with CRLF", b"a LOGIN {10+}\r\nada\r\nb NOOP x\r\n".to_vec(), Refused),
        (
            "commands that need a login",
            b"a SELECT INBOX\r\na FETCH 1 BODY[]\r\na APPEND INBOX {1}\r\n".to_vec(),
            Refused,
        ),
    ];
    let many: Vec<u8> = (0..10_000).flat_map(|_| b"{1+}\r\nx ".to_vec()).collect();
    attacks.push(("many literals", join(&[b"a ID (", &many, b")\r\n"]), NotOk));
    let pairs: Vec<u8> = (0..1000).flat_map(|n| format!("\"k{n}\" \"\\\\x1b[2J\" ").into_bytes()).collect();
    attacks.push(("a long ID", join(&[b"a ID (", &pairs, b")\r\n"]), Answered));
    attacks
}

/// What is sent after login, with INBOX selected and one message in it.
fn after_login() -> Vec<(&'static str, Vec<u8>, Outcome)> {
    let command = |start: &str, piece: &str, count: usize, end: &str| -> Vec<u8> {
        format!("a {start}{}{end}\r\n", piece.repeat(count)).into_bytes()
    };
    vec![
        ("open lists in SEARCH", command("SEARCH ", "(", 30_000, "ALL"), Refused),
        (
            "closed lists in SEARCH",
            format!("a SEARCH {}ALL{}\r\n", "(".repeat(20_000), ")".repeat(20_000)).into_bytes(),
            Answered,
        ),
        ("NOT without end", command("SEARCH ", "NOT ", 10_000, "ALL"), Answered),
        ("OR without end", command("SEARCH ", "OR ALL ", 8_000, "ALL"), Answered),
        ("SEARCH keys without end", command("SEARCH ", "SEEN ", 10_000, "ALL"), Answered),
        (
            "a search for everything",
            b"a SEARCH TEXT {50000+}\r\n".iter().copied().chain(vec![b'a'; 50_000]).chain(*b"\r\n").collect(),
            Answered,
        ),
        ("open lists in FETCH", command("FETCH 1 ", "(", 30_000, ""), Refused),
        ("open lists in LIST", command("LIST ", "(", 30_000, ""), Refused),
        (
            "a range of everything",
            b"a FETCH 1:4294967295 UID\r\na UID FETCH 4294967295:1 FLAGS\r\n".to_vec(),
            Answered,
        ),
        ("a number too large", b"a FETCH 4294967296 UID\r\n".to_vec(), Refused),
        ("a long set", command("FETCH ", "1,", 15_000, "1 UID"), Answered),
        ("ranges upon ranges", command("UID FETCH ", "1:*,", 10_000, "1 UID"), Answered),
        ("a deep section", command("FETCH 1 BODY.PEEK[", "1.", 10_000, "1]"), Answered),
        ("a part too large", b"a FETCH 1 BODY.PEEK[4294967296]\r\n".to_vec(), Answered),
        (
            "a partial of everything",
            b"a FETCH 1 BODY.PEEK[]<0.4294967295>\r\na FETCH 1 BODY.PEEK[]<4294967295.1>\r\n".to_vec(),
            Answered,
        ),
        (
            "many header names",
            command("FETCH 1 BODY.PEEK[HEADER.FIELDS (", "X-Name ", 5_000, "X)]"),
            Answered,
        ),
        ("the same item again and again", command("FETCH 1 (", "FLAGS ", 5_000, "UID)"), Answered),
        ("a pattern that blows up", command("LIST \"\" ", "*%", 5_000, "x"), Answered),
        ("many patterns", command("LIST \"\" (", "a* ", 5_000, "b)"), Answered),
        ("many STATUS items", command("STATUS INBOX (", "MESSAGES ", 5_000, "UNSEEN)"), Answered),
        ("a deep name", command("CREATE ", "a/", 2_000, "b"), Answered),
        ("a long name", command("CREATE ", "a", 60_000, ""), Answered),
        (
            "a name out of the store",
            b"a SELECT ../../../../etc/passwd\r\na SELECT /etc/passwd\r\na SELECT ~root\r\n".to_vec(),
            Refused,
        ),
        ("a name with control bytes", b"a CREATE {5+}\r\na\x01\x1b\r\n\r\n".to_vec(), Answered),
        ("a name with a NUL", b"a CREATE {3+}\r\na\0b\r\n".to_vec(), Refused),
        ("a parent under itself", b"a CREATE p\r\na RENAME p p/q/r\r\n".to_vec(), Answered),
        (
            "many keywords",
            format!(
                "a STORE 1 +FLAGS.SILENT ({})\r\n",
                (0..5_000).map(|n| format!("k{n}")).collect::<Vec<_>>().join(" ")
            )
            .into_bytes(),
            Answered,
        ),
        ("a long keyword", command("STORE 1 +FLAGS.SILENT (", "k", 60_000, ")"), Answered),
        (
            "an odd UNCHANGEDSINCE",
            b"a STORE 1 (UNCHANGEDSINCE 18446744073709551616) +FLAGS (\\Seen)\r\n".to_vec(),
            Refused,
        ),
        (
            "an odd charset",
            b"a SEARCH CHARSET \"\" TEXT x\r\na SEARCH CHARSET {100+}\r\n"
                .iter()
                .copied()
                .chain(vec![b'x'; 100])
                .chain(*b" ALL\r\n")
                .collect(),
            Answered,
        ),
        ("IDLE and then anything", b"a IDLE\r\nnot done\r\nx\r\n".to_vec(), Refused),
        ("an APPEND of 4 GiB", b"a APPEND INBOX {4294967295}\r\n".to_vec(), Refused),
        ("an APPEND beyond 64 bits", b"a APPEND INBOX {99999999999999999999+}\r\n".to_vec(), Refused),
    ]
}

#[test]
fn attacks_before_login_disturb_nobody() {
    let arena = Arena::new();
    let mut healthy = arena.target.login("bob");
    let before = arena.memory();
    let mut failures: Vec<String> = Vec::new();
    for (name, bytes, outcome) in before_login() {
        let mut stream = arena.stranger();
        failures
            .extend(attack(&mut stream, &bytes, &outcome).err().map(|answer| format!("{name}: {answer}\n")));
        still_served(&arena, &mut healthy, name);
    }
    assert!(failures.is_empty(), "{} attacks went wrong\n{}", failures.len(), failures.concat());
    assert_growth(&arena, before);
}

#[test]
fn attacks_after_login_disturb_nobody() {
    let arena = Arena::new();
    let mut healthy = arena.target.login("bob");
    arena.target.login("ada").append("INBOX", b"Subject: m\r\n\r\nm\r\n").expect("an answer");
    let before = arena.memory();
    let mut failures: Vec<String> = Vec::new();
    for (name, bytes, outcome) in after_login() {
        let mut stream = arena.insider();
        failures
            .extend(attack(&mut stream, &bytes, &outcome).err().map(|answer| format!("{name}: {answer}\n")));
        still_served(&arena, &mut healthy, name);
    }
    assert!(failures.is_empty(), "{} attacks went wrong\n{}", failures.len(), failures.concat());
    assert_growth(&arena, before);
}

#[test]
fn messages_made_to_hurt_are_stored_and_described() {
    let arena = Arena::new();
    let mut healthy = arena.target.login("bob");
    let mut client = arena.target.login("ada");
    for (number, (name, message)) in messages().into_iter().enumerate() {
        let reply = client.append("INBOX", &message).unwrap_or_else(|| panic!("{name}: no answer to APPEND"));
        assert!(reply.status.starts_with("OK"), "{name}: {}", reply.status);
        client.ok("SELECT INBOX");
        client.ok(format!("FETCH {} (ENVELOPE BODY BODYSTRUCTURE RFC822.SIZE PREVIEW)", number + 1));
        client.ok("SEARCH SUBJECT nothing BODY nothing");
        if let Target::Elsewhere { .. } = arena.target {
            continue;
        }
        healthy.ok("NOOP");
        let size = client.ok("FETCH * RFC822.SIZE");
        let expected = format!("RFC822.SIZE {})", message.len());
        assert_eq!(size.with(&expected).count(), 1, "{name}: the size is not that of the message");
    }
}

/// RFC 2971 §3.3: 30 pairs, names of 30 octets, values of 1024.
#[test]
fn the_largest_id_that_is_allowed_is_answered() {
    let arena = Arena::new();
    let pairs: Vec<String> =
        (0..30).map(|number| format!("\"{number:030}\" \"{}\"", "v".repeat(1024))).collect();
    Client::connect(arena.target.addr()).ok(format!("ID ({})", pairs.join(" ")));
}

#[test]
fn commands_may_come_a_byte_at_a_time() {
    let arena = Arena::new();
    let mut wire = Wire::connect(arena.target.addr());
    assert!(matches!(wire.receive(), Received::Response(_)));
    let login = format!("a LOGIN {} {{6}}\r\n", arena.target.user("ada"));
    for byte in login.bytes() {
        wire.send([byte]);
    }
    assert!(matches!(wire.receive(), Received::Response(line) if line.starts_with(b"+")));
    for byte in format!("{PASSWORD}\r\nb NOOP\r\n").bytes() {
        wire.send([byte]);
    }
    for tag in [b"a OK".as_slice(), b"b OK"] {
        assert!(matches!(wire.receive(), Received::Response(line) if line.starts_with(tag)));
    }
}

#[test]
fn a_client_that_hangs_up_in_a_literal_leaves_nothing() {
    let arena = Arena::new();
    let mut client = arena.target.login("ada");
    client.ok("NOOP");
    for size in [100_usize, 100_000, 10_000_000] {
        let mut stream = arena.insider();
        let half = vec![b'x'; size / 2];
        let _ = stream.write_all(&join(&[format!("a APPEND INBOX {{{size}+}}\r\n").as_bytes(), &half]));
        let _ = stream.shutdown(Shutdown::Both);
    }
    let mut stream = arena.insider();
    let _ = stream.write_all(b"a APPEND INBOX {3+}\r\nabc {3+}\r\nab");
    drop(stream);
    client.ok("SELECT INBOX");
    let status = client.ok("STATUS INBOX (MESSAGES)");
    assert_eq!(status.with("MESSAGES 0").count(), 1, "half a message is there");
}

#[test]
fn a_client_that_closes_its_half_still_gets_its_answer() {
    let arena = Arena::new();
    let mut wire = Wire::connect(arena.target.addr());
    assert!(matches!(wire.receive(), Received::Response(_)));
    wire.send(format!("a LOGIN {} {PASSWORD}\r\nb LOGOUT\r\n", arena.target.user("ada")));
    wire.finish();
    assert!(matches!(wire.receive(), Received::Response(line) if line.starts_with(b"a OK")));
    assert!(matches!(wire.receive(), Received::Response(line) if line.starts_with(b"* BYE")));
    assert!(matches!(wire.receive(), Received::Response(line) if line.starts_with(b"b OK")));
}

#[test]
fn clients_that_do_not_read_cost_no_memory_and_no_thread() {
    let arena = Arena::new();
    let mut healthy = arena.target.login("bob");
    let message = join(&[b"Subject: large\r\n\r\n", &vec![b'x'; 4 << 20], b"\r\n"]);
    arena.target.login("ada").append("INBOX", &message).expect("an answer");
    let before = arena.memory();
    let greedy: Vec<TcpStream> = (0..40).map(|_| arena.insider()).collect();
    for mut stream in &greedy {
        stream.set_write_timeout(Some(PATIENCE)).expect("set a time limit");
        let _ = stream.write_all("a FETCH 1 BODY.PEEK[]\r\n".repeat(200).as_bytes());
    }
    let mut pipeliner = arena.insider();
    pipeliner.set_write_timeout(Some(PATIENCE)).expect("set a time limit");
    let _ = pipeliner.write_all("a NOOP\r\n".repeat(500_000).as_bytes());
    still_served(&arena, &mut healthy, "clients that do not read");
    assert_growth(&arena, before);
    drop(greedy);
    still_served(&arena, &mut healthy, "clients that hung up");
}

#[test]
fn hundreds_of_silent_connections_do_not_keep_others_out() {
    let arena = Arena::new();
    let mut healthy = arena.target.login("bob");
    let silent: Vec<TcpStream> = (0..300).map(|_| arena.stranger()).collect();
    let mut half: Vec<TcpStream> = (0..100).map(|_| arena.stranger()).collect();
    for stream in &mut half {
        let _ = stream.write_all(b"a LOGIN {100}");
    }
    still_served(&arena, &mut healthy, "silent connections");
    drop((silent, half));
    still_served(&arena, &mut healthy, "connections that went away");
}

#[test]
fn wrong_passwords_keep_nobody_out_and_tell_nothing() {
    let arena = Arena::new();
    let mut texts = Vec::new();
    for user in ["ada", "nobody-of-that-name"] {
        let mut client = Client::connect(arena.target.addr());
        texts.push(client.no(format!("LOGIN {user} wrong")).status);
    }
    assert_eq!(texts[0], texts[1], "the answers tell which user exists");
    let mut guesses: Vec<Client> = (0..20).map(|_| Client::connect(arena.target.addr())).collect();
    for guess in &mut guesses {
        guess.start("LOGIN carol wrong");
    }
    arena.target.login("ada").ok("NOOP");
}

/// A server with users to attack it and to suffer.
struct Arena {
    target: Target,
}

impl Arena {
    fn new() -> Arena {
        Arena { target: Target::start(Options::default().users(["bob", "carol"])) }
    }

    /// A connection with nobody logged in.
    fn stranger(&self) -> TcpStream {
        let stream = TcpStream::connect(self.target.addr()).expect("connect");
        stream.set_read_timeout(Some(TIMEOUT)).expect("set a time limit");
        stream.set_write_timeout(Some(TIMEOUT)).expect("set a time limit");
        stream
    }

    /// A connection on which ada has INBOX selected.
    fn insider(&self) -> TcpStream {
        let mut stream = self.stranger();
        let start = format!("l LOGIN {} {PASSWORD}\r\ns SELECT INBOX\r\n", self.target.user("ada"));
        stream.write_all(start.as_bytes()).expect("log in");
        let mut text = Vec::new();
        let mut byte = [0];
        while !text.ends_with(b"\r\n") || !text.windows(5).any(|window| window == b"\ns OK") {
            assert_eq!(stream.read(&mut byte).expect("read an answer"), 1, "the login ended early");
            text.push(byte[0]);
        }
        stream
    }

    /// What all processes of our server hold together, in bytes.
    fn memory(&self) -> usize {
        match &self.target {
            Target::Ours(server) => resident(server),
            Target::Elsewhere { .. } => 0,
        }
    }
}

fn resident(server: &Server) -> usize {
    let pages = |pid: nix::unistd::Pid| -> usize {
        let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
        statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0)
    };
    server.children().into_iter().map(pages).sum::<usize>() * 4096
}

fn assert_growth(arena: &Arena, before: usize) {
    let after = arena.memory();
    assert!(after < before + GROWTH, "the processes grew from {before} to {after} bytes");
}

/// Sends an attack and judges what comes back; an error is the beginning of an answer that should not have come.
fn attack(stream: &mut TcpStream, bytes: &[u8], outcome: &Outcome) -> Result<(), String> {
    let _ = stream.write_all(bytes);
    let tags = bytes.windows(3).filter(|window| *window == b"\na ").count() + 1;
    let patience = if matches!(outcome, NotOk) { 2 } else { 20 };
    let answer = answer(stream, tags, patience);
    let text = String::from_utf8_lossy(&answer);
    let ok = text.lines().any(|line| line.starts_with("a OK"));
    let refused = is_refused(&answer);
    let right = match outcome {
        Refused => !ok && (text.is_empty() || refused),
        NotOk => !ok,
        Answered => refused || text.lines().any(|line| line.starts_with("a ")),
    };
    match right && answer.len() < ANSWER {
        true => Ok(()),
        false => Err(format!("{} bytes: {}", answer.len(), text.chars().take(300).collect::<String>())),
    }
}

/// Reads until the server hangs up, has answered as many commands, or was silent: once after a refusal, `patience`
/// times before.
fn answer(stream: &mut TcpStream, commands: usize, patience: usize) -> Vec<u8> {
    let mut answer = Vec::new();
    let mut chunk = [0; 16 * 1024];
    let tagged =
        |answer: &[u8]| answer.split(|&byte| byte == b'\n').filter(|line| line.starts_with(b"a ")).count();
    let _ = stream.set_read_timeout(Some(PATIENCE));
    let mut silences = 0;
    while answer.len() < ANSWER && tagged(&answer) < commands {
        match stream.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => answer.extend_from_slice(&chunk[..count]),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                silences += 1;
                if silences > patience || is_refused(&answer) {
                    break;
                }
            }
            Err(_) => break,
        }
    }
    answer
}

fn is_refused(answer: &[u8]) -> bool {
    let refusal = |line: &str| matches!(line.split(' ').nth(1), Some("BAD" | "NO" | "BYE"));
    String::from_utf8_lossy(answer).lines().any(refusal)
}

/// The healthy session gets its answer, and so does somebody who comes new.
fn still_served(arena: &Arena, healthy: &mut Client, after: &str) {
    assert!(healthy.try_command("NOOP").is_some(), "after {after}: the healthy session is not served");
    let mut fresh = arena.target.login("carol");
    assert!(fresh.try_command("SELECT INBOX").is_some(), "after {after}: a new session is not served");
}

fn join(pieces: &[&[u8]]) -> Vec<u8> {
    pieces.concat()
}

/// The first bytes of a TLS 1.2 handshake, enough to be recognized as such.
fn tls_client_hello() -> Vec<u8> {
    let mut hello = vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
    hello.extend((0..=255).cycle().take(508));
    hello
}

/// Messages with structures that have hurt parsers.
fn messages() -> Vec<(&'static str, Vec<u8>)> {
    let header = |name: &str, value: &str| format!("Subject: x\r\n{name}: {value}\r\n\r\nx\r\n").into_bytes();
    let nested = |count: usize| -> Vec<u8> {
        let open = |n: usize| format!("Content-Type: multipart/mixed; boundary=b{n}\r\n\r\n--b{n}\r\n");
        (0..count).map(open).collect::<String>().into_bytes()
    };
    vec![
        ("no header and no body", b"\r\n".to_vec()),
        ("one byte", b"x".to_vec()),
        ("only a header without its line end", b"Subject: x".to_vec()),
        ("lines that end with LF", b"Subject: x\nFrom: a@b\n\nx\ny\n".to_vec()),
        ("bare CRs", b"Subject: x\ry\r\n\r\na\rb\r\r\n".to_vec()),
        ("multiparts in multiparts", nested(5_000)),
        ("messages in messages", "Content-Type: message/rfc822\r\n\r\n".repeat(5_000).into_bytes()),
        (
            "many parts",
            join(&[
                b"Content-Type: multipart/mixed; boundary=b\r\n\r\n",
                &b"--b\r\n\r\nx\r\n".repeat(50_000),
            ]),
        ),
        ("an empty boundary", header("Content-Type", "multipart/mixed; boundary=\"\"")),
        (
            "a boundary of 100 kB",
            header("Content-Type", &format!("multipart/mixed; boundary=\"{}\"", "b".repeat(100_000))),
        ),
        ("many header fields", join(&[&b"X-A: b\r\n".repeat(50_000), b"\r\nx\r\n"])),
        ("a header line of 1 MB", header("X-Long", &"x".repeat(1 << 20))),
        ("a header folded without end", header("Subject", &"a\r\n ".repeat(50_000))),
        ("many recipients", header("To", &"a@example.org, ".repeat(20_000))),
        ("groups that do not end", header("To", &"a:b:c:".repeat(20_000))),
        ("open comments", header("From", &"(".repeat(100_000))),
        ("a comment that ends in a backslash", header("From", "a@b (x\\")),
        ("open quotes", header("From", &"\"a\" \"".repeat(20_000))),
        (
            "parameters in many pieces",
            header("Content-Type", &{
                let pieces: String = (0..20_000).map(|n| format!("; name*{n}*=%41")).collect();
                format!("text/plain{pieces}")
            }),
        ),
        ("encoded words without end", header("X-Y", &"=?utf-8?q?=41?= ".repeat(20_000))),
        ("NUL bytes", b"Subject: a\0b\r\n\0: x\r\n\r\n\0\0\r\n".to_vec()),
        ("references without end", header("References", &"<a@b> ".repeat(20_000))),
    ]
}
