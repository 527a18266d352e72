//! Publishing events, in every process that changes the store.
//!
//! A session writes an event into the outbox and goes on; a thread brings the outbox to enpd, as much at a time as
//! there is. When enpd is away the outbox fills; what does not fit is counted and dropped, and those who listen hear
//! that something is missing. enpd says what is in demand: as long as nobody listens, nothing is written.
//!
//! The same connection brings the changes that other servers of a shared store publish.

use std::mem;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::event::{Kind, Kinds, Origin, Writer};
use super::limits::{KEPT_BATCH, MAX_OUTBOX};
use super::link::{Address, BackOff, Link, LinkError, LinkWriter};
use super::wire::{Demand, Message};
use crate::store::{MailboxId, UserName};

/// What a publisher is made of.
pub struct Parts {
    /// Where enpd is.
    pub address: Address,
    /// The same for all processes of one server, and for no other.
    pub server: u64,
    pub origin: Origin,
    /// The events that are published.
    pub kinds: Kinds,
    /// How much of a message an event carries, in bytes.
    pub header_size: usize,
    pub body_size: usize,
    /// Hears of the changes that other servers make.
    pub follower: Option<Arc<dyn Follower>>,
}

/// Hears what other servers do to a store that they share with this one.
pub trait Follower: Send + Sync {
    /// A mailbox has changed.
    fn heard(&self, user: &UserName, mailbox: MailboxId);
    /// Any mailbox may have changed.
    fn missed(&self);
}

/// Publishes the events of one process.
pub struct Publisher {
    pub(super) origin: Origin,
    pub(super) kinds: Kinds,
    pub(super) header_size: usize,
    pub(super) body_size: usize,
    outbox: Arc<Outbox>,
}

/// A user's session: says Login when it is made and Logout when it is dropped.
pub struct Presence {
    publisher: Arc<Publisher>,
    user: UserName,
    client: IpAddr,
}

impl Publisher {
    /// Starts the thread that talks to enpd. Call it after `fork`.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(parts: Parts) -> std::io::Result<Arc<Self>> {
        let outbox = Arc::new(Outbox::default());
        let carrier = Carrier {
            address: parts.address,
            server: parts.server,
            name: format!("{} {}", parts.origin.process, parts.origin.pid),
            outbox: outbox.clone(),
            follower: parts.follower,
        };
        thread::Builder::new().name("publisher".to_owned()).spawn(move || carrier.carry())?;
        Ok(Arc::new(Publisher {
            origin: parts.origin,
            kinds: parts.kinds,
            header_size: parts.header_size,
            body_size: parts.body_size,
            outbox,
        }))
    }

    /// Whether somebody follows events.
    pub fn is_followed(&self) -> bool {
        self.outbox.demand().contains(Demand::EVENTS)
    }

    /// Says that a user has logged in, if that is wanted; the end of what it returns says that they logged out.
    pub fn login(self: &Arc<Self>, user: &UserName, client: IpAddr) -> Option<Presence> {
        if !self.kinds.contains(Kind::Login) {
            return None;
        }
        let presence = Presence { publisher: self.clone(), user: user.clone(), client };
        presence.say(Kind::Login);
        Some(presence)
    }

    /// Waits until everything is with enpd, no longer than `within`, and not for an enpd that is away.
    pub fn finish(&self, within: Duration) {
        self.outbox.finish(within);
    }

    /// Tells other servers of a shared store that a mailbox has changed.
    pub(super) fn changed(&self, user: &UserName, mailbox: MailboxId) {
        if self.outbox.demand().contains(Demand::CHANGES) {
            self.outbox.put(&Message::Changed { mailbox, user: user.clone() });
        }
    }

    /// Whether another event would be taken; one that is not counts as lost.
    pub(super) fn has_room(&self) -> bool {
        self.outbox.has_room()
    }

    pub(super) fn publish(&self, event: Writer, data: Vec<u8>) {
        self.outbox.put(&Message::Event { reference: event.finish(), data });
    }
}

