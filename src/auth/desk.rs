//! What becomes of each question: cached, delayed, verified, answered. A state machine; the caller brings time,
//! does the hashing and carries the answers.
//!
//! A question that has to be verified becomes a *flight*. The same question from the same address joins the flight
//! instead of starting another: a hundred connections of one client cost one hash.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::IpAddr;
use std::panic;
use std::time::{Duration, Instant};

use super::cache::Cache;
use super::directory::Directory;
use super::keyed::{Fingerprint, Key};
use super::limits::{MAX_DELAY, MAX_PASSWORD, MAX_WAITING};
use super::penalty::{Admission, Origin, Penalties};
use super::scheme::{HashError, StoredHash, nobodys_hash};
use super::{Mechanism, Reply, Request};
use crate::config::AuthSettings;
use crate::store::UserName;
use crate::sys::{Pace, Secret};

/// Who asked: a peer of the service, and the id that it gave the question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker {
    pub peer: usize,
    pub id: u64,
}

/// A password to be verified, by some thread.
#[derive(Debug)]
pub struct Job {
    flight: Fingerprint,
    hash: String,
    password: Secret,
    /// Of the user file that `hash` is from.
    generation: u64,
    /// Whether the hash is the user's own.
    is_known: bool,
}

/// What came of a job.
#[derive(Debug)]
pub struct Verdict {
    flight: Fingerprint,
    outcome: Result<bool, HashError>,
    generation: u64,
    is_known: bool,
}

impl Job {
    /// Verifies the password; takes long.
    pub fn run(self) -> Verdict {
        let verify = || StoredHash::parse(&self.hash).map(|hash| hash.verify(self.password.expose()));
        // Whatever a library does with a strange hash, the question gets its answer.
        let outcome = panic::catch_unwind(verify).unwrap_or(Err(HashError::Malformed));
        Verdict { flight: self.flight, outcome, generation: self.generation, is_known: self.is_known }
    }
}

/// What the caller has to do after a call.
#[derive(Debug, Default)]
pub struct Outbox {
    pub replies: Vec<(Asker, Reply)>,
    pub jobs: Vec<Job>,
}

/// The true cause of a refusal, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    BadName,
    BadPassword,
    UnknownUser,
    WrongPassword,
    NotAdministrator,
    UnknownAuthorization,
    UnusableHash(HashError),
}

impl Cause {
    fn word(self) -> &'static str {
        match self {
            Cause::BadName => "bad-name",
            Cause::BadPassword => "bad-password",
            Cause::UnknownUser => "unknown-user",
            Cause::WrongPassword => "wrong-password",
            Cause::NotAdministrator => "not-an-administrator",
            Cause::UnknownAuthorization => "unknown-authorization-identity",
            Cause::UnusableHash(_) => "unusable-hash",
        }
    }
}

/// A question that has no flight.
struct Question {
    id: Fingerprint,
    asker: Asker,
    request: Request,
    origin: Origin,
    credentials: Fingerprint,
}

/// Questions that wait for the same verification.
#[derive(Debug)]
struct Flight {
    askers: Vec<Asker>,
    mechanism: Mechanism,
    name: UserName,
    /// Whom to serve, when not `name`.
    authorization: Option<UserName>,
    password: Secret,
    remote: IpAddr,
    origin: Origin,
    /// Of the credentials alone.
    credentials: Fingerprint,
    /// Whether it has to wait so long that it is refused instead of verified.
    is_refused: bool,
}

/// Everything that the auth process knows.
#[derive(Debug)]
pub struct Desk {
    key: Key,
    directory: Directory,
    cache: Cache,
    penalties: Penalties,
    admins: Vec<String>,
    flights: HashMap<Fingerprint, Flight>,
    /// Flights that have not begun, by the time at which they do.
    delayed: BinaryHeap<Reverse<(Instant, u64)>>,
    delayed_flights: HashMap<u64, Fingerprint>,
    next_delayed: u64,
    waiting: usize,
    /// When it was last said that the user file cannot be read.
    unreadable: Pace,
    /// When it was last said that too many wait.
    crowded: Pace,
    /// Verified against when the user file is empty.
    dummy: String,
}

