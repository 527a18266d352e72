//! The IMAP service as a plan for the master: what the settings say, in the terms of the rooms below.

use std::error::Error;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::config::{Base, FlagSync, Settings, TlsFiles};
use crate::imap::{self, Imap, Watcher};
use crate::notify::{BusError, Hub, Listener, Publisher};
use crate::session::{Protocol, Token};
use crate::store::{self, MailboxId, Store, UserName};
use crate::sys;
use crate::tls::{Context, Files, TlsError, self_signed};
use crate::worker::{AuthLink, TimeLimits, WorkerContext};
use crate::{auth, config};

use super::ens;
use super::{Ending, Listen, Plan, ServeError, run};

/// The greeting when `service.imap.banner` is unset.
const DEFAULT_BANNER: &str = "%h IMAP4 service (%P %V)";

/// The file in `data/proc` that names the addresses that are listened on: `imap ADDRESS:PORT` or, where TLS begins at
/// once, `imaps ADDRESS:PORT`, a line each.
const LISTENERS: &str = "listeners";

/// Serves IMAP on a base until SIGTERM or SIGINT. The process must have one thread.
///
/// # Errors
/// When the server cannot start, or no worker stays alive.
pub fn serve(base: &Base, settings: Settings) -> Result<(), ServeError> {
    let partition = settings.partition(base);
    let tls = load_tls(base, &settings)?;
    store::begin_epoch(&partition)?;
    match run(&plan(base, settings, tls, partition.clone())?)? {
        Ending::Orderly => Ok(store::close_epoch(&partition)?),
        // A worker that died has synced nothing: the next master must not take that for done.
        Ending::Broken => Ok(()),
    }
}

/// Certificate and key: the configured ones, or a self-signed one; `None` where nothing uses TLS.
fn load_tls(base: &Base, settings: &Settings) -> Result<Option<Arc<Context>>, TlsError> {
    let imap = &settings.imap;
    if !imap.ssl_enable && !imap.starttls {
        return Ok(None);
    }
    let files = match &imap.tls {
        Some(TlsFiles { certificate, key }) => {
            Files { certificate: base.resolve(certificate), key: base.resolve(key) }
        }
        None => self_signed(&base.tls_dir(), &names(settings))?,
    };
    Context::new(files).map(Some)
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

fn plan(
    base: &Base,
    settings: Settings,
    tls: Option<Arc<Context>>,
    partition: PathBuf,
) -> Result<Plan, ServeError> {
    // Tells this server's events from those of others who share the store.
    let server = getrandom::u64().map_err(|error| ServeError::Bus(BusError::Random(error)))?;
    let listen = |listener: config::Listener| {
        let config::Listener { address, tls, option } = listener;
        Listen { address, tls, option }
    };
    let proc_dir = base.proc_dir();
    let auth_options = auth::Options::new(base, &settings);
    Ok(Plan {
        base: base.root().to_owned(),
        listeners: settings.listeners().into_iter().map(listen).collect(),
        tls,
        workers: settings.imap.processes,
        threads: settings.imap.max_threads,
        sessions: settings.imap.max_sessions,
        limits: TimeLimits { login: settings.imap.login_timeout, idle: settings.imap.idle_timeout },
        autorestart: settings.watcher.restart,
        autorestart_window: settings.watcher.give_up_within,
        auth: Arc::new(move |listener| serve_auth(listener, auth_options.clone())),
        auth_link: Box::new(|path: &Path| -> Box<dyn AuthLink> {
            Box::new(auth::Connection::new(path.to_owned()))
        }),
        ens: ens::service(&settings.ens),
        reopen_logs: Box::new(sys::reopen_logs),
        bound: {
            let path = proc_dir.join(LISTENERS);
            Box::new(move |addresses| name_listeners(&path, addresses))
        },
        protocol: {
            let proc_dir = proc_dir.clone();
            Box::new(move |context| {
                let publisher = ens::publisher(&settings, proc_dir.clone(), server, context.hub.clone())?;
                open_imap(context, &settings, partition.clone(), publisher)
            })
        },
        proc_dir,
    })
}

/// The auth process runs until it is ended by a signal.
fn serve_auth(listener: UnixListener, options: auth::Options) -> Result<(), Box<dyn Error + Send + Sync>> {
    Ok(auth::serve(listener, options, None)?)
}

fn open_imap(
    context: WorkerContext,
    settings: &Settings,
    partition: PathBuf,
    publisher: Option<Arc<Publisher>>,
) -> Result<Arc<dyn Protocol>, Box<dyn Error + Send + Sync>> {
    let mut options = store::Options::new(partition);
    options.max_message = settings.imap.append_limit.min(store::limits::MAX_MESSAGE);
    options.flag_sync = match settings.store.flag_sync {
        FlagSync::Deferred => store::FlagSync::Deferred,
        FlagSync::Immediate => store::FlagSync::Immediate,
    };
    let append_limit = options.max_message;
    let listener = Listener::new(context.hub.clone(), publisher.clone());
    let store = Arc::new(Store::open(options, Arc::new(listener))?);
    let settings = imap::Settings {
        banner: settings.imap.banner.clone().unwrap_or_else(|| DEFAULT_BANNER.to_owned()),
        host: settings.server_name.clone().unwrap_or_else(host_name),
        append_limit,
        idle: settings.idle_obstacle().is_none(),
        starttls: settings.imap.starttls,
        plaintext_min_cipher: settings.imap.plaintext_min_cipher,
    };
    Ok(Arc::new(Imap::new(store, Box::new(Ears { hub: context.hub, publisher }), settings)))
}

pub(super) fn host_name() -> String {
    let name = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    name.unwrap_or_else(|| "localhost".to_owned())
}

/// Sessions hear of changes through the hub.
struct Ears {
    hub: Arc<Hub>,
    publisher: Option<Arc<Publisher>>,
}

/// How long the end of a worker may wait for its last events to be on their way.
const LAST_EVENTS: Duration = Duration::from_millis(500);

impl Watcher for Ears {
    fn watch(&self, user: &UserName, mailbox: MailboxId, token: Token) -> Box<dyn Send> {
        Box::new(self.hub.watch(self.hub.key(user, mailbox), token))
    }

    fn logged_in(&self, user: &UserName, client: IpAddr) -> Option<Box<dyn Send>> {
        let presence = self.publisher.as_ref()?.login(user, client)?;
        Some(Box::new(presence))
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