impl Presence {
    fn say(&self, kind: Kind) {
        if self.publisher.is_followed() && self.publisher.has_room() {
            let user = self.user.as_str();
            let mut event = Writer::new(&self.publisher.origin, kind, user);
            event.text("client", &self.client.to_string());
            event.text("userid", user);
            self.publisher.publish(event, Vec::new());
        }
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.say(Kind::Logout);
    }
}

/// What waits for enpd.
struct Outbox {
    demand: AtomicU8,
    state: Mutex<State>,
    /// There is something to do for the carrier.
    work: Condvar,
    /// The carrier has done something.
    done: Condvar,
}

#[derive(Default)]
struct State {
    bytes: Vec<u8>,
    /// Messages that did not fit.
    lost: u64,
    /// To be confirmed to enpd.
    have: Option<Demand>,
    link: LinkState,
    /// The carrier holds bytes that are not sent yet.
    is_sending: bool,
    is_finished: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum LinkState {
    /// Not tried yet.
    #[default]
    New,
    Up,
    Down,
}

impl Default for Outbox {
    fn default() -> Self {
        Outbox {
            demand: AtomicU8::new(Demand::ALL.bits()),
            state: Mutex::default(),
            work: Condvar::new(),
            done: Condvar::new(),
        }
    }
}

impl Outbox {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn demand(&self) -> Demand {
        Demand::from_bits(self.demand.load(Ordering::Acquire))
    }

    fn has_room(&self) -> bool {
        let mut state = self.state();
        let has_room = state.bytes.len() < MAX_OUTBOX;
        state.lost += u64::from(!has_room);
        has_room
    }

    fn put(&self, message: &Message) {
        let mut state = self.state();
        if state.bytes.len() >= MAX_OUTBOX {
            state.lost += 1;
            return;
        }
        let was_empty = state.bytes.is_empty();
        message.encode(&mut state.bytes);
        drop(state);
        if was_empty {
            self.work.notify_one();
        }
    }

    /// enpd says what is in demand. What happens from now on is told; that is confirmed behind what waits already.
    fn set_demand(&self, demand: Demand) {
        self.demand.store(demand.bits(), Ordering::Release);
        self.state().have = Some(demand);
        self.work.notify_one();
    }

    fn set_link(&self, link: LinkState) {
        self.state().link = link;
        self.work.notify_one();
        self.done.notify_all();
    }

    /// Waits for something to send; `None` when the connection is down, or nothing will come any more.
    fn next(&self, spare: Vec<u8>) -> Option<Vec<u8>> {
        let mut state = self.state();
        state.is_sending = false;
        self.done.notify_all();
        loop {
            let is_idle = state.bytes.is_empty() && state.have.is_none() && state.lost == 0;
            if state.link != LinkState::Up || (is_idle && state.is_finished) {
                return None;
            }
            if !is_idle {
                break;
            }
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let mut batch = mem::replace(&mut state.bytes, spare);
        if let Some(lost) = Some(mem::take(&mut state.lost)).filter(|lost| *lost > 0) {
            log::warn!(count = lost; "events were dropped: the event notification service was away or too slow");
            Message::Lost(lost).encode(&mut batch);
        }
        if let Some(demand) = state.have.take() {
            Message::Have(demand).encode(&mut batch);
        }
        state.is_sending = true;
        Some(batch)
    }

    /// Waits before the next attempt; says whether there shall be one.
    fn pause(&self, pause: Duration) -> bool {
        let state = self.state();
        let waited = self.work.wait_timeout_while(state, pause, |state| !state.is_finished);
        !waited.unwrap_or_else(PoisonError::into_inner).0.is_finished
    }

    fn finish(&self, within: Duration) {
        let is_busy = |state: &mut State| {
            state.link != LinkState::Down && (state.is_sending || !state.bytes.is_empty())
        };
        let waited = self.done.wait_timeout_while(self.state(), within, is_busy);
        waited.unwrap_or_else(PoisonError::into_inner).0.is_finished = true;
        self.work.notify_one();
    }
}

/// The thread that brings the outbox to enpd.
struct Carrier {
    address: Address,
    server: u64,
    name: String,
    outbox: Arc<Outbox>,
    follower: Option<Arc<dyn Follower>>,
}

impl Carrier {
    fn carry(&self) {
        let mut back_off = BackOff::new();
        let (mut is_reported, mut was_up) = (false, false);
        loop {
            match self.connect() {
                Ok(link) => {
                    log::debug!(address:% = self.address; "connected to the event notification service");
                    (back_off, is_reported) = (BackOff::new(), false);
                    self.serve(link, was_up);
                    was_up = true;
                }
                Err(error) => {
                    if !mem::replace(&mut is_reported, true) {
                        log::warn!("{error}; events wait, trying again");
                    }
                    self.outbox.set_link(LinkState::Down);
                }
            }
            if !self.outbox.pause(back_off.pause()) {
                return;
            }
        }
    }

