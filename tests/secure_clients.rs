//! Real clients over TLS that trust the server's own certificate and nothing else: mbsync, curl and Python's imaplib, on
//! both ports, with passwords that are not taken in the clear.

mod common;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::server::{Options, PASSWORD, Server};

const MESSAGE: &str = "Subject: sealed\r\nMessage-ID: <1@example>\r\n\r\nOnly for your eyes.\r\n";

struct Place {
    server: Server,
    work: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        let options = Options::default()
            .set("service.imap.enablesslport", "yes")
            .set("service.imap.sslport", "0")
            .set("service.imap.plaintextmincipher", "128");
        Place { server: Server::start(options), work: tempfile::tempdir().expect("make a directory") }
    }

    fn certificate(&self) -> PathBuf {
        self.server.dir().join("config/tls/server.pem")
    }

    fn tls(&self) -> SocketAddr {
        self.server.tls_addr().expect("an address for IMAP over TLS")
    }

    /// The two ways to TLS: a word for each, and the port.
    fn ways(&self) -> [(&'static str, u16); 2] {
        [("IMAPS", self.tls().port()), ("STARTTLS", self.server.addr().port())]
    }

    fn curl(&self, url: &str) -> Command {
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--ssl-reqd", "--user"]).arg(format!("ada:{PASSWORD}"));
        command.arg("--cacert").arg(self.certificate()).arg(url);
        command
    }
}

#[test]
fn clients_trust_the_server_s_own_certificate() {
    let place = Place::new();
    let file = place.work.path().join("message.eml");
    fs::write(&file, MESSAGE).expect("write a message");
    for (way, port) in place.ways() {
        let scheme = if way == "IMAPS" { "imaps" } else { "imap" };
        let url = format!("{scheme}://localhost:{port}/INBOX");
        run(place.curl(&url).arg("--upload-file").arg(&file));
    }
    for (way, port) in place.ways() {
        let scheme = if way == "IMAPS" { "imaps" } else { "imap" };
        assert_eq!(run(&mut place.curl(&format!("{scheme}://localhost:{port}/INBOX;UID=2"))), MESSAGE);
        assert_eq!(messages_by_mbsync(&place, way, port), 2, "{way}");
        assert_eq!(run(&mut imaplib(&place, way, port)).trim(), "2", "{way}");
    }
}

#[test]
fn a_password_does_not_cross_in_the_clear() {
    let place = Place::new();
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--user"]).arg(format!("ada:{PASSWORD}"));
    command.arg(format!("imap://localhost:{}/", place.server.addr().port()));
    let output = command.output().expect("run curl (apt-get install curl)");
    assert!(!output.status.success(), "curl logged in without TLS");
}

/// How many messages mbsync brings from the INBOX.
fn messages_by_mbsync(place: &Place, way: &str, port: u16) -> usize {
    let local = place.work.path().join(way);
    for folder in ["cur", "new", "tmp"] {
        fs::create_dir_all(local.join("inbox").join(folder)).expect("make a Maildir");
    }
    let text = format!(
        "IMAPAccount test\nHost localhost\nPort {port}\nUser ada\nPass {PASSWORD}\nSSLType {way}\n\
         CertificateFile {certificate}\nAuthMechs LOGIN\n\nIMAPStore remote\nAccount test\n\n\
         MaildirStore local\nPath {local}/\nInbox {local}/inbox\n\n\
         Channel test\nFar :remote:\nNear :local:\nCreate Near\nSync Pull\nSyncState *\n",
        certificate = place.certificate().display(),
        local = local.display(),
    );
    let config = local.join("mbsyncrc");
    fs::write(&config, text).expect("write mbsync's configuration");
    run(Command::new("mbsync").arg("--config").arg(config).arg("test"));
    let count = |folder: &str| list(&local.join("inbox").join(folder));
    count("cur") + count("new")
}

fn list(directory: &Path) -> usize {
    fs::read_dir(directory).expect("list a Maildir").count()
}

/// Has imaplib say how many messages the INBOX has.
fn imaplib(place: &Place, way: &str, port: u16) -> Command {
    let script = "import imaplib, ssl, sys\n\
                  way, port, certificate, password = sys.argv[1:]\n\
                  context = ssl.create_default_context(cafile=certificate)\n\
                  if way == 'IMAPS':\n    client = imaplib.IMAP4_SSL('localhost', int(port), ssl_context=context)\n\
                  else:\n    client = imaplib.IMAP4('localhost', int(port)); client.starttls(context)\n\
                  client.login('ada', password)\n\
                  print(client.select('INBOX')[1][0].decode())\n\
                  client.logout()\n";
    let mut command = Command::new("python3");
    command.args(["-c", script, way, &port.to_string()]).arg(place.certificate()).arg(PASSWORD);
    command
}

/// Runs a client to its end and returns what it printed.
fn run(command: &mut Command) -> String {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().unwrap_or_else(|e| panic!("cannot run {program}: {e}; see .ci/run"));
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{program} failed: {}\n{printed}",
        String::from_utf8_lossy(&output.stderr)
    );
    printed
}
