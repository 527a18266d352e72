//! Who gets what; without sockets and clocks.
//!
//! Publishers are told what is in demand, so that a server whose events nobody follows does not write them. A
//! subscriber hears OK only when all publishers have taken note: from then on it misses nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::queue::Queue;
use crate::notify::limits::MAX_SUBSCRIPTIONS;
use crate::notify::reference::{Reference, Subscription};
use crate::notify::wire::{Demand, Message, VERSION};

/// A connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub usize);

/// All connections.
#[derive(Default)]
pub struct Broker {
    clients: BTreeMap<ClientId, Client>,
    /// Those with new output, or to be closed; may name one twice.
    touched: Vec<ClientId>,
}

/// What the broker knows of a connection.
#[derive(Default)]
pub struct Client {
    pub queue: Queue,
    /// No more is read; it is closed when the queue is empty, or at once.
    pub ending: Option<Ending>,
    /// Present after HELLO.
    origin: Option<u64>,
    name: String,
    subscriptions: Vec<Subscription>,
    follows: bool,
    publisher: Option<Publisher>,
    /// OKs that wait for the publishers.
    owed: usize,
}

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It was told why, and gets that before it is closed.
    Refused,
    /// It does not take what it subscribed to.
    Slow,
}

/// The demand that a publisher was told of, and the one that it has confirmed.
#[derive(Clone, Copy, Debug, Default)]
struct Publisher {
    told: Demand,
    confirmed: Demand,
}

impl Client {
    /// It has introduced itself, and was not refused.
    pub fn is_established(&self) -> bool {
        self.origin.is_some() && self.ending.is_none()
    }
}

impl Broker {
    pub fn connect(&mut self, id: ClientId) {
        self.clients.insert(id, Client::default());
    }

    /// A connection that is not let in.
    pub fn refuse(&mut self, id: ClientId, reason: &str) {
        self.send(id, Message::No(reason.to_owned()));
        self.end(id, Ending::Refused);
    }

    pub fn disconnect(&mut self, id: ClientId) {
        if self.clients.remove(&id).is_some() {
            self.settle_demand();
        }
    }

    pub fn client(&mut self, id: ClientId) -> Option<&mut Client> {
        self.clients.get_mut(&id)
    }

    /// Connections to look at, since the last call.
    pub fn take_touched(&mut self) -> Vec<ClientId> {
        std::mem::take(&mut self.touched)
    }

    /// Whether somebody waits for publishers.
    pub fn is_owing(&self) -> bool {
        self.clients.values().any(|client| client.owed > 0)
    }

    /// Publishers have had their time: those who wait are told OK.
    pub fn stop_waiting(&mut self) {
        for publisher in self.clients.values_mut().filter_map(|client| client.publisher.as_mut()) {
            publisher.confirmed = publisher.told;
        }
        self.pay();
    }

    /// Acts on a message.
    pub fn receive(&mut self, id: ClientId, message: Message) {
        let Some(client) = self.clients.get(&id).filter(|client| client.ending.is_none()) else { return };
        match (client.origin, message) {
            (None, Message::Hello { version: VERSION, origin, name }) => self.welcome(id, origin, name),
            (None, Message::Hello { .. }) => self.refuse(id, "this is version 1 of the protocol"),
            (None, _) => self.refuse(id, "say HELLO first"),
            (Some(_), Message::Subscribe(reference)) => self.subscribe(id, &reference),
            (Some(_), Message::Follow) => self.ask(id, |client| client.follows = true),
            (Some(_), Message::Publish) => self.publish(id),
            (Some(_), Message::Event { reference, data }) => self.event(id, reference, data),
            (Some(origin), message @ Message::Changed { .. }) => self.forward(origin, &message),
            (Some(_), message @ Message::Lost(_)) => self.forward_lost(id, &message),
            (Some(_), Message::Have(demand)) => self.confirm(id, demand),
            (Some(_), _) => self.refuse(id, "that is not for clients to say"),
        }
    }