    fn connect(&self) -> Result<Link, LinkError> {
        let mut link = Link::connect(&self.address, self.server, &self.name)?;
        link.send(&Message::Publish.to_bytes())?;
        if self.follower.is_some() {
            link.send(&Message::Follow.to_bytes())?;
        }
        Ok(link)
    }

    /// Sends until the connection ends. What enpd had not read of a former one is lost; nobody knows how much.
    fn serve(&self, link: Link, was_up: bool) {
        let Ok(mut writer) = link.writer() else { return };
        self.outbox.set_link(LinkState::Up);
        thread::scope(|scope| {
            let listener = thread::Builder::new().name("follower".to_owned());
            if listener.spawn_scoped(scope, || self.listen(link)).is_ok() {
                let lost = if was_up { Message::Lost(0).to_bytes() } else { Vec::new() };
                self.send_all(&mut writer, lost);
            }
            writer.close();
        });
        self.outbox.demand.store(Demand::ALL.bits(), Ordering::Release);
        self.outbox.set_link(LinkState::Down);
    }

    fn send_all(&self, writer: &mut LinkWriter, first: Vec<u8>) {
        let mut batch = first;
        while writer.send(&batch).is_ok() {
            batch.clear();
            batch.shrink_to(KEPT_BATCH);
            match self.outbox.next(batch) {
                Some(next) => batch = next,
                None => return,
            }
        }
    }

