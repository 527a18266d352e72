//! The IMAP service as a plan for the master: what the settings say, in the terms of the rooms below.

use std::error::Error;
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::config::{Base, Config, ConfigError, FlagSync, Settings, Severity, TlsFiles};
use crate::imap::{self, Imap, Watcher};
use crate::notify::{Address, BusError, Hub, Listener, Publisher};
use crate::session::{Peer, Protocol, Refusal, Session, Token};
use crate::store::{self, MailboxId, Store, UserName};
use crate::sys::{self, Account, Bounds, Calls, Reach};
use crate::tls::{Context, Files, Pem, TlsError, self_signed, self_signed_files};
use crate::worker::{AuthLink, TimeLimits, WorkerContext};
use crate::{auth, config};

use super::attendance::Attendance;
use super::plan::RereadError;
use super::{BoundHook, ChildBounds, Ending, Listen, Plan, ServeError, Tunables, run};
use super::{ens, stored};

/// The greeting when `service.imap.banner` is unset.
const DEFAULT_BANNER: &str = "%h IMAP4 service (%P %V)";

/// The file in `data/proc` that names the addresses that are listened on: `imap ADDRESS:PORT` or, where TLS begins at
/// once, `imaps ADDRESS:PORT`, a line each.
const LISTENERS: &str = "listeners";

/// The file in `data/proc` that names the services which somebody has stopped, a line each.
const STOPPED: &str = "stopped";

/// What the caller of [`serve`] is told, and decides.
pub struct Hooks {
    /// The user that this process is lowered to, and that the children become.
    pub user: Option<Account>,
    /// Called in every process with the settings that a refresh has brought.
    pub adopt: Box<dyn Fn(&Settings)>,
    /// Called in the master with the bound addresses, when it serves and after each refresh.
    pub bound: Box<BoundHook>,
}

/// Serves IMAP on a base until SIGTERM or SIGINT. The process must have one thread.
///
/// # Errors
/// When the server cannot start, or no worker stays alive.
pub fn serve(base: &Base, config: &Config, hooks: Hooks) -> Result<(), ServeError> {
    let stopped = stopped_services(&base.proc_dir());
    let start = Tunables { stopped, ..tunables(base, config)? };
    let pem = sys::raised(|| Pem::read(certificate(base, &start.settings)?))?;
    let context = Context::new(&pem)?;
    let partition = start.settings.partition(base);
    store::begin_epoch(&partition)?;
    match run(&plan(base, start, context, partition.clone(), hooks)?)? {
        Ending::Orderly => Ok(store::close_epoch(&partition)?),
        // A worker that died has synced nothing: the next master must not take that for done.
        Ending::Broken => Ok(()),
    }
}

/// Certificate and key, for the master, which makes a self-signed one when it is needed.
fn certificate(base: &Base, settings: &Settings) -> Result<Files, TlsError> {
    match certificate_files(base, settings) {
        files if files == self_signed_files(&base.tls_dir()) => {
            self_signed(&base.tls_dir(), &names(settings))
        }
        files => Ok(files),
    }
}

/// Where certificate and key are: configured, or self-signed. Those that nothing uses may be missing.
fn certificate_files(base: &Base, settings: &Settings) -> Files {
    let is_used = settings.imap.ssl_enable || settings.imap.starttls;
    match &settings.imap.tls {
        Some(TlsFiles { certificate, key }) if is_used => {
            Files { certificate: base.resolve(certificate), key: base.resolve(key) }
        }
        _ => self_signed_files(&base.tls_dir()),
    }
}

