//! The events of the Event Notification Service, and how one is written.

use std::time::{SystemTime, UNIX_EPOCH};

use super::reference::{EventKey, encode};
use crate::store::{Counters, Flags, INBOX};

/// The parameter that names the event.
pub const TYPE: &str = "evtType";

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Mail was delivered.
    NewMsg,
    /// A message came into a mailbox by APPEND, COPY or MOVE.
    UpdateMsg,
    /// `\Seen` was set or removed.
    ReadMsg,
    /// `\Deleted` was set.
    TrashMsg,
    /// A client expunged a message.
    DeleteMsg,
    /// The server removed a message.
    PurgeMsg,
    /// Flags of a message changed.
    MsgFlags,
    Login,
    Logout,
    OverQuota,
    UnderQuota,
    /// Beyond the 6.3 guide, which has no events for folders: a mailbox was made,
    CreateFolder,
    /// removed with its messages,
    DeleteFolder,
    /// or has another name; `oldMailboxName` is the former one.
    RenameFolder,
}

impl Kind {
    /// With the name on the wire and, where there is a switch `local.store.notifyplugin.EVENT.enable`, its EVENT.
    pub const ALL: [(Kind, &'static str, Option<&'static str>); 14] = [
        (Kind::NewMsg, "NewMsg", Some("newmsg")),
        (Kind::UpdateMsg, "UpdateMsg", Some("updatemsg")),
        (Kind::ReadMsg, "ReadMsg", Some("readmsg")),
        (Kind::TrashMsg, "TrashMsg", Some("trashmsg")),
        (Kind::DeleteMsg, "DeleteMsg", Some("deletemsg")),
        (Kind::PurgeMsg, "PurgeMsg", Some("purgemsg")),
        (Kind::MsgFlags, "MsgFlags", Some("msgflags")),
        (Kind::Login, "Login", Some("loguser")),
        (Kind::Logout, "Logout", Some("loguser")),
        (Kind::OverQuota, "OverQuota", Some("overquota")),
        (Kind::UnderQuota, "UnderQuota", Some("underquota")),
        (Kind::CreateFolder, "CreateFolder", None),
        (Kind::DeleteFolder, "DeleteFolder", None),
        (Kind::RenameFolder, "RenameFolder", None),
    ];

    pub fn name(self) -> &'static str {
        Kind::ALL.iter().find(|(kind, ..)| *kind == self).map_or("", |(_, name, _)| name)
    }
}

/// A set of events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kinds(u16);

impl Kinds {
    /// Those whose switch is among `switches`, and those that have none.
    pub fn switched_on(switches: &[&str]) -> Kinds {
        let is_on = |switch: &Option<&str>| switch.is_none_or(|switch| switches.contains(&switch));
        let on = Kind::ALL.iter().filter(|(_, _, switch)| is_on(switch));
        Kinds(on.fold(0, |bits, (kind, ..)| bits | 1 << *kind as u16))
    }

    pub fn contains(self, kind: Kind) -> bool {
        self.0 & 1 << kind as u16 != 0
    }
}

/// What all events of a process have in common.
#[derive(Clone, Debug)]
pub struct Origin {
    pub key: EventKey,
    pub host: String,
    /// `imapd`, `lmtp` and so on.
    pub process: &'static str,
    pub pid: u32,
}

/// `uid` for INBOX, `uid/folder` for another mailbox.
pub fn mailbox_name(user: &str, mailbox: &str) -> String {
    if mailbox == INBOX { user.to_owned() } else { format!("{user}/{mailbox}") }
}

/// Writes the reference of one event.
pub(super) struct Writer {
    text: String,
}

impl Writer {
    /// Begins with the parameters that every event has.
    pub fn new(origin: &Origin, kind: Kind, mailbox: &str) -> Self {
        let mut text = String::with_capacity(320);
        origin.key.write(mailbox, &mut text);
        text.push('?');
        let mut writer = Writer { text };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        writer.text(TYPE, kind.name());
        writer.number("timestamp", now);
        writer.text("hostname", &origin.host);
        writer.text("process", origin.process);
        writer.number("pid", origin.pid.into());
        writer.text("mailboxName", mailbox);
        writer
    }

    pub fn text(&mut self, name: &str, value: &str) {
        self.name(name);
        encode(value, &mut self.text);
    }

    pub fn number(&mut self, name: &str, value: u64) {
        self.name(name);
        self.text.push_str(&value.to_string());
    }

    fn name(&mut self, name: &str) {
        if !self.text.ends_with('?') {
            self.text.push('&');
        }
        self.text.push_str(name);
        self.text.push('=');
    }

    /// Counters that a change of messages carries; `seen_deleted` where messages come in.
    pub fn counters(&mut self, counters: &Counters, seen_deleted: bool) {
        self.number("numMsgs", counters.messages.into());
        self.number("numSeen", counters.seen.into());
        self.number("numDeleted", counters.deleted.into());
        if seen_deleted {
            self.number("numSeenDeleted", counters.seen_deleted.into());
        }
        self.number("uidValidity", counters.uid_validity.into());
    }

    /// Five characters, `AFDSR` (the last for `\Draft`), a blank for a flag that is not set.
    pub fn flags(&mut self, name: &str, flags: Flags) {
        const LETTERS: [(Flags, char); 5] = [
            (Flags::ANSWERED, 'A'),
            (Flags::FLAGGED, 'F'),
            (Flags::DELETED, 'D'),
            (Flags::SEEN, 'S'),
            (Flags::DRAFT, 'R'),
        ];
        let letter = |(flag, letter)| if flags.contains(flag) { letter } else { ' ' };
        self.text(name, &LETTERS.map(letter).iter().collect::<String>());
    }

    pub fn finish(self) -> String {
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::Reference;

    #[test]
    fn switches_are_the_manual_s() {
        let on = Kinds::switched_on(&["loguser", "newmsg"]);
        let names: Vec<_> =
            Kind::ALL.iter().filter(|(kind, ..)| on.contains(*kind)).map(|row| row.1).collect();
        assert_eq!(names, ["NewMsg", "Login", "Logout", "CreateFolder", "DeleteFolder", "RenameFolder"]);
    }

    #[test]
    fn the_table_has_every_kind_in_its_place() {
        for (index, (kind, name, _)) in Kind::ALL.iter().enumerate() {
            assert_eq!((*kind as usize, kind.name()), (index, *name));
        }
    }

    #[test]
    fn an_event_reads_as_it_was_written() {
        let key = EventKey::parse("enp://127.0.0.1/store/%M").unwrap();
        let origin = Origin { key, host: "eman".into(), process: "imapd", pid: 476 };
        let mut event = Writer::new(&origin, Kind::MsgFlags, &mailbox_name("ada", "Old mail"));
        event.flags("newflags", Flags::SEEN | Flags::ANSWERED | Flags::DRAFT);
        event.flags("oldflags", Flags::NONE);
        let text = event.finish();
        assert!(
            text.starts_with("enp://127.0.0.1/store/ada/Old%20mail?evtType=MsgFlags&timestamp="),
            "{text}"
        );
        let reference = Reference::parse(&text).unwrap();
        let pairs: Vec<_> = reference.parameters().filter(|(name, _)| *name != "timestamp").collect();
        let expected = [
            ("evtType", "MsgFlags"),
            ("hostname", "eman"),
            ("process", "imapd"),
            ("pid", "476"),
            ("mailboxName", "ada/Old mail"),
            ("newflags", "A  SR"),
            ("oldflags", "     "),
        ];
        assert_eq!(pairs, expected);
        assert_eq!(mailbox_name("ada@example.org", "INBOX"), "ada@example.org");
    }
}