impl Desk {
    /// # Errors
    /// When the system gives no random numbers.
    pub fn new(users: std::path::PathBuf, settings: &AuthSettings) -> std::io::Result<Self> {
        let key = Key::random()?;
        let dummy = nobodys_hash().map_err(std::io::Error::other)?;
        Ok(Desk {
            directory: Directory::new(users, key.clone()),
            cache: Cache::new(settings.cache_size, settings.cache_ttl),
            penalties: Penalties::default(),
            admins: settings.admins.clone(),
            flights: HashMap::new(),
            delayed: BinaryHeap::new(),
            delayed_flights: HashMap::new(),
            next_delayed: 0,
            waiting: 0,
            unreadable: Pace::default(),
            crowded: Pace::default(),
            dummy,
            key,
        })
    }

    /// Other settings from now on.
    pub fn configure(&mut self, settings: &AuthSettings) {
        self.cache.resize(settings.cache_size, settings.cache_ttl);
        self.admins.clone_from(&settings.admins);
    }

    /// Takes a question.
    pub fn ask(&mut self, asker: Asker, request: Request, now: Instant, out: &mut Outbox) {
        if let Err(error) = self.refresh() {
            if self.unreadable.is_due(now) {
                log::error!(error:% = error; "nobody can log in");
            }
            out.replies.push((asker, Reply::Unavailable));
            return;
        }
        let credentials = self.credentials(&request);
        let origin = Origin::new(&self.key, request.remote, &request.authentication);
        if let Some(user) = self.cache.find(&credentials, now) {
            self.penalties.pardon(&origin);
            out.replies.push((asker, Reply::Granted(user.clone())));
            return;
        }
        let id = self.key.fingerprint(&[credentials.as_bytes(), &origin.address_octets()]);
        if self.waiting >= MAX_WAITING {
            if self.crowded.is_due(now) {
                log::warn!(waiting = self.waiting; "too many logins are waiting");
            }
            out.replies.push((asker, Reply::Unavailable));
        } else if let Some(flight) = self.flights.get_mut(&id) {
            flight.askers.push(asker);
            self.waiting += 1;
        } else {
            self.admit(Question { id, asker, request, origin, credentials }, now, out);
        }
    }

    /// Begins the flights whose time has come.
    pub fn advance(&mut self, now: Instant, out: &mut Outbox) {
        while let Some(&Reverse((at, number))) = self.delayed.peek()
            && at <= now
        {
            self.delayed.pop();
            let Some(id) = self.delayed_flights.remove(&number) else { continue };
            if self.flights.get(&id).is_some_and(|flight| flight.is_refused) {
                self.finish(id, &Reply::Unavailable, out);
            } else {
                self.begin(id, out);
            }
        }
    }