    /// Hears what enpd says, until the connection ends.
    fn listen(&self, mut link: Link) {
        while let Ok(message) = link.receive() {
            match (message, &self.follower) {
                (Message::Demand(demand), _) => self.outbox.set_demand(demand),
                (Message::Changed { mailbox, user }, Some(follower)) => follower.heard(&user, mailbox),
                // From the OK on nothing is missed; what came before it may be.
                (Message::Lost(_) | Message::Ok, Some(follower)) => follower.missed(),
                _ => {}
            }
        }
        self.outbox.set_link(LinkState::Down);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;
    use crate::notify::EventKey;
    use crate::notify::enpd::SOCKET;
    use crate::notify::limits::MAX_DATA;
    use crate::notify::wire::{Decoder, VERSION};

    /// enpd's end of a publisher's connection.
    struct Enpd {
        stream: UnixStream,
        decoder: Decoder,
    }

    impl Enpd {
        fn accept(listener: &UnixListener) -> Enpd {
            let mut enpd = Enpd { stream: listener.accept().unwrap().0, decoder: Decoder::new(MAX_DATA) };
            assert!(matches!(enpd.hear(), Message::Hello { origin: 7, .. }));
            enpd.say(&Message::Welcome { version: VERSION });
            assert_eq!((enpd.hear(), enpd.hear()), (Message::Publish, Message::Follow));
            enpd
        }

        fn say(&mut self, message: &Message) {
            self.stream.write_all(&message.to_bytes()).unwrap();
        }

        fn hear(&mut self) -> Message {
            loop {
                if let Some(message) = self.decoder.next().unwrap() {
                    return message;
                }
                let mut buffer = [0; 4096];
                let count = self.stream.read(&mut buffer).unwrap();
                assert!(count > 0, "the publisher has gone");
                self.decoder.push(&buffer[..count]);
            }
        }

        fn demand(&mut self, demand: Demand) {
            self.say(&Message::Demand(demand));
            assert_eq!(self.hear(), Message::Have(demand));
        }
    }

    #[derive(Default)]
    struct Notes(Mutex<Vec<String>>, Condvar);

    impl Follower for Notes {
        fn heard(&self, user: &UserName, mailbox: MailboxId) {
            self.note(format!("{user} {}", mailbox.0));
        }

        fn missed(&self) {
            self.note("missed".to_owned());
        }
    }

    impl Notes {
        fn note(&self, note: String) {
            self.0.lock().unwrap().push(note);
            self.1.notify_all();
        }

        /// The notes, when there are so many.
        fn wait_for(&self, count: usize) -> Vec<String> {
            self.1.wait_while(self.0.lock().unwrap(), |notes| notes.len() < count).unwrap().clone()
        }
    }

    fn publisher(directory: &std::path::Path) -> (Arc<Publisher>, Arc<Notes>) {
        let key = EventKey::parse("enp://h/store/%M").unwrap();
        let notes = Arc::new(Notes::default());
        let parts = Parts {
            address: Address::Local(directory.to_owned()),
            server: 7,
            origin: Origin { key, host: "h".into(), process: "test", pid: 1 },
            kinds: Kinds::switched_on(&["loguser"]),
            header_size: 0,
            body_size: 0,
            follower: Some(notes.clone()),
        };
        (Publisher::start(parts).unwrap(), notes)
    }

    fn ada() -> UserName {
        UserName::new("ada").unwrap()
    }

    fn event_type(message: Message) -> String {
        let Message::Event { reference, .. } = message else { panic!("{message:?} is no event") };
        reference.split(['=', '&']).nth(1).unwrap_or_default().to_owned()
    }

    #[test]
    fn only_what_is_in_demand_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join(SOCKET)).unwrap();
        let (publisher, notes) = publisher(directory.path());
        let client = IpAddr::from([127, 0, 0, 1]);
        let mut enpd = Enpd::accept(&listener);
        enpd.demand(Demand::NONE);
        assert!(!publisher.is_followed());
        drop(publisher.login(&ada(), client));
        publisher.changed(&ada(), MailboxId(3));
        enpd.demand(Demand::CHANGES);
        publisher.changed(&ada(), MailboxId(4));
        assert_eq!(enpd.hear(), Message::Changed { mailbox: MailboxId(4), user: ada() });
        enpd.demand(Demand::EVENTS);
        publisher.changed(&ada(), MailboxId(5));
        drop(publisher.login(&ada(), client));
        assert_eq!((event_type(enpd.hear()), event_type(enpd.hear())), ("Login".into(), "Logout".into()));
        for message in
            [Message::Ok, Message::Changed { mailbox: MailboxId(9), user: ada() }, Message::Lost(1)]
        {
            enpd.say(&message);
        }
        assert_eq!(notes.wait_for(3), ["missed", "ada 9", "missed"]);
    }

    #[test]
    fn what_waits_for_enpd_is_bounded_and_a_gap_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let (publisher, _) = publisher(directory.path());
        let change = Message::Changed { mailbox: MailboxId(3), user: ada() }.to_bytes().len();
        let fits = MAX_OUTBOX.div_ceil(change);
        (0..fits + 5).for_each(|_| publisher.changed(&ada(), MailboxId(3)));
        assert!(!publisher.has_room());
        let listener = UnixListener::bind(directory.path().join(SOCKET)).unwrap();
        let mut enpd = Enpd::accept(&listener);
        let came = (0..fits).filter(|_| matches!(enpd.hear(), Message::Changed { .. })).count();
        assert_eq!((came, enpd.hear()), (fits, Message::Lost(6)));
        publisher.finish(Duration::from_secs(10));
    }

    #[test]
    fn a_connection_that_ended_may_have_lost_something() {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join(SOCKET)).unwrap();
        let (publisher, _) = publisher(directory.path());
        let mut enpd = Enpd::accept(&listener);
        enpd.demand(Demand::NONE);
        drop(enpd);
        let mut enpd = Enpd::accept(&listener);
        assert_eq!(enpd.hear(), Message::Lost(0));
        assert!(publisher.is_followed(), "nothing is known about the demand");
        enpd.demand(Demand::NONE);
    }
}