    fn welcome(&mut self, id: ClientId, origin: u64, name: String) {
        if let Some(client) = self.clients.get_mut(&id) {
            client.origin = Some(origin);
            client.name = name;
        }
        self.send(id, Message::Welcome { version: VERSION });
    }

    fn subscribe(&mut self, id: ClientId, reference: &str) {
        let is_full = |client: &Client| client.subscriptions.len() >= MAX_SUBSCRIPTIONS;
        if self.clients.get(&id).is_some_and(is_full) {
            return self.refuse(id, &format!("more than {MAX_SUBSCRIPTIONS} subscriptions"));
        }
        match Reference::parse(reference) {
            Ok(reference) => {
                let subscription = reference.into_subscription();
                self.ask(id, |client| client.subscriptions.push(subscription));
            }
            Err(error) => self.refuse(id, &error.to_string()),
        }
    }

    /// Notes what a client wants, and owes it an OK.
    fn ask(&mut self, id: ClientId, note: impl FnOnce(&mut Client)) {
        if let Some(client) = self.clients.get_mut(&id) {
            note(client);
            client.owed += 1;
        }
        self.settle_demand();
    }

    fn publish(&mut self, id: ClientId) {
        let demand = self.demand(self.origin(id));
        if let Some(client) = self.clients.get_mut(&id) {
            // It tells everything until it hears what is in demand: nobody has to wait for it.
            client.publisher = Some(Publisher { told: demand, confirmed: demand });
        }
        self.send(id, Message::Demand(demand));
    }

    fn event(&mut self, id: ClientId, reference: String, data: Vec<u8>) {
        let matching: Vec<ClientId> = match Reference::parse(&reference) {
            Ok(parsed) => {
                let wants = |client: &Client| client.subscriptions.iter().any(|s| s.matches(&parsed));
                self.clients.iter().filter(|(_, client)| wants(client)).map(|(id, _)| *id).collect()
            }
            Err(error) => return self.refuse(id, &error.to_string()),
        };
        if !matching.is_empty() {
            self.send_all(&matching, &Message::Event { reference, data });
        }
    }

    fn forward(&mut self, origin: u64, message: &Message) {
        let is_other = |client: &Client| client.follows && client.origin != Some(origin);
        let others: Vec<ClientId> =
            self.clients.iter().filter(|(_, client)| is_other(client)).map(|(id, _)| *id).collect();
        if !others.is_empty() {
            self.send_all(&others, message);
        }
    }

    /// Whoever listens has to know that it may have missed something.
    fn forward_lost(&mut self, from: ClientId, message: &Message) {
        let listens = |client: &Client| client.follows || !client.subscriptions.is_empty();
        let listeners = self.clients.iter().filter(|(id, client)| **id != from && listens(client));
        let listeners: Vec<ClientId> = listeners.map(|(id, _)| *id).collect();
        self.send_all(&listeners, message);
    }

    fn confirm(&mut self, id: ClientId, demand: Demand) {
        if let Some(publisher) = self.clients.get_mut(&id).and_then(|client| client.publisher.as_mut()) {
            publisher.confirmed = demand;
        }
        self.pay();
    }

    fn origin(&self, id: ClientId) -> Option<u64> {
        self.clients.get(&id).and_then(|client| client.origin)
    }

    /// What a publisher of this origin has to tell.
    fn demand(&self, origin: Option<u64>) -> Demand {
        let subscribed = self.clients.values().any(|client| !client.subscriptions.is_empty());
        let followed = self.clients.values().any(|client| client.follows && client.origin != origin);
        Demand::NONE.with(Demand::EVENTS, subscribed).with(Demand::CHANGES, followed)
    }

    /// Tells publishers where the demand has changed.
    fn settle_demand(&mut self) {
        let publishers = self.clients.iter().filter_map(|(id, client)| Some((*id, client.publisher?)));
        let told: Vec<(ClientId, Demand)> = publishers.map(|(id, publisher)| (id, publisher.told)).collect();
        for (id, told) in told {
            let demand = self.demand(self.origin(id));
            if demand == told {
                continue;
            }
            if let Some(publisher) = self.clients.get_mut(&id).and_then(|client| client.publisher.as_mut()) {
                publisher.told = demand;
            }
            self.send(id, Message::Demand(demand));
        }
        self.pay();
    }

