//! What a case is made of: commands of several clients, in terms that fit any state. A raw number is reduced to what
//! is there when its turn comes, so that every shrunk list of operations is a case, too.

use proptest::prelude::*;

/// Sessions of a case.
pub const SESSIONS: usize = 5;

/// Names of mailboxes; the first is always there.
pub const NAMES: [&str; 4] = ["INBOX", "box", "second", "other"];

/// Flags as bits.
pub const FLAGS: [&str; 8] =
    ["\\Answered", "\\Flagged", "\\Deleted", "\\Seen", "\\Draft", "alpha", "Beta", "$Three"];

pub const DELETED: u8 = 1 << 2;
pub const SEEN: u8 = 1 << 3;
/// The bits of [`FLAGS`] that are keywords.
pub const KEYWORDS: u8 = 0b1110_0000;

/// One client's next command.
#[derive(Clone, Debug)]
pub struct Op {
    pub session: usize,
    pub action: Action,
}

#[derive(Clone, Debug)]
pub enum Action {
    Select {
        mailbox: usize,
        examine: bool,
        resync: Resync,
    },
    Close,
    Unselect,
    Noop,
    Idle,
    /// The connection ends, and the client comes back as this kind.
    Reconnect(Kind),
    Append {
        mailbox: usize,
        flags: Vec<u8>,
    },
    Store {
        uid: bool,
        set: Set,
        how: How,
        silent: bool,
        flags: u8,
        since: Option<usize>,
    },
    Expunge(Option<Set>),
    Copy {
        uid: bool,
        set: Set,
        mailbox: usize,
        moves: bool,
    },
    Fetch {
        uid: bool,
        set: Set,
        items: Items,
        since: Option<usize>,
        vanished: bool,
    },
    Search {
        uid: bool,
        key: Key,
        returns: Returns,
    },
    Status(usize),
    Create(usize),
    Delete(usize),
    Rename(usize, usize),
}

/// What a client enables after login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Plain,
    Condstore,
    Qresync,
    Rev2,
    Rev2Qresync,
}

impl Kind {
    pub fn extensions(self) -> &'static str {
        match self {
            Kind::Plain => "",
            Kind::Condstore => "CONDSTORE",
            Kind::Qresync => "QRESYNC",
            Kind::Rev2 => "IMAP4rev2",
            Kind::Rev2Qresync => "IMAP4rev2 QRESYNC",
        }
    }

    pub fn has_condstore(self) -> bool {
        !matches!(self, Kind::Plain | Kind::Rev2)
    }

    pub fn has_qresync(self) -> bool {
        matches!(self, Kind::Qresync | Kind::Rev2Qresync)
    }

    pub fn is_rev2(self) -> bool {
        matches!(self, Kind::Rev2 | Kind::Rev2Qresync)
    }
}

/// How much of its memory a client with QRESYNC brings to SELECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resync {
    No,
    Modseq,
    KnownUids,
    /// With sequence numbers and their UIDs (RFC 7162 §3.2.5.2).
    Matching,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    Replace,
    Add,
    Remove,
}

impl How {
    pub fn name(self) -> &'static str {
        match self {
            How::Replace => "FLAGS",
            How::Add => "+FLAGS",
            How::Remove => "-FLAGS",
        }
    }

    pub fn apply(self, old: u8, flags: u8) -> u8 {
        match self {
            How::Replace => flags,
            How::Add => old | flags,
            How::Remove => old & !flags,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Items {
    Uid,
    Flags,
    All,
    Peek,
    /// Sets `\Seen`.
    Body,
}

impl Items {
    pub fn text(self) -> &'static str {
        match self {
            Items::Uid => "UID",
            Items::Flags => "FLAGS",
            Items::All => "(UID FLAGS MODSEQ RFC822.SIZE)",
            Items::Peek => "(UID BODY.PEEK[])",
            Items::Body => "BODY[]",
        }
    }

    /// The items as the answer names them.
    pub fn answered(self) -> &'static [&'static str] {
        match self {
            Items::Uid => &["UID"],
            Items::Flags => &["FLAGS"],
            Items::All => &["UID", "FLAGS", "MODSEQ", "RFC822.SIZE"],
            Items::Peek => &["UID", "BODY[]"],
            Items::Body => &["BODY[]"],
        }
    }
}

