//! What a client is told is on stable storage: one sync for all that it hears at once.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use super::*;
use crate::store::Counting;

/// A server whose disk can be watched, with a client in an INBOX of three messages.
fn watched() -> (Server, Arc<Counting>, Client) {
    let (dir, disk) = (tempfile::tempdir().unwrap(), Arc::new(Counting::default()));
    let options = Options::new(dir.path()).on(disk.clone());
    let server = Server::on(dir, options, |_| ());
    let mut client = server.in_inbox();
    client.append_many(3);
    client.say("b CREATE box\r\n");
    disk.syncs.store(0, SeqCst);
    (server, disk, client)
}

const MESSAGE: &str = "{12+}\r\nSubject: x\r\n\r\n";

#[test]
fn every_change_is_synced_before_its_ok() {
    for command in [
        &format!("a APPEND INBOX {MESSAGE}\r\n"),
        "a COPY 1 box\r\n",
        "a MOVE 1 box\r\n",
        "a UID MOVE 1:2 box\r\n",
        "a EXPUNGE\r\n",
        "a UID EXPUNGE 2\r\n",
        "a CLOSE\r\n",
        "a CREATE another\r\n",
        "a RENAME box another\r\n",
        "a DELETE box\r\n",
        "a SUBSCRIBE box\r\n",
    ] {
        let (_server, disk, mut client) = watched();
        client.say("b STORE 2 +FLAGS.SILENT (\\Deleted)\r\n");
        assert_eq!(disk.syncs.swap(0, SeqCst), 0, "flags are synced later");
        client.unread.extend_from_slice(command.as_bytes());
        client.call(|session, io| session.step(io));
        assert_eq!(disk.syncs.load(SeqCst), 1, "{command}");
        hears(&client.heard(), &["a OK"]);
    }
}

#[test]
fn what_changes_nothing_is_not_synced() {
    let (_server, disk, mut client) = watched();
    client.say("a STORE 1 +FLAGS (\\Seen)\r\n");
    client.say("a NOOP\r\nb FETCH 1:* FLAGS\r\nc EXPUNGE\r\nd COPY 9:8 box\r\ne STATUS box (MESSAGES)\r\n");
    assert_eq!(disk.syncs.load(SeqCst), 0);
}

#[test]
fn pipelined_changes_share_a_sync() {
    let (_server, disk, mut client) = watched();
    let appends = format!("b APPEND INBOX {MESSAGE}\r\n").repeat(20);
    let commands = format!("a STORE 1 +FLAGS (\\Deleted)\r\n{appends}c EXPUNGE\r\nd COPY 1:* box\r\n");
    client.unread.extend_from_slice(commands.as_bytes());
    client.call(|session, io| {
        // However slow the machine is, the slice is not over.
        io.now += Duration::from_secs(60);
        session.step(io)
    });
    let said = client.heard();
    hears(&said, &["a OK", "b OK", "* 1 EXPUNGE", "c OK", "d OK"]);
    assert_eq!(said.matches("b OK").count(), 20);
    assert_eq!(disk.syncs.load(SeqCst), 1);
}

#[test]
fn nothing_is_acknowledged_that_could_not_be_synced() {
    for command in [
        &format!("b APPEND INBOX {MESSAGE}\r\n"),
        "b MOVE 1 box\r\n",
        "b EXPUNGE\r\n",
        "b CLOSE\r\n",
        "b COPY 1:3 box\r\nc NOOP\r\nd LOGOUT\r\n",
    ] {
        let (_server, disk, mut client) = watched();
        client.say("a STORE 2 +FLAGS.SILENT (\\Deleted)\r\n");
        disk.fails.store(true, SeqCst);
        let said = client.say(&format!("a NOOP\r\n{command}"));
        assert_eq!(
            said,
            "a OK NOOP completed\r\n\
             * BYE [UNAVAILABLE] the server's disk fails: the commands without an answer may be lost\r\n",
            "{command}"
        );
        assert!(client.is_closed);
    }
}

#[test]
fn a_sync_that_another_session_has_made_serves_too() {
    let (server, disk, mut client) = watched();
    client.unread.extend_from_slice(format!("a APPEND INBOX {MESSAGE}\r\n").as_bytes());
    client.one_call(|session, io| session.step(io));
    hears(&server.ada().append("INBOX", "", "Subject: y\r\n\r\n"), &["a OK"]);
    client.send_output();
    hears(&client.heard(), &["a OK"]);
    assert_eq!(disk.syncs.load(SeqCst), 1);
}

/// Writes a message, without an answer yet.
fn begins_to_append(client: &mut Client) {
    client.unread.extend_from_slice(format!("a APPEND INBOX {MESSAGE}\r\n").as_bytes());
    client.one_call(|session, io| session.step(io));
}

fn settles(client: &mut Client) -> Settled {
    client.session.settle(&mut client.output)
}

#[test]
fn a_session_needs_no_thread_while_another_one_syncs() {
    let (server, disk, mut first) = watched();
    let [mut second, mut third, mut fourth] = [(); 3].map(|()| server.ada());
    begins_to_append(&mut first);
    let busy = disk.busy.lock().unwrap();
    std::thread::scope(|scope| {
        let syncing = scope.spawn(|| settles(&mut first));
        while disk.syncs.load(SeqCst) == 0 {
            std::thread::yield_now();
        }
        begins_to_append(&mut second);
        assert_eq!(settles(&mut second), Settled::Later);
        drop(busy);
        assert_eq!(syncing.join().unwrap(), Settled::Yes);
    });
    begins_to_append(&mut third);
    assert_eq!(settles(&mut third), Settled::Yes);
    assert_eq!(disk.syncs.load(SeqCst), 2, "the first one's was begun before the others wrote");
    begins_to_append(&mut fourth);
    assert_eq!(settles(&mut second), Settled::Yes);
    assert_eq!(disk.syncs.load(SeqCst), 2, "what is written meanwhile does not hold it up");
    second.send_output();
    hears(&second.heard(), &["a OK"]);
}

#[test]
fn what_a_lost_client_did_becomes_durable_soon() {
    let (_server, disk, mut client) = watched();
    client.unread.extend_from_slice(format!("a APPEND INBOX {MESSAGE}\r\n").as_bytes());
    client.one_call(|session, io| session.step(io));
    drop(client);
    while disk.syncs.load(SeqCst) == 0 {
        std::thread::sleep(Duration::from_millis(5));
    }
}