    /// Says the OKs that are owed, if all publishers have confirmed what they were told.
    fn pay(&mut self) {
        let mut publishers = self.clients.values().filter_map(|client| client.publisher.as_ref());
        if !publishers.all(|publisher| publisher.confirmed.contains(publisher.told)) {
            return;
        }
        let owed: Vec<(ClientId, usize)> =
            self.clients.iter().filter(|(_, c)| c.owed > 0).map(|(id, client)| (*id, client.owed)).collect();
        for (id, count) in owed {
            (0..count).for_each(|_| self.send(id, Message::Ok));
            if let Some(client) = self.clients.get_mut(&id) {
                client.owed = 0;
            }
        }
    }

    fn send(&mut self, id: ClientId, message: Message) {
        self.send_all(&[id], &message);
    }

    fn send_all(&mut self, ids: &[ClientId], message: &Message) {
        let bytes: Arc<[u8]> = message.to_bytes().into();
        for id in ids {
            let Some(client) = self.clients.get_mut(id).filter(|client| client.ending.is_none()) else {
                continue;
            };
            let is_sent = client.queue.push(bytes.clone()).is_ok();
            self.touched.push(*id);
            if !is_sent {
                log::warn!(client = client.name.as_str(); "a slow subscriber is dropped: it does not read its events");
                self.end(*id, Ending::Slow);
            }
        }
    }