#[derive(Clone, Debug)]
pub enum Key {
    All,
    /// Has this flag of [`FLAGS`], or has it not.
    Flag(usize, bool),
    Set(bool, Set),
    Modseq(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Returns {
    /// The untagged SEARCH of RFC 3501, or ESEARCH under IMAP4rev2.
    Nothing,
    All,
    Numbers,
    Save,
}

/// Messages of the view, or UIDs that need not be there.
#[derive(Clone, Debug)]
pub struct Set {
    pub parts: Vec<(usize, usize)>,
    /// The last part ends with `*`.
    pub star: bool,
    /// `$` instead.
    pub saved: bool,
}

/// A case: so many operations at most.
pub fn case(length: usize) -> impl Strategy<Value = Vec<Op>> {
    prop::collection::vec(op(), 1..=length)
}

pub fn op() -> impl Strategy<Value = Op> {
    (0..SESSIONS, action()).prop_map(|(session, action)| Op { session, action })
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        12 => (mailbox(), prop::bool::weighted(0.2), resync())
            .prop_map(|(mailbox, examine, resync)| Action::Select { mailbox, examine, resync }),
        2 => Just(Action::Close),
        1 => Just(Action::Unselect),
        8 => Just(Action::Noop),
        5 => Just(Action::Idle),
        3 => kind().prop_map(Action::Reconnect),
        14 => (mailbox(), prop::collection::vec(flags(), 1..4))
            .prop_map(|(mailbox, flags)| Action::Append { mailbox, flags }),
        22 => store(),
        8 => prop::option::weighted(0.3, set()).prop_map(Action::Expunge),
        10 => (any::<bool>(), set(), mailbox(), any::<bool>())
            .prop_map(|(uid, set, mailbox, moves)| Action::Copy { uid, set, mailbox, moves }),
        14 => fetch(),
        9 => (any::<bool>(), key(), returns())
            .prop_map(|(uid, key, returns)| Action::Search { uid, key, returns }),
        4 => mailbox().prop_map(Action::Status),
        3 => (1..NAMES.len()).prop_map(Action::Create),
        1 => (1..NAMES.len()).prop_map(Action::Delete),
        1 => (0..NAMES.len(), 1..NAMES.len()).prop_map(|(from, to)| Action::Rename(from, to)),
    ]
}

/// Most of it happens in INBOX.
fn mailbox() -> impl Strategy<Value = usize> {
    prop_oneof![6 => Just(0), 3 => Just(1), 1 => 2..NAMES.len()]
}

pub fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        3 => Just(Kind::Plain),
        2 => Just(Kind::Condstore),
        4 => Just(Kind::Qresync),
        1 => Just(Kind::Rev2),
        2 => Just(Kind::Rev2Qresync),
    ]
}

fn resync() -> impl Strategy<Value = Resync> {
    prop_oneof![Just(Resync::No), Just(Resync::Modseq), Just(Resync::KnownUids), Just(Resync::Matching)]
}

/// `\Deleted` often, so that EXPUNGE finds something.
fn flags() -> impl Strategy<Value = u8> {
    prop_oneof![3 => Just(DELETED), 2 => Just(0), 3 => any::<u8>(), 2 => (0..8u8).prop_map(|bit| 1 << bit)]
}

fn set() -> impl Strategy<Value = Set> {
    let part = (0..12usize, 0..12usize);
    (prop::collection::vec(part, 1..3), prop::bool::weighted(0.25), prop::bool::weighted(0.12))
        .prop_map(|(parts, star, saved)| Set { parts, star, saved })
}

fn since() -> impl Strategy<Value = Option<usize>> {
    prop::option::weighted(0.3, 0..6usize)
}

fn store() -> impl Strategy<Value = Action> {
    let how = prop_oneof![1 => Just(How::Replace), 3 => Just(How::Add), 1 => Just(How::Remove)];
    (any::<bool>(), set(), how, any::<bool>(), flags(), since()).prop_map(
        |(uid, set, how, silent, flags, since)| Action::Store { uid, set, how, silent, flags, since },
    )
}

fn fetch() -> impl Strategy<Value = Action> {
    let items = prop_oneof![
        1 => Just(Items::Uid),
        2 => Just(Items::Flags),
        3 => Just(Items::All),
        2 => Just(Items::Peek),
        1 => Just(Items::Body)
    ];
    (any::<bool>(), set(), items, since(), any::<bool>())
        .prop_map(|(uid, set, items, since, vanished)| Action::Fetch { uid, set, items, since, vanished })
}

fn key() -> impl Strategy<Value = Key> {
    prop_oneof![
        1 => Just(Key::All),
        4 => (0..FLAGS.len(), any::<bool>()).prop_map(|(flag, has)| Key::Flag(flag, has)),
        2 => (any::<bool>(), set()).prop_map(|(uid, set)| Key::Set(uid, set)),
        2 => (0..6usize).prop_map(Key::Modseq),
    ]
}

fn returns() -> impl Strategy<Value = Returns> {
    prop_oneof![Just(Returns::Nothing), Just(Returns::All), Just(Returns::Numbers), Just(Returns::Save)]
}
