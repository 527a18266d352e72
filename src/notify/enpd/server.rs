//! The sockets of enpd.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::os::unix::net;
use std::time::{Duration, Instant};

use mio::event::Source;
use mio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use mio::{Events, Interest, Poll, Token};
use thiserror::Error;

use super::broker::{Broker, ClientId, Ending};
use crate::config::AccessList;
use crate::notify::limits::{BIND_PAUSE, DEMAND_TIME, GREETING_TIME, MAX_CLIENTS, TURN};
use crate::notify::wire::{Decoder, Message};
use crate::sys;

/// What enpd is told.
#[derive(Clone, Debug)]
pub struct Options {
    /// TCP addresses to listen on.
    pub addresses: Vec<SocketAddr>,
    pub access: AccessList,
}

/// Why enpd ends.
#[derive(Debug, Error)]
pub enum EnpdError {
    #[error("cannot set up the poller: {0}; check the limit of open files")]
    Poller(#[source] io::Error),
}

/// Serves TCP and a Unix socket until the process ends.
///
/// # Errors
/// When it cannot start. A TCP port that is in use is no such error: it is tried again and again.
pub fn serve(unix: net::UnixListener, options: Options) -> Result<Infallible, EnpdError> {
    let mut server = Server::new(unix, options)?;
    let mut events = Events::with_capacity(256);
    loop {
        match server.poll.poll(&mut events, server.timeout()) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(EnpdError::Poller(error)),
            _ => server.turn(&events)?,
        }
    }
}

struct Server {
    options: Options,
    poll: Poll,
    unix: UnixListener,
    /// By their tokens, which are their places in the options plus one.
    tcp: HashMap<Token, TcpListener>,
    /// When the missing listeners are tried next.
    bind_at: Option<Instant>,
    broker: Broker,
    peers: HashMap<ClientId, Peer>,
    /// Peers with input that was not read in their last turn.
    unread: VecDeque<ClientId>,
    next: usize,
    /// When connections that have not introduced themselves, or were refused, are looked for.
    sweep_at: Option<Instant>,
    owing_since: Option<Instant>,
    /// What was just read.
    scratch: Box<[u8]>,
}

struct Peer {
    socket: Box<dyn Socket>,
    decoder: Decoder,
    since: Instant,
    /// It is in `unread`.
    is_queued: bool,
}

trait Socket: Read + Write + Source {
    fn shutdown(&self) -> io::Result<()>;
}

