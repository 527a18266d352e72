//! Section 5.6.1 of the manual, followed by the letter: from a base without IDLE to one with it, one step at a time.
//! Each omission is explained.

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use common::server::{Options, PASSWORD, Server};

/// The manual's second example, line break and printed slip included.
const ACCESS: &str =
    "+192.168.0.1|255.255.255.0;+127.0.0.1|255.255.255.255; \\\n    -192.168.0.17;255.255.255.255";

/// `sbin/configutil` of a base, called by that name.
fn configutil(dir: &Path, arguments: &[&str]) -> Output {
    let program = dir.join("sbin/configutil");
    let mut command = Command::new(program);
    command.env_remove("MSG_SVR_BASE").args(arguments).stdin(Stdio::null());
    command.output().expect("run configutil")
}

fn set(dir: &Path, option: &str, value: &str) {
    let output = configutil(dir, &["-o", option, "-v", value]);
    assert!(output.status.success(), "{option}: {}", String::from_utf8_lossy(&output.stderr));
}

fn unset(dir: &Path, option: &str) {
    let output = configutil(dir, &["-o", option, "-d"]);
    assert!(output.status.success(), "{option}: {}", String::from_utf8_lossy(&output.stderr));
}

/// What `configutil -V` says.
fn validate(dir: &Path) -> String {
    let output = configutil(dir, &["-V"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// `telnet host port`: the greeting, and what CAPABILITY says before and after login.
fn telnet(server: &Server) -> [bool; 3] {
    let mut stream = TcpStream::connect(server.addr()).expect("connect");
    let mut lines = BufReader::new(stream.try_clone().expect("read")).lines().map_while(Result::ok);
    let greeting = lines.next().expect("a greeting");
    let commands = format!("a CAPABILITY\r\nb LOGIN ada {PASSWORD}\r\nc CAPABILITY\r\nd LOGOUT\r\n");
    stream.write_all(commands.as_bytes()).expect("ask");
    let answers: Vec<String> = lines.collect();
    let shows = |line: &String| line.split([' ', ']']).any(|word| word == "IDLE");
    let mut capabilities = answers.iter().filter(|line| line.starts_with("* CAPABILITY "));
    let mut next = || shows(capabilities.next().expect("capabilities"));
    [shows(&greeting), next(), next()]
}

const STEPS: [(&str, &str, &str); 4] = [
    ("local.store.notifyplugin.enshost", "127.0.0.1", ""),
    ("local.store.notifyplugin.enseventkey", "enp://127.0.0.1/store/%M", "does not end in %M"),
    ("local.store.notifyplugin", "msg-svr-base/lib/libibiff", "local.store.notifyplugin is not set"),
    ("local.store.notifyplugin.noneinbox.enable", "1", "noneinbox.enable is off"),
];

#[test]
fn idle_is_there_when_every_step_is_done() {
    // Step 1 is the environment of the server.
    let mut server = Server::start(Options::default().env("ENS_ACCESS", ACCESS));
    let dir = server.dir();
    for (option, ..) in STEPS {
        unset(&dir, option);
    }
    let mut open: Vec<&str> =
        STEPS.iter().map(|(.., complaint)| *complaint).filter(|c| !c.is_empty()).collect();
    for (option, value, complaint) in STEPS {
        let said = validate(&dir);
        assert!(open.iter().all(|complaint| said.contains(complaint)), "still to do {open:?}, said {said}");
        let logged = server.log().len();
        server.restart();
        assert_eq!(telnet(&server), [false; 3], "IDLE is shown before {option} is set");
        let log = server.log().split_off(logged);
        assert!(open.iter().all(|complaint| log.contains(complaint)), "still to do {open:?}, logged {log}");
        set(&dir, option, value);
        open.retain(|other| *other != complaint);
    }
    assert!(!validate(&dir).contains("IDLE"), "nothing is left to do");
    // Steps 6 and 7.
    server.restart();
    assert_eq!(telnet(&server), [true; 3], "IDLE is shown when every step is done");
    assert!(!server.log().contains("enpd is not started"), "the access list is the manual's");
}

#[test]
fn each_single_omission_is_named() {
    let mut server = Server::start(Options::default());
    let dir = server.dir();
    for (option, value, complaint) in STEPS.into_iter().filter(|(.., complaint)| !complaint.is_empty()) {
        unset(&dir, option);
        let said = validate(&dir);
        let named = STEPS.iter().filter(|(.., other)| !other.is_empty() && said.contains(other)).count();
        assert!(said.contains(complaint) && named == 1, "without {option}, configutil said {said}");
        server.restart();
        assert_eq!(telnet(&server), [false; 3], "IDLE is shown without {option}");
        set(&dir, option, value);
    }
    server.restart();
    assert_eq!(telnet(&server), [true; 3]);
}

#[test]
fn an_access_list_that_makes_no_sense_is_named() {
    let server = Server::start(Options::default());
    let program = server.dir().join("sbin/configutil");
    for (list, says) in
        [(ACCESS, ""), ("+127.0.0.1|255.255.255.255;10.0.0.1|255.0.0.0", "ENS_ACCESS: rule 2, position 28")]
    {
        let output =
            Command::new(&program).arg("-V").env("ENS_ACCESS", list).output().expect("run configutil");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && said.contains(says), "{list}: {said}");
        assert_eq!(said.contains("enpd would not start"), !says.is_empty(), "{list}: {said}");
    }
}

#[test]
fn the_publisher_may_be_a_path_under_the_base() {
    let mut server = Server::start(Options::default());
    let dir = server.dir();
    let path = dir.join("lib/libibiff");
    set(&dir, "local.store.notifyplugin", path.to_str().expect("a plain name"));
    server.restart();
    assert_eq!(telnet(&server), [true; 3]);
}

#[test]
fn a_fresh_base_has_idle() {
    let server = Server::start(Options::default());
    assert_eq!(telnet(&server), [true; 3]);
    let config = fs::read_to_string(server.dir().join("config/msg.conf")).expect("read msg.conf");
    for (option, value, _) in STEPS {
        assert!(config.contains(&format!("{option} = {value}")), "{option} is not in {config}");
    }
}