    /// When [`Desk::advance`] has to be called next.
    pub fn next_due(&self) -> Option<Instant> {
        self.delayed.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes the result of a job.
    pub fn judge(&mut self, verdict: Verdict, now: Instant, out: &mut Outbox) {
        let id = verdict.flight;
        // The password may have been changed while the old one was verified.
        if self.refresh().is_err() || verdict.generation != self.directory.generation() {
            self.begin(id, out);
            return;
        }
        let Some(flight) = self.flights.get(&id) else { return };
        match self.decide(flight, &verdict) {
            Ok(user) => {
                self.penalties.succeeded(&flight.origin, now);
                self.cache.insert(flight.credentials, user.clone(), now);
                self.finish(id, &Reply::Granted(user), out);
            }
            Err(cause) => {
                self.penalties.failed(&flight.origin, now);
                let (name, remote, mechanism) = (flight.name.as_str(), flight.remote, flight.mechanism);
                report(cause, name, flight.authorization.as_ref(), remote, mechanism, flight.askers.len());
                self.finish(id, &Reply::Denied, out);
            }
        }
    }

    /// Follows the user file.
    fn refresh(&mut self) -> Result<(), super::UserFileError> {
        if self.directory.refresh()? {
            self.cache.clear();
        }
        Ok(())
    }

    /// Everything that decides whether a login is right, and whose it is.
    fn credentials(&self, request: &Request) -> Fingerprint {
        let authorization = request.authorization.as_deref();
        self.key.fingerprint(&[
            &[request.mechanism as u8, u8::from(authorization.is_some())],
            authorization.unwrap_or_default().as_bytes(),
            request.authentication.as_bytes(),
            request.password.expose(),
        ])
    }

    /// Makes a flight of a question, if it may become one.
    fn admit(&mut self, question: Question, now: Instant, out: &mut Outbox) {
        let Question { id, asker, request, origin, credentials } = question;
        let Request { mechanism, authorization, authentication, password, remote } = request;
        let is_too_long = password.expose().is_empty() || password.expose().len() > MAX_PASSWORD;
        let (name, authorization) = match names(&authentication, authorization.as_deref()) {
            Ok(names) if !is_too_long => names,
            other => {
                // Nobody has such a name or password: there is nothing to find out by the time that this takes.
                let cause = if other.is_err() { Cause::BadName } else { Cause::BadPassword };
                report(cause, &authentication, None, remote, mechanism, 1);
                out.replies.push((asker, Reply::Denied));
                return;
            }
        };
        let admission = self.penalties.admit(&origin, now);
        let is_refused = admission == Admission::Refused;
        if is_refused {
            log::info!(user = name.as_str(), remote:% = remote; "login refused: too many attempts");
        }
        if is_refused && self.waiting >= MAX_WAITING / 2 {
            // The delay is a courtesy to nobody; it must not take the places of others.
            out.replies.push((asker, Reply::Unavailable));
            return;
        }
        let askers = vec![asker];
        let flight = Flight {
            askers,
            mechanism,
            name,
            authorization,
            password,
            remote,
            origin,
            credentials,
            is_refused,
        };
        self.flights.insert(id, flight);
        self.waiting += 1;
        match admission {
            Admission::After(Duration::ZERO) => self.begin(id, out),
            Admission::After(delay) => self.delay(id, now + delay),
            Admission::Refused => self.delay(id, now + MAX_DELAY),
        }
    }

    fn delay(&mut self, id: Fingerprint, until: Instant) {
        self.delayed.push(Reverse((until, self.next_delayed)));
        self.delayed_flights.insert(self.next_delayed, id);
        self.next_delayed += 1;
    }

    /// Has the password verified: against the user's hash, or, to take as long, against another one.
    fn begin(&mut self, id: Fingerprint, out: &mut Outbox) {
        let Some(flight) = self.flights.get(&id) else { return };
        let name = flight.name.as_str();
        let own = self.directory.find(name);
        let hash = own.or_else(|| self.directory.decoy(name)).unwrap_or(&self.dummy);
        out.jobs.push(Job {
            flight: id,
            hash: hash.to_owned(),
            password: flight.password.clone(),
            generation: self.directory.generation(),
            is_known: own.is_some(),
        });
    }

    fn decide(&self, flight: &Flight, verdict: &Verdict) -> Result<UserName, Cause> {
        match &verdict.outcome {
            _ if !verdict.is_known => return Err(Cause::UnknownUser),
            Err(error) => return Err(Cause::UnusableHash(*error)),
            Ok(false) => return Err(Cause::WrongPassword),
            Ok(true) => {}
        }
        match &flight.authorization {
            None => Ok(flight.name.clone()),
            Some(_) if !self.admins.iter().any(|admin| admin == flight.name.as_str()) => {
                Err(Cause::NotAdministrator)
            }
            Some(user) if self.directory.find(user.as_str()).is_none() => Err(Cause::UnknownAuthorization),
            Some(user) => Ok(user.clone()),
        }
    }

    fn finish(&mut self, id: Fingerprint, reply: &Reply, out: &mut Outbox) {
        let Some(flight) = self.flights.remove(&id) else { return };
        self.waiting -= flight.askers.len();
        out.replies.extend(flight.askers.into_iter().map(|asker| (asker, reply.clone())));
    }
}

/// The user who logs in and, when that is another one, the user to serve.
fn names(
    authentication: &str,
    authorization: Option<&str>,
) -> Result<(UserName, Option<UserName>), crate::store::UserNameError> {
    let name = UserName::new(authentication)?;
    // RFC 4616 §2: an empty authorization identity means that of the credentials.
    let other = authorization.filter(|text| !text.is_empty() && *text != authentication);
    Ok((name, other.map(UserName::new).transpose()?))
}

fn report(
    cause: Cause,
    name: &str,
    authorization: Option<&UserName>,
    remote: IpAddr,
    mechanism: Mechanism,
    count: usize,
) {
    if let Cause::UnusableHash(error) = cause {
        log::error!(user = name, error:% = error; "the user's stored hash cannot be used");
    }
    let authorization = authorization.map_or("", UserName::as_str);
    let shown: String = name.chars().take(crate::store::MAX_USER_NAME).collect();
    log::info!(
        user = shown.as_str(), authorization, remote:% = remote, mechanism:? = mechanism, count, cause = cause.word();
        "login failed"
    );
}

#[cfg(test)]
#[path = "desk_tests.rs"]
mod tests;
