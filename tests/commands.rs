//! The commands of the real program that need no running server: what they do, what they say, how they end.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const PROGRAM: &str = env!("CARGO_BIN_EXE_heliograph");

/// What a command did.
#[derive(Debug)]
struct Run {
    code: i32,
    out: String,
    err: String,
}

/// A directory with a base in it.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn empty() -> Self {
        Place { dir: tempfile::tempdir().unwrap() }
    }

    fn with_base() -> Self {
        let place = Place::empty();
        place.run(&["init", "base"]).succeeds();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn msg_conf(&self) -> String {
        fs::read_to_string(self.path("base/config/msg.conf")).unwrap()
    }

    fn run(&self, arguments: &[&str]) -> Run {
        self.run_as(Path::new(PROGRAM), arguments, "")
    }

    fn run_with(&self, arguments: &[&str], input: &str) -> Run {
        self.run_as(Path::new(PROGRAM), arguments, input)
    }

    fn run_as(&self, program: &Path, arguments: &[&str], input: &str) -> Run {
        let mut child = Command::new(program)
            .args(arguments)
            .current_dir(self.dir.path())
            .env("MSG_SVR_BASE", self.path("base"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A command that reads no input may have ended already.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let output = child.wait_with_output().unwrap();
        Run {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Run {
    #[track_caller]
    fn succeeds(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.out
    }

    /// One line that says all of this, and exit code 1.
    #[track_caller]
    fn fails(self, says: &[&str]) {
        assert_eq!(self.code, 1, "{self:?}");
        assert!(self.err.starts_with("heliograph: "), "{self:?}");
        assert_eq!(self.err.lines().count(), 1, "one line: {self:?}");
        for text in says {
            assert!(self.err.contains(text), "`{text}` is missing: {self:?}");
        }
    }
}

#[test]
fn init_makes_a_base_where_idle_works() {
    let place = Place::empty();
    place.run(&["init", "--set", "service.imap.port=1143", "base"]).succeeds();
    for directory in ["sbin", "bin", "lib", "config", "data/store/partition/primary", "data/proc", "log"] {
        assert!(place.path("base").join(directory).is_dir(), "{directory}");
    }
    for (option, value) in [
        ("local.store.notifyplugin", "msg-svr-base/lib/libibiff"),
        ("local.store.notifyplugin.enseventkey", "enp://127.0.0.1/store/%M"),
        ("local.store.notifyplugin.noneinbox.enable", "1"),
        ("service.imap.port", "1143"),
        ("service.imap.maxsessions", "4000"),
    ] {
        assert_eq!(place.run(&["configutil", "-o", option]).succeeds(), format!("{value}\n"));
    }
    place.run(&["configutil", "-V"]).succeeds();
    place.run(&["init", "base"]).fails(&["message store already"]);
}

#[test]
fn init_leaves_nothing_behind_when_an_option_is_wrong() {
    let place = Place::empty();
    for (set, says) in [
        ("service.imap.prot=1143", "did you mean `service.imap.port`?"),
        ("service.imap.idletimeout=5", "Never less than 30"),
        ("service.imap.enable=off", "both off"),
    ] {
        place.run(&["init", "--set", set, "base"]).fails(&[says]);
        assert!(!place.path("base").exists());
    }
    assert_eq!(place.run(&["init", "--set", "nonsense", "base"]).code, 2);
}

#[test]
fn a_missing_base_is_said_with_the_next_step() {
    let place = Place::empty();
    for arguments in [&["serve"][..], &["configutil"], &["user", "list"]] {
        place.run(arguments).fails(&["is not a message store", "heliograph init"]);
    }
    place.run(&["--base", "elsewhere", "serve"]).fails(&["elsewhere"]);
}

#[test]
fn a_base_that_cannot_be_written_is_said() {
    let place = Place::empty();
    fs::write(place.path("file"), "").unwrap();
    place.run(&["init", "file/base"]).fails(&["cannot write"]);
    place.run(&["init", "missing/parent"]).fails(&["cannot write"]);
    let place = Place::with_base();
    fs::remove_dir(place.path("base/data/proc")).unwrap();
    fs::write(place.path("base/data/proc"), "").unwrap();
    place.run(&["serve"]).fails(&["cannot write", "data/proc"]);
}

#[test]
fn options_are_shown_set_and_deleted() {
    let place = Place::with_base();
    let port = ["configutil", "-o", "service.imap.port"];
    let set = |value| [&port[..], &["-v", value]].concat();
    assert_eq!(place.run(&port).succeeds(), "143\n");
    assert_eq!(place.run(&set("1143")).succeeds(), "service.imap.port = 1143 (after a refresh)\n");
    assert_eq!(place.run(&port).succeeds(), "1143\n");
    place.run(&set("70000")).fails(&["service.imap.port", "65535"]);
    assert_eq!(place.run(&port).succeeds(), "1143\n");
    place.run(&[&port[..], &["-d"]].concat()).succeeds();
    assert_eq!(place.run(&port).succeeds(), "143\n");
    place.run(&["configutil", "-o", "service.imap.plaintextmincipher", "-v", "-1"]).succeeds();
    assert_eq!(place.run(&["configutil", "-o", "local.store.notifyplugin.ensport"]).succeeds(), "7997\n");
    assert_eq!(place.run(&["configutil", "-o", "service.imap.banner"]).succeeds(), "\n");
    place.run(&["configutil", "-o", "service.imap.maxsesions"]).fails(&["service.imap.maxsessions"]);
}

#[test]
fn comments_in_the_file_are_kept() {
    let place = Place::with_base();
    let path = place.path("base/config/msg.conf");
    fs::write(&path, "# ours\nservice.imap.port = 1143\n\n# end\n").unwrap();
    place.run(&["configutil", "-o", "SERVICE.IMAP.PORT", "-v", "2143"]).succeeds();
    place.run(&["configutil", "-o", "store.admins", "-v", "ada"]).succeeds();
    assert_eq!(place.msg_conf(), "# ours\nservice.imap.port = 2143\n\n# end\nstore.admins = ada\n");
}

#[test]
fn lists_by_pattern_with_help() {
    let place = Place::with_base();
    let all = place.run(&["configutil"]).succeeds();
    assert!(all.contains("service.imap.idletimeout = 30\n"), "{all}");
    let ports = place.run(&["configutil", "-p", "service.imap.*port"]).succeeds();
    assert_eq!(ports, "service.imap.port = 143\nservice.imap.enablesslport = \nservice.imap.sslport = 993\n");
    let help = place.run(&["configutil", "-p", "service.imap.maxthr", "-H", "-m"]).succeeds();
    for text in ["Threads per worker process.", "1 to 4096 threads", "Default: 250", "restart"] {
        assert!(help.contains(text), "{help}");
    }
}

#[test]
fn many_options_are_set_from_a_file_or_none() {
    let place = Place::with_base();
    let before = place.msg_conf();
    let input = "# a comment\nservice.imap.port=1143\nservice.imap.maxthreads = 8\n";
    let wrong = format!("{input}service.imap.maxthreads = many\n");
    place.run_with(&["configutil", "-i", "-"], &wrong).fails(&["service.imap.maxthreads", "many"]);
    assert_eq!(place.msg_conf(), before);
    fs::write(place.path("options"), input).unwrap();
    place.run(&["configutil", "-i", "options"]).succeeds();
    assert_eq!(place.run(&["configutil", "-o", "service.imap.maxthreads"]).succeeds(), "8\n");
}

#[test]
fn validation_and_the_server_say_the_same() {
    let place = Place::with_base();
    let contradiction = "service.imap.sslcertfile is set without service.imap.sslkeyfile";
    let set = place.run(&["configutil", "-o", "service.imap.sslcertfile", "-v", "server.pem"]);
    assert!(set.code == 0 && set.err.contains(contradiction), "{set:?}");
    let validation = place.run(&["configutil", "-V"]);
    assert_eq!(validation.code, 1, "{validation:?}");
    assert!(validation.out.contains(contradiction), "{validation:?}");
    place.run(&["serve"]).fails(&[contradiction]);
}

#[test]
fn a_damaged_configuration_is_named_with_its_line() {
    let place = Place::with_base();
    let path = place.path("base/config/msg.conf");
    for (text, says) in [
        ("# fine\nservice.imap.port 143\n", "line 2: there is no `=`"),
        ("service.imap.prot = 143\n", "line 1: no option is named `service.imap.prot`"),
        ("\nservice.imap.port = x\n", "line 2: service.imap.port"),
        ("store.admins = a\nstore.admins = b\n", "line 2: store.admins is set on line 1"),
    ] {
        fs::write(&path, text).unwrap();
        place.run(&["serve"]).fails(&["msg.conf: ", says]);
    }
    fs::write(&path, "service.imap.prot = 143\n").unwrap();
    place.run(&["configutil", "-o", "service.imap.prot", "-d"]).succeeds();
    place.run(&["configutil", "-V"]).succeeds();
}

#[test]
fn the_program_answers_to_the_name_of_a_link() {
    let place = Place::with_base();
    let link = place.path("configutil");
    symlink(PROGRAM, &link).unwrap();
    assert_eq!(place.run_as(&link, &["-o", "service.imap.port"], "").succeeds(), "143\n");
    let in_base = place.path("base/sbin/configutil");
    assert_eq!(place.run_as(&in_base, &["-o", "service.imap.port"], "").succeeds(), "143\n");
}

/// The manual's examples change to `sbin` and call `./configutil`.
#[test]
fn a_link_called_from_its_own_directory_finds_its_base() {
    let place = Place::with_base();
    let mut command = Command::new("./configutil");
    command.current_dir(place.path("base/sbin")).env_remove("MSG_SVR_BASE");
    let output = command.args(["-o", "service.imap.port"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "143\n", "{output:?}");
}

#[test]
fn users_come_and_go() {
    let place = Place::with_base();
    let odd = "grüße:100%@example.org";
    place.run_with(&["user", "add", "ada"], "secret\n").succeeds();
    place.run_with(&["user", "add", odd], "secret").succeeds();
    assert_eq!(place.run(&["user", "list"]).succeeds(), format!("ada\n{odd}\n"));
    let file = || fs::read_to_string(place.path("base/config/users")).unwrap();
    let before = file();
    assert!(before.contains("ada:{ARGON2ID}$argon2id$") && !before.contains("secret"), "{before}");
    place.run_with(&["user", "passwd", "ada"], "other\n").succeeds();
    assert_ne!(file(), before);
    assert!(place.run(&["user", "delete", odd]).succeeds().contains("the mail stays"));
    assert_eq!(place.run(&["user", "list"]).succeeds(), "ada\n");
    for (arguments, says) in [
        (&["user", "add", "ada"][..], "exists already"),
        (&["user", "passwd", "bob"], "no such user bob"),
        (&["user", "delete", "bob"], "no such user bob"),
        (&["user", "add", "bob"], "password is empty"),
        (&["user", "add", "a\tb"], "control character"),
        (&["user", "add", ""], "empty"),
        (&["user", "add", &"x".repeat(256)], "longer than 255 bytes"),
    ] {
        place.run(arguments).fails(&[says]);
    }
}

#[test]
fn users_are_imported_all_or_none() {
    let place = Place::with_base();
    place.run_with(&["user", "add", "ada"], "old").succeeds();
    let lines = "# users\n\
                 ada:new\n\
                 bob:{SSHA}P2m+6qVnTpOxFp8bQf+KmvVSs9UAAQIDBAUGBw==:1000:1000::/home/bob::\n\
                 eve:{PLAIN}hidden\n";
    let bad = format!("{lines}mal\n");
    place.run_with(&["user", "import", "-"], &bad).fails(&["line 5", "nothing was imported"]);
    assert_eq!(place.run(&["user", "list"]).succeeds(), "ada\n");
    fs::write(place.path("list"), lines).unwrap();
    let said = place.run(&["user", "import", "list"]).succeeds();
    assert!(said.starts_with("3 users imported, 1 of them"), "{said}");
    let users = fs::read_to_string(place.path("base/config/users")).unwrap();
    assert!(users.contains("\nbob:{SSHA}P2m+6qVnTpOxFp8bQf+KmvVSs9UAAQIDBAUGBw==\n"), "{users}");
    assert!(!users.contains("hidden"), "passwords in the clear are hashed: {users}");
    place.run(&["user", "import", "missing"]).fails(&["cannot read missing"]);
}

#[test]
fn a_damaged_user_file_is_named_with_its_line() {
    let place = Place::with_base();
    fs::write(place.path("base/config/users"), "ada:{PLAIN}x\nbob\n").unwrap();
    place.run(&["user", "list"]).fails(&["config/users: line 2"]);
}

#[test]
fn help_and_version_go_to_standard_output() {
    let place = Place::empty();
    assert!(place.run(&["--version"]).succeeds().starts_with("heliograph "));
    let help = place.run(&["--help"]).succeeds();
    for command in ["init", "serve", "configutil", "user", "MSG_SVR_BASE"] {
        assert!(help.contains(command), "{help}");
    }
    assert_eq!(place.run(&["no-such-command"]).code, 2);
}