    fn end(&mut self, id: ClientId, ending: Ending) {
        if let Some(client) = self.clients.get_mut(&id) {
            client.ending.get_or_insert(ending);
            self.touched.push(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::limits::{MAX_DATA, MAX_QUEUE};
    use crate::notify::wire::Decoder;
    use crate::store::{MailboxId, UserName};

    impl Broker {
        /// A client that has introduced itself.
        fn with(&mut self, id: usize, origin: u64) -> ClientId {
            let id = ClientId(id);
            self.connect(id);
            self.receive(id, Message::Hello { version: VERSION, origin, name: "test".into() });
            assert_eq!(self.heard(id), [Message::Welcome { version: VERSION }]);
            id
        }

        /// What was said to the client since the last call.
        fn heard(&mut self, id: ClientId) -> Vec<Message> {
            let mut bytes = Vec::new();
            self.client(id).unwrap().queue.write_to(&mut bytes).unwrap();
            let mut decoder = Decoder::new(MAX_DATA);
            decoder.push(&bytes);
            std::iter::from_fn(|| decoder.next().unwrap()).collect()
        }
    }

    fn event(text: &str) -> Message {
        Message::Event { reference: text.into(), data: b"data".to_vec() }
    }

    fn changed() -> Message {
        Message::Changed { mailbox: MailboxId(7), user: UserName::new("ada").unwrap() }
    }

    #[test]
    fn events_go_to_those_who_asked() {
        let mut broker = Broker::default();
        let (publisher, all, one) = (broker.with(1, 1), broker.with(2, 2), broker.with(3, 3));
        broker.receive(all, Message::Subscribe("enp://h/store".into()));
        broker.receive(one, Message::Subscribe("enp://h/store/eve".into()));
        assert_eq!((broker.heard(all), broker.heard(one)), (vec![Message::Ok], vec![Message::Ok]));
        let sent = event("enp://h/store/ada?evtType=NewMsg");
        broker.receive(publisher, sent.clone());
        assert_eq!((broker.heard(all), broker.heard(one)), (vec![sent], vec![]));
        assert_eq!(broker.take_touched().last(), Some(&all));
    }

    #[test]
    fn an_ok_waits_for_the_publishers() {
        let mut broker = Broker::default();
        let (publisher, subscriber) = (broker.with(1, 1), broker.with(2, 2));
        broker.receive(publisher, Message::Publish);
        assert_eq!(broker.heard(publisher), [Message::Demand(Demand::NONE)]);
        broker.receive(subscriber, Message::Subscribe("enp://h/store".into()));
        assert_eq!(broker.heard(publisher), [Message::Demand(Demand::EVENTS)]);
        assert!(broker.is_owing() && broker.heard(subscriber).is_empty());
        broker.receive(publisher, Message::Have(Demand::EVENTS));
        assert_eq!(broker.heard(subscriber), [Message::Ok]);
        broker.disconnect(subscriber);
        assert_eq!(broker.heard(publisher), [Message::Demand(Demand::NONE)]);
    }

    #[test]
    fn a_stuck_publisher_does_not_hold_up_subscribers() {
        let mut broker = Broker::default();
        let (publisher, subscriber) = (broker.with(1, 1), broker.with(2, 2));
        broker.receive(publisher, Message::Publish);
        broker.receive(subscriber, Message::Subscribe("enp://h/store".into()));
        broker.stop_waiting();
        assert_eq!(broker.heard(subscriber), [Message::Ok]);
    }

    #[test]
    fn changes_go_to_other_origins_only() {
        let mut broker = Broker::default();
        let (here, beside, there) = (broker.with(1, 1), broker.with(2, 1), broker.with(3, 9));
        for client in [here, beside] {
            broker.receive(client, Message::Publish);
            broker.receive(client, Message::Follow);
        }
        assert_eq!(broker.heard(here), [Message::Demand(Demand::NONE), Message::Ok], "nobody else follows");
        broker.receive(there, Message::Follow);
        assert_eq!(broker.heard(here), [Message::Demand(Demand::CHANGES)]);
        broker.heard(beside);
        for client in [here, beside] {
            broker.receive(client, Message::Have(Demand::CHANGES));
        }
        assert_eq!(broker.heard(there), [Message::Ok]);
        broker.receive(here, changed());
        broker.receive(here, Message::Lost(2));
        assert_eq!(broker.heard(there), [changed(), Message::Lost(2)]);
        assert_eq!(broker.heard(beside), [Message::Lost(2)]);
    }

    #[test]
    fn a_slow_subscriber_is_dropped_and_others_go_on() {
        let mut broker = Broker::default();
        let (publisher, slow, quick) = (broker.with(1, 1), broker.with(2, 2), broker.with(3, 3));
        for client in [slow, quick] {
            broker.receive(client, Message::Subscribe("enp://h/store".into()));
        }
        let large = Message::Event { reference: "enp://h/store".into(), data: vec![0; MAX_QUEUE / 4] };
        for _ in 0..5 {
            broker.receive(publisher, large.clone());
            broker.heard(quick);
        }
        assert_eq!(broker.client(slow).unwrap().ending, Some(Ending::Slow));
        assert_eq!(broker.client(quick).unwrap().ending, None);
    }

    #[test]
    fn strangers_are_told_why() {
        let hello = |version| Message::Hello { version, origin: 1, name: "x".into() };
        for (messages, says) in [
            (vec![Message::Publish], "say HELLO first"),
            (vec![hello(2)], "this is version 1 of the protocol"),
            (vec![hello(1), Message::Ok], "that is not for clients to say"),
            (vec![hello(1), hello(1)], "that is not for clients to say"),
            (
                vec![hello(1), Message::Subscribe("http://h".into())],
                "event reference does not begin with enp://",
            ),
            (vec![hello(1), event("enp://h/%")], "event reference has a %"),
            (
                [vec![hello(1)], vec![Message::Subscribe("enp://h".into()); MAX_SUBSCRIPTIONS + 1]].concat(),
                "more than 64 subscriptions",
            ),
        ] {
            let mut broker = Broker::default();
            let id = ClientId(0);
            broker.connect(id);
            messages.into_iter().for_each(|message| broker.receive(id, message));
            assert_eq!(broker.client(id).unwrap().ending, Some(Ending::Refused));
            let last = broker.heard(id).pop();
            assert!(matches!(&last, Some(Message::No(reason)) if reason.starts_with(says)), "{last:?}");
        }
    }
}
