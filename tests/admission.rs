//! Who may connect, and how often, over several workers: `service.imap.connlimits`, `service.imap.domainallowed` and
//! `service.imap.domainnotallowed`.

mod common;

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, socket};

use common::server::{Options, Server, heliograph};
use common::wire::TIMEOUT;

const SOON: Duration = Duration::from_secs(10);

const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;
const OTHER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// A connection from an address of this machine, and the first that it hears.
fn from(client: Ipv4Addr, server: SocketAddr) -> (TcpStream, String) {
    let stream =
        socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).expect("a socket");
    let own = SockaddrStorage::from(SocketAddrV4::new(client, 0));
    bind(stream.as_raw_fd(), &own).expect("an address of our own");
    connect(stream.as_raw_fd(), &SockaddrStorage::from(server)).expect("connect");
    let mut stream = TcpStream::from(stream);
    stream.set_read_timeout(Some(TIMEOUT)).expect("a socket option");
    let mut greeting = [0; 1024];
    let count = stream.read(&mut greeting).unwrap_or_default();
    (stream, String::from_utf8_lossy(&greeting[..count]).into_owned())
}

fn is_served(client: Ipv4Addr, server: &Server) -> bool {
    from(client, server.addr()).1.starts_with("* OK")
}

/// A connection that is served, as soon as there is room for it.
fn served_at_last(client: Ipv4Addr, server: &Server) -> (TcpStream, String) {
    let mut connection = None;
    eventually("there is room when one has left", || {
        connection = Some(from(client, server.addr())).filter(|(_, greeting)| greeting.starts_with("* OK"));
        connection.is_some()
    });
    connection.expect("served")
}

fn set(server: &Server, option: &str, value: &str) {
    let dir = server.dir();
    let dir = dir.to_str().expect("a plain name");
    heliograph(&["--base", dir, "configutil", "-o", option, "-v", value]);
    heliograph(&["--base", dir, "refresh"]);
}

fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn an_address_has_so_many_connections_over_all_workers() {
    let limits = "127.0.0.2|32:5,0.0.0.0|0:3";
    let server = Server::start(Options::default().set("service.imap.connlimits", limits));
    let hold = |client| from(client, server.addr());
    let mut held: Vec<_> = (0..3).map(|_| hold(HERE)).collect();
    assert!(held.iter().all(|(_, greeting)| greeting.starts_with("* OK")));
    let refused = hold(HERE).1;
    assert!(refused.starts_with("* BYE [UNAVAILABLE] too many connections from your address"), "{refused}");
    assert!(server.log().contains("see service.imap.connlimits"), "{}", server.log());
    let others: Vec<_> = (0..6).map(|_| hold(OTHER)).collect();
    let served = others.iter().filter(|(_, greeting)| greeting.starts_with("* OK")).count();
    assert_eq!(served, 5, "a realm of its own");

    held.pop();
    held.push(served_at_last(HERE, &server));
    assert!(!is_served(HERE, &server));
    let before = server.children();
    for &child in &before {
        kill(child, Signal::SIGKILL).expect("kill a child");
    }
    eventually("connections of dead workers do not count", || {
        let now = server.children();
        now.len() == before.len()
            && !now.iter().any(|child| before.contains(child))
            && is_served(HERE, &server)
    });

    // The connection that showed it may count for another moment.
    let _held: Vec<_> = (0..3).map(|_| served_at_last(HERE, &server)).collect();
    assert!(!is_served(HERE, &server));
    set(&server, "service.imap.connlimits", "0.0.0.0|0:50");
    eventually("a refresh allows more", || is_served(HERE, &server));
    let count = heliograph(&["--base", server.dir().to_str().expect("a plain name"), "counterutil"]);
    assert!(!count.contains("global.numFailedConnections: 0"), "{count}");
}

#[test]
fn filters_say_who_may_connect_to_what() {
    let options =
        Options::default().set("service.imap.enablesslport", "yes").set("service.imap.sslport", "0");
    let server = Server::start(options.set("service.imap.domainnotallowed", "ALL: 127.0.0.2/32"));
    let session = from(HERE, server.addr());
    assert!(session.1.starts_with("* OK"));
    let refused = from(OTHER, server.addr()).1;
    assert!(refused.starts_with("* BYE connections from your address are not served"), "{refused}");
    assert!(server.log().contains("see service.imap.domainallowed"), "{}", server.log());

    set(&server, "service.imap.domainnotallowed", "imap EXCEPT imaps: 127.0.0.1");
    eventually("a refresh changes who", || is_served(OTHER, &server) && !is_served(HERE, &server));

    // Alone, what allows refuses everybody else.
    set(&server, "service.imap.domainnotallowed", "");
    set(&server, "service.imap.domainallowed", "imaps: ALL");
    eventually("only the TLS port is open", || !is_served(OTHER, &server) && !is_served(HERE, &server));
    let mut tls = TcpStream::connect(server.tls_addr().expect("an address for TLS")).expect("connect");
    tls.set_read_timeout(Some(Duration::from_millis(200))).expect("a socket option");
    let waits = tls.read(&mut [0; 1]).expect_err("it waits for the client to begin");
    assert!(matches!(waits.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut), "{waits}");
}