/// What clients may call this server by.
fn names(settings: &Settings) -> Vec<String> {
    let name = settings.server_name.clone().unwrap_or_else(host_name);
    let mut names = vec![name, "localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    names.extend(settings.listen.iter().filter(|ip| !ip.is_unspecified()).map(ToString::to_string));
    let mut unique = Vec::with_capacity(names.len());
    for name in names.into_iter().filter(|name| name.is_ascii()) {
        if !unique.contains(&name) {
            unique.push(name);
        }
    }
    unique
}

/// The services that are stopped, of the server with this `data/proc`.
pub fn stopped_services(directory: &Path) -> Vec<String> {
    // No file: nobody has stopped anything.
    let text = fs::read_to_string(directory.join(STOPPED)).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Says which services are stopped, from the next start or refresh on.
///
/// # Errors
/// When the file cannot be written.
pub fn stop_services<'a>(directory: &Path, services: impl IntoIterator<Item = &'a str>) -> io::Result<()> {
    let text: String = services.into_iter().map(|service| format!("{service}\n")).collect();
    config::replace_file(&directory.join(STOPPED), text.as_bytes(), 0o600)
}

fn plan(
    base: &Base,
    start: Tunables,
    context: Arc<Context>,
    partition: PathBuf,
    hooks: Hooks,
) -> Result<Plan, ServeError> {
    // Tells this server's events from those of others who share the store.
    let server = getrandom::u64().map_err(|error| ServeError::Bus(BusError::Random(error)))?;
    let (proc_dir, users) = (base.proc_dir(), base.users());
    let (rereader, interpreter) = (base.clone(), base.clone());
    let ens = ens::service(&start.settings.ens);
    // Found out now: a worker has no sockets to find out with.
    let ens_address = ens::event_service(base, &start.settings);
    Ok(Plan {
        base: base.root().to_owned(),
        threads: start.settings.imap.max_threads,
        tls: Some(context),
        user: hooks.user,
        bounds: start.settings.sandbox.then(|| bounds(base, &start, &partition, &ens_address)),
        start,
        reread: Box::new(move |now| reread(&rereader, now)),
        interpret: Box::new(move |text| {
            Ok(tunables(&interpreter, &Config::parse(&interpreter.msg_conf(), text)?)?)
        }),
        adopt: hooks.adopt,
        auth: Arc::new(move |listener, settings| {
            Ok(auth::serve(listener, auth::Options { users: users.clone(), settings }, None)?)
        }),
        auth_link: Box::new(|path: &Path| -> Box<dyn AuthLink> {
            Box::new(auth::Connection::new(path.to_owned()))
        }),
        ens,
        stored: Some({
            let partition = partition.clone();
            Arc::new(move |settings| Ok(stored::serve(partition.clone(), &settings)?))
        }),
        reopen_logs: Box::new(sys::reopen_logs),
        bound: {
            let path = proc_dir.join(LISTENERS);
            Box::new(move |addresses| {
                name_listeners(&path, addresses);
                (hooks.bound)(addresses);
            })
        },
        protocol: {
            Box::new(move |context, settings| {
                let publisher = ens::publisher(settings, ens_address.clone(), server, context.hub.clone())?;
                open_imap(context, settings, partition.clone(), publisher)
            })
        },
        proc_dir,
    })
}

/// Where names of hosts are looked up.
const RESOLVER: [&str; 5] =
    ["/etc/hosts", "/etc/resolv.conf", "/etc/nsswitch.conf", "/etc/host.conf", "/etc/gai.conf"];

/// Auth reads the user file (its directory: the file is replaced when it changes); a worker changes mail, and asks other
/// hosts when events are published there; enpd listens; stored changes the store. All open the log anew.
fn bounds(base: &Base, start: &Tunables, partition: &Path, ens: &Address) -> ChildBounds {
    let log = base.resolve(&start.settings.log.directory);
    let hosts = matches!(ens, Address::Tcp(..));
    // Above the partition, where it is the base's own: another file system may be mounted over it.
    let store = base.root().join("data/store");
    let store = if partition.starts_with(&store) { store } else { partition.to_owned() };
    ChildBounds {
        auth: Bounds {
            reach: Reach {
                read: base.users().parent().map(Path::to_owned).into_iter().collect(),
                write: vec![log.clone()],
            },
            calls: Calls::default(),
        },
        enpd: Bounds {
            reach: Reach { read: Vec::new(), write: vec![log.clone()] },
            calls: Calls { hosts: true, listens: true, ..Calls::default() },
        },
        stored: Bounds {
            reach: Reach { read: Vec::new(), write: vec![store.clone(), log.clone()] },
            calls: Calls { files: true, ..Calls::default() },
        },
        worker: Bounds {
            reach: Reach {
                read: RESOLVER.iter().filter(|_| hosts).map(PathBuf::from).collect(),
                write: vec![store, base.proc_dir(), log],
            },
            calls: Calls { files: true, hosts, ..Calls::default() },
        },
    }
}

fn tunables(base: &Base, config: &Config) -> Result<Tunables, ConfigError> {
    let settings = config.settings()?;
    let everywhere = settings.listen.is_empty();
    let listen = |listener: config::Listener| Listen {
        address: listener.address,
        tls: listener.tls,
        option: listener.option,
        is_optional: everywhere && listener.address.is_ipv6(),
    };
    Ok(Tunables {
        listeners: settings.listeners().into_iter().map(listen).collect(),
        workers: settings.imap.processes,
        sessions: settings.imap.max_sessions,
        limits: TimeLimits { login: settings.imap.login_timeout, idle: settings.imap.idle_timeout },
        tls: Some(certificate_files(base, &settings)),
        autorestart: settings.watcher.restart,
        autorestart_window: settings.watcher.give_up_within,
        stopped: Vec::new(),
        settings: Arc::new(settings),
        text: config.to_text().into_bytes(),
    })
}

/// The configuration file, except for what needs a restart.
fn reread(base: &Base, now: &Tunables) -> Result<Tunables, RereadError> {
    let newer = Config::load(base)?;
    // Checked as it stands too: a file with which the server would not start is not worth a refresh.
    newer.settings()?;
    let (config, pending) = Config::parse(&base.msg_conf(), &now.text)?.refreshed(&newer);
    for name in pending {
        log::warn!(option = name.as_str(); "changed, but a refresh is not enough; restart the server");
    }
    for finding in config.findings().iter().filter(|finding| finding.severity() == Severity::Warning) {
        log::warn!("{finding}");
    }
    let tunables = tunables(base, &config)?;
    sys::raised(|| certificate(base, &tunables.settings))?;
    Ok(Tunables { stopped: stopped_services(&base.proc_dir()), ..tunables })
}

fn open_imap(
    context: WorkerContext,
    settings: &Settings,
    partition: PathBuf,
    publisher: Option<Arc<Publisher>>,
) -> Result<Arc<dyn Protocol>, Box<dyn Error + Send + Sync>> {
    let attendance = Attendance::new(partition.clone(), settings.imap.last_access);
    let mut options = store::Options::new(partition);
    let listener = Listener::new(context.hub.clone(), publisher.clone());
    options.tuning = store_tuning(settings);
    let store = Arc::new(Store::open(options, Arc::new(listener))?);
    let ears = Ears { hub: context.hub, publisher, attendance: attendance.clone() };
    let imap = Imap::new(store.clone(), Box::new(ears), imap_settings(settings));
    Ok(Arc::new(Service { store, imap, attendance }))
}

fn store_tuning(settings: &Settings) -> store::Tuning {
    store::Tuning {
        max_message: settings.imap.append_limit.min(store::limits::MAX_MESSAGE),
        flag_sync: match settings.store.flag_sync {
            FlagSync::Deferred => store::FlagSync::Deferred,
            FlagSync::Immediate => store::FlagSync::Immediate,
        },
    }
}

fn imap_settings(settings: &Settings) -> imap::Settings {
    imap::Settings {
        banner: settings.imap.banner.clone().unwrap_or_else(|| DEFAULT_BANNER.to_owned()),
        host: settings.server_name.clone().unwrap_or_else(host_name),
        append_limit: store_tuning(settings).max_message,
        idle: settings.idle_obstacle().is_none(),
        starttls: settings.imap.starttls,
        plaintext_min_cipher: settings.imap.plaintext_min_cipher,
    }
}

/// IMAP over the store, as a worker sees it.
struct Service {
    store: Arc<Store>,
    imap: Imap,
    attendance: Arc<Attendance>,
}

impl Protocol for Service {
    fn session(&self, token: Token, peer: Peer) -> Box<dyn Session> {
        self.imap.session(token, peer)
    }

    fn refusal(&self, why: Refusal) -> Vec<u8> {
        self.imap.refusal(why)
    }

    fn refresh(&self, settings: &Settings) {
        self.store.tune(store_tuning(settings));
        self.imap.configure(imap_settings(settings));
        self.attendance.switch(settings.imap.last_access);
    }

    fn finish(&self) {
        self.imap.finish();
    }
}

pub(super) fn host_name() -> String {
    let name = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    name.unwrap_or_else(|| "localhost".to_owned())
}

/// Sessions hear of changes through the hub; who comes and goes is noted.
struct Ears {
    hub: Arc<Hub>,
    publisher: Option<Arc<Publisher>>,
    attendance: Arc<Attendance>,
}

/// How long the end of a worker may wait for its last events to be on their way.
const LAST_EVENTS: Duration = Duration::from_millis(500);

impl Watcher for Ears {
    fn watch(&self, user: &UserName, mailbox: MailboxId, token: Token) -> Box<dyn Send> {
        Box::new(self.hub.watch(self.hub.key(user, mailbox), token))
    }

    fn logged_in(&self, user: &UserName, client: IpAddr) -> Option<Box<dyn Send>> {
        let presence = self.publisher.as_ref().and_then(|publisher| publisher.login(user, client));
        let visit = self.attendance.arrive(user);
        (presence.is_some() || visit.is_some()).then(|| Box::new((presence, visit)) as Box<dyn Send>)
    }

    fn finish(&self) {
        if let Some(publisher) = &self.publisher {
            publisher.finish(LAST_EVENTS);
        }
    }
}

/// Programs that start the server on port 0 find the port here.
fn name_listeners(path: &Path, addresses: &[(SocketAddr, bool)]) {
    let line =
        |(address, tls): &(SocketAddr, bool)| format!("{} {address}\n", if *tls { "imaps" } else { "imap" });
    let lines: String = addresses.iter().map(line).collect();
    let temporary = path.with_extension("new");
    let written = fs::write(&temporary, lines).and_then(|()| fs::rename(&temporary, path));
    if let Err(error) = written {
        log::warn!(file = path.display().to_string(), error:% = error; "cannot write the list of listeners");
    }
}