impl Socket for TcpStream {
    fn shutdown(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

impl Socket for UnixStream {
    fn shutdown(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

const UNIX: Token = Token(0);

impl Server {
    fn new(unix: net::UnixListener, options: Options) -> Result<Self, EnpdError> {
        let poll = Poll::new().map_err(EnpdError::Poller)?;
        unix.set_nonblocking(true).map_err(EnpdError::Poller)?;
        let mut unix = UnixListener::from_std(unix);
        poll.registry().register(&mut unix, UNIX, Interest::READABLE).map_err(EnpdError::Poller)?;
        let next = options.addresses.len() + 1;
        let mut server = Server {
            options,
            poll,
            unix,
            tcp: HashMap::new(),
            bind_at: None,
            broker: Broker::default(),
            peers: HashMap::new(),
            unread: VecDeque::new(),
            next,
            sweep_at: None,
            owing_since: None,
            scratch: vec![0; TURN].into(),
        };
        server.bind(true)?;
        Ok(server)
    }

    fn timeout(&self) -> Option<Duration> {
        if !self.unread.is_empty() {
            return Some(Duration::ZERO);
        }
        let due = [self.bind_at, self.sweep_at, self.owing_since.map(|since| since + DEMAND_TIME)];
        due.into_iter().flatten().min().map(|due| due.saturating_duration_since(Instant::now()))
    }

    fn turn(&mut self, events: &Events) -> Result<(), EnpdError> {
        for event in events {
            match event.token() {
                UNIX => self.accept_unix()?,
                token if self.tcp.contains_key(&token) => self.accept_tcp(token)?,
                Token(id) => self.queue(ClientId(id)),
            }
        }
        for _ in 0..self.unread.len() {
            if let Some(id) = self.unread.pop_front() {
                if let Some(peer) = self.peers.get_mut(&id) {
                    peer.is_queued = false;
                }
                self.read(id);
                self.write(id);
            }
        }
        self.write_touched();
        self.obey_clock()
    }

    fn obey_clock(&mut self) -> Result<(), EnpdError> {
        let now = Instant::now();
        if self.bind_at.is_some_and(|due| due <= now) {
            self.bind(false)?;
        }
        if self.sweep_at.is_some_and(|due| due <= now) {
            self.sweep(now);
        }
        match self.owing_since {
            _ if !self.broker.is_owing() => self.owing_since = None,
            None => self.owing_since = Some(now),
            Some(since) if now >= since + DEMAND_TIME => {
                log::warn!("a publisher does not answer: its first events may be missed");
                self.owing_since = None;
                self.broker.stop_waiting();
                self.write_touched();
            }
            Some(_) => {}
        }
        Ok(())
    }

    // --- listening ------------------------------------------------------------------------------------------

    /// Binds the TCP addresses that are not bound yet; says so when it fails the first time.
    fn bind(&mut self, is_first: bool) -> Result<(), EnpdError> {
        self.bind_at = None;
        for (index, address) in self.options.addresses.iter().enumerate() {
            let token = Token(index + 1);
            if self.tcp.contains_key(&token) {
                continue;
            }
            let listener = sys::listen(*address).and_then(|listener| {
                listener.set_nonblocking(true)?;
                Ok(TcpListener::from_std(listener))
            });
            match listener {
                Ok(mut listener) => {
                    let registry = self.poll.registry();
                    registry.register(&mut listener, token, Interest::READABLE).map_err(EnpdError::Poller)?;
                    let address = listener.local_addr().unwrap_or(*address);
                    log::info!(address:% = address; "the event notification service listens");
                    self.tcp.insert(token, listener);
                }
                Err(error) => {
                    if is_first {
                        log::warn!(address:% = address, error:% = error; "cannot listen for events: stop the other program or change local.ens.port; trying again, meanwhile only this host's processes are served");
                    }
                    self.bind_at = Some(Instant::now() + BIND_PAUSE);
                }
            }
        }
        Ok(())
    }

    fn accept_unix(&mut self) -> Result<(), EnpdError> {
        loop {
            match self.unix.accept() {
                Ok((socket, _)) => {
                    self.admit(Box::new(socket))?;
                }
                Err(error) if is_passing(&error) => {}
                Err(error) => return pause_accept(&error),
            }
        }
    }

    fn accept_tcp(&mut self, token: Token) -> Result<(), EnpdError> {
        while let Some(listener) = self.tcp.get(&token) {
            match listener.accept() {
                Ok((socket, address)) => {
                    let _ = socket.set_nodelay(true);
                    if let Err(error) = sys::keep_alive(&socket) {
                        log::warn!(error:% = error; "cannot watch over a connection");
                    }
                    let id = self.admit(Box::new(socket))?;
                    self.check_access(id, address.ip());
                }
                Err(error) if is_passing(&error) => {}
                Err(error) => return pause_accept(&error),
            }
        }
        Ok(())
    }

    fn check_access(&mut self, id: ClientId, peer: IpAddr) {
        if !self.options.access.permits(peer) {
            log::warn!(peer:% = peer; "refused by ENS_ACCESS or local.ens.access");
            self.broker.refuse(id, &format!("{peer} is not permitted: see ENS_ACCESS and local.ens.access"));
        }
    }

    fn admit(&mut self, mut socket: Box<dyn Socket>) -> Result<ClientId, EnpdError> {
        let id = ClientId(self.next);
        self.next += 1;
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut socket, Token(id.0), interest).map_err(EnpdError::Poller)?;
        let now = Instant::now();
        self.peers.insert(id, Peer { socket, decoder: Decoder::new(0), since: now, is_queued: false });
        self.sweep_at.get_or_insert(now + GREETING_TIME);
        self.broker.connect(id);
        if self.peers.len() > MAX_CLIENTS {
            self.broker.refuse(id, "too many connections, try again later");
        }
        Ok(id)
    }

    // --- peers ----------------------------------------------------------------------------------------------

    fn queue(&mut self, id: ClientId) {
        if let Some(peer) = self.peers.get_mut(&id).filter(|peer| !peer.is_queued) {
            peer.is_queued = true;
            self.unread.push_back(id);
        }
    }

    /// Reads for one turn. The poller tells of new input only once: what is left is taken in the next turn.
    fn read(&mut self, id: ClientId) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let is_ending = self.broker.client(id).is_none_or(|client| client.ending.is_some());
        match peer.socket.read(&mut self.scratch) {
            Ok(0) => return self.close(id),
            Ok(_) if is_ending => return self.queue(id),
            Ok(count) => {
                peer.decoder.push(self.scratch.get(..count).unwrap_or_default());
                self.queue(id);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(error) if error.kind() == ErrorKind::Interrupted => return self.queue(id),
            Err(_) => return self.close(id),
        }
        self.take_messages(id);
    }

    fn take_messages(&mut self, id: ClientId) {
        while let Some(peer) = self.peers.get_mut(&id) {
            match peer.decoder.next() {
                Ok(Some(message)) => {
                    if message == Message::Publish {
                        peer.decoder.allow_data();
                    }
                    self.broker.receive(id, message);
                }
                Ok(None) => return,
                Err(error) => return self.broker.refuse(id, &error.to_string()),
            }
        }
    }

    fn write_touched(&mut self) {
        for id in self.broker.take_touched() {
            self.write(id);
        }
    }

    fn write(&mut self, id: ClientId) {
        let (Some(peer), Some(client)) = (self.peers.get_mut(&id), self.broker.client(id)) else { return };
        let written = client.queue.write_to(&mut peer.socket);
        match (written, client.ending) {
            // Closed by the peer when it has read why; closing first could keep that from it.
            (Ok(true), Some(Ending::Refused)) => drop(peer.socket.shutdown()),
            (Ok(_), None | Some(Ending::Refused)) => {}
            (Ok(_), Some(Ending::Slow)) | (Err(_), _) => self.close(id),
        }
    }

    /// Closes connections that have had their time.
    fn sweep(&mut self, now: Instant) {
        let Server { peers, broker, .. } = self;
        let mut is_passing = |id| broker.client(id).is_none_or(|client| !client.is_established());
        let passing: Vec<(ClientId, Instant)> =
            peers.iter().filter(|(id, _)| is_passing(**id)).map(|(id, peer)| (*id, peer.since)).collect();
        self.sweep_at = None;
        for (id, since) in passing {
            let due = since + GREETING_TIME;
            if due <= now {
                self.close(id);
            } else {
                self.sweep_at = Some(self.sweep_at.map_or(due, |known| known.min(due)));
            }
        }
    }

    fn close(&mut self, id: ClientId) {
        if let Some(mut peer) = self.peers.remove(&id) {
            let _ = self.poll.registry().deregister(&mut peer.socket);
        }
        self.broker.disconnect(id);
    }
}

/// The connection that was to be accepted is gone, or a signal came.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::Interrupted)
}

/// Nobody is waiting, or no descriptor is left: then those who wait are taken with the next who come.
fn pause_accept(error: &io::Error) -> Result<(), EnpdError> {
    if error.kind() != ErrorKind::WouldBlock {
        log::error!(error:% = error; "cannot accept a connection for events");
    }
    Ok(())
}
