//! The configuration as the server reads it: every value parsed, no contradiction left.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use log::LevelFilter;
use thiserror::Error;

use super::access::AccessList;
use super::base::Base;
use super::filter::ClientFilters;
use super::finding::Finding;
use super::layers::Config;
use super::name::lookup;
use super::value::{self, BadValue, ConnLimit, Level};

/// File name of the publisher that IDLE needs; it is built into the program.
const IBIFF: &str = "libibiff";

/// Everything that the server wants to know.
#[derive(Clone, Debug)]
pub struct Settings {
    pub imap: ImapSettings,
    pub auth: AuthSettings,
    pub store: StoreSettings,
    pub notify: NotifySettings,
    pub ens: EnsSettings,
    pub log: LogSettings,
    pub watcher: WatcherSettings,
    /// Addresses to listen on; empty for all.
    pub listen: Vec<IpAddr>,
    /// How the server names itself; `None` for the system's host name.
    pub server_name: Option<String>,
    /// User that serves when root starts the server; empty for whoever starts it.
    pub service_user: String,
    /// Whether processes give up the paths and system calls that they do not need.
    pub sandbox: bool,
}

/// `service.imap.*`.
#[derive(Clone, Debug)]
pub struct ImapSettings {
    /// Whether the plain port is served.
    pub enable: bool,
    pub port: u16,
    /// Whether the TLS port is served.
    pub ssl_enable: bool,
    pub ssl_port: u16,
    pub starttls: bool,
    /// Certificate and key, both or none: then the server has a self-signed one.
    pub tls: Option<TlsFiles>,
    /// -1: no password login; 0: with and without TLS; n: with a cipher of n bits.
    pub plaintext_min_cipher: i64,
    pub processes: usize,
    /// Connections per process.
    pub max_sessions: usize,
    /// Threads per process.
    pub max_threads: usize,
    pub idle_timeout: Duration,
    pub login_timeout: Duration,
    /// Largest message that APPEND takes, in bytes.
    pub append_limit: u64,
    /// Text of the greeting; `None` for product and version.
    pub banner: Option<String>,
    pub allow_anonymous: bool,
    /// Whether it is noted when users were last connected.
    pub last_access: bool,
    pub conn_limits: Vec<ConnLimit>,
    /// Who may connect.
    pub filters: ClientFilters,
}

/// Where certificate and key are, as the configuration has it; see [`Base::resolve`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    pub certificate: String,
    pub key: String,
}

/// What the auth process needs.
#[derive(Clone, Debug)]
pub struct AuthSettings {
    /// Entries; 0 for no cache.
    pub cache_size: usize,
    pub cache_ttl: Duration,
    /// Users who may log in as others.
    pub admins: Vec<String>,
}

/// `store.*`.
#[derive(Clone, Debug)]
pub struct StoreSettings {
    /// Path of the default partition, as the configuration has it; see [`Base::resolve`].
    pub partition: String,
    pub flag_sync: FlagSync,
    /// How long expunged messages stay on disk.
    pub cleanup_age: Duration,
    /// Rest between two rounds that remove them.
    pub cleanup_interval: Duration,
}

/// `store.flagsync`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlagSync {
    /// Changed flags are on disk within a second.
    Deferred,
    /// Changed flags are on disk before the client hears OK.
    Immediate,
}

/// `local.store.notifyplugin.*`.
#[derive(Clone, Debug)]
pub struct NotifySettings {
    /// Whether the iBiff publisher is loaded.
    pub plugin: bool,
    pub event_key: String,
    /// Events of all mailboxes, not only of INBOX.
    pub all_mailboxes: bool,
    /// Where events are published.
    pub host: String,
    pub port: u16,
    /// How much of a message an event carries, in bytes: of its header, of its body.
    pub header_size: usize,
    pub body_size: usize,
    /// The events that are published, by the names that the options have: `newmsg`.
    pub events: Vec<&'static str>,
}

/// `local.ens.*`.
#[derive(Clone, Debug)]
pub struct EnsSettings {
    /// Whether enpd runs here.
    pub enable: bool,
    pub port: u16,
    /// Addresses to listen on.
    pub listen: Vec<IpAddr>,
    pub access: AccessList,
}

/// The names that `local.store.notifyplugin.EVENT.enable` takes.
const EVENTS: [&str; 10] = [
    "newmsg",
    "updatemsg",
    "readmsg",
    "trashmsg",
    "deletemsg",
    "purgemsg",
    "loguser",
    "overquota",
    "underquota",
    "msgflags",
];

/// `logfile.imap.*`.
#[derive(Clone, Debug)]
pub struct LogSettings {
    pub level: Level,
    /// As the configuration has it; see [`Base::resolve`].
    pub directory: String,
}

/// `local.watcher.*`, `local.autorestart*`.
#[derive(Clone, Debug)]
pub struct WatcherSettings {
    /// Whether a process that died is started again.
    pub restart: bool,
    /// Give up on a process that fails again and again within this time.
    pub give_up_within: Duration,
}

/// A socket to bind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener {
    pub address: SocketAddr,
    /// Whether TLS begins at once.
    pub tls: bool,
    /// The option that says so, for messages.
    pub option: &'static str,
}

/// What keeps IDLE from being offered.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum IdleObstacle {
    #[error("local.store.notifyplugin is not set: set it to msg-svr-base/lib/libibiff")]
    NoPlugin,
    #[error("local.store.notifyplugin.enseventkey does not end in %M: set it to enp://127.0.0.1/store/%M")]
    NoMailboxInKey,
    #[error("local.store.notifyplugin.noneinbox.enable is off: set it to 1")]
    InboxOnly,
}

impl Settings {
    /// The settings that a configuration without own values gives.
    pub fn defaults() -> Self {
        parse(&Config::default(), &mut Vec::new())
    }

    /// What to bind, the plain port first.
    pub fn listeners(&self) -> Vec<Listener> {
        let imap = &self.imap;
        let mut services = Vec::with_capacity(2);
        if imap.enable {
            services.push((imap.port, false, "service.imap.port"));
        }
        if imap.ssl_enable {
            services.push((imap.ssl_port, true, "service.imap.sslport"));
        }
        let everywhere = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
        let addresses = if self.listen.is_empty() { &everywhere[..] } else { &self.listen };
        let bind = |(port, tls, option)| {
            addresses.iter().map(move |&ip| Listener { address: SocketAddr::new(ip, port), tls, option })
        };
        services.into_iter().flat_map(bind).collect()
    }

    /// Why IDLE is not offered; `None` when it is (the contract of section 5.6 of the manual).
    pub fn idle_obstacle(&self) -> Option<IdleObstacle> {
        self.idle_obstacles().next()
    }

    /// All that keeps IDLE from being offered.
    pub fn idle_obstacles(&self) -> impl Iterator<Item = IdleObstacle> {
        self.notify.idle_obstacles()
    }

    /// Directory of the default partition.
    pub fn partition(&self, base: &Base) -> PathBuf {
        base.resolve(&self.store.partition)
    }
}

impl NotifySettings {
    fn idle_obstacles(&self) -> impl Iterator<Item = IdleObstacle> + use<> {
        let obstacles = [
            (!self.plugin, IdleObstacle::NoPlugin),
            (!self.event_key.ends_with("%M"), IdleObstacle::NoMailboxInKey),
            (!self.all_mailboxes, IdleObstacle::InboxOnly),
        ];
        obstacles.into_iter().filter_map(|(is_there, obstacle)| is_there.then_some(obstacle))
    }
}

impl From<Level> for LevelFilter {
    fn from(level: Level) -> Self {
        match level {
            Level::Nolog => LevelFilter::Off,
            Level::Critical | Level::Error => LevelFilter::Error,
            Level::Warning => LevelFilter::Warn,
            Level::Notice | Level::Information => LevelFilter::Info,
            Level::Debug => LevelFilter::Debug,
        }
    }
}

/// Parses every value and looks for contradictions. Values that do not parse are replaced by something of their
/// type: the caller has found and reported them by their line.
pub(super) fn parse(config: &Config, findings: &mut Vec<Finding>) -> Settings {
    let values = Values(config);
    let imap = imap(&values, findings);
    let settings = Settings {
        auth: AuthSettings {
            cache_size: values.size("service.authcachesize"),
            cache_ttl: values.duration("service.authcachettl", 1),
            admins: value::words(&values.text("store.admins")).map(str::to_owned).collect(),
        },
        store: store(&values, findings),
        notify: notify(&values),
        ens: EnsSettings {
            enable: values.is_on("local.ens.enable"),
            port: values.port("local.ens.port"),
            listen: values.parsed_or_default("local.ens.listenaddr", value::addresses).unwrap_or_default(),
            access: values.parsed("local.ens.access", value::access).unwrap_or_default(),
        },
        log: LogSettings {
            level: values.parsed("logfile.imap.loglevel", value::level).unwrap_or(Level::Information),
            directory: values.text("logfile.imap.logdir"),
        },
        watcher: WatcherSettings {
            restart: values.is_on("local.watcher.enable") && values.is_on("local.autorestart"),
            give_up_within: values.duration("local.autorestart.timeout", 1),
        },
        listen: values.parsed("service.listenaddr", value::addresses).unwrap_or_default(),
        server_name: values.set_text("local.servername").or_else(|| values.set_text("local.hostname")),
        service_user: values.text("local.serveruid"),
        sandbox: !values.text("local.sandbox").eq_ignore_ascii_case("off"),
        imap,
    };
    if values.set_text("local.store.notifyplugin").is_some() {
        findings.extend(settings.idle_obstacles().map(Finding::Idle));
    }
    settings
}

fn imap(values: &Values<'_>, findings: &mut Vec<Finding>) -> ImapSettings {
    let tls = tls(values, findings);
    let imap = ImapSettings {
        enable: values.is_on("service.imap.enable"),
        port: values.port("service.imap.port"),
        ssl_enable: values.is_on_or("service.imap.enablesslport", tls.is_some()),
        ssl_port: values.port("service.imap.sslport"),
        starttls: values.is_on("service.imap.sslusessl"),
        tls,
        plaintext_min_cipher: values.number("service.imap.plaintextmincipher"),
        processes: values.size("service.imap.numprocesses"),
        max_sessions: values.size("service.imap.maxsessions"),
        max_threads: values.size("service.imap.maxthreads"),
        idle_timeout: values.duration("service.imap.idletimeout", 60),
        login_timeout: values.duration("service.imap.logintimeout", 1),
        append_limit: values.size("service.imap.appendlimit") as u64,
        banner: values.set_text("service.imap.banner"),
        allow_anonymous: values.is_on("service.imap.allowanonymouslogin"),
        last_access: values.is_on("local.enablelastaccess"),
        conn_limits: values.parsed("service.imap.connlimits", value::conn_limits).unwrap_or_default(),
        filters: ClientFilters {
            allow: values.parsed("service.imap.domainallowed", value::filters).unwrap_or_default(),
            deny: values.parsed("service.imap.domainnotallowed", value::filters).unwrap_or_default(),
        },
    };
    contradictions(&imap, findings);
    imap
}

fn tls(values: &Values<'_>, findings: &mut Vec<Finding>) -> Option<TlsFiles> {
    const CERTIFICATE: &str = "service.imap.sslcertfile";
    const KEY: &str = "service.imap.sslkeyfile";
    let (present, missing) = match (values.set_text(CERTIFICATE), values.set_text(KEY)) {
        (Some(certificate), Some(key)) => return Some(TlsFiles { certificate, key }),
        (Some(_), None) => (CERTIFICATE, KEY),
        (None, Some(_)) => (KEY, CERTIFICATE),
        (None, None) => return None,
    };
    findings.push(Finding::HalfCertificate { present, missing });
    None
}

fn contradictions(imap: &ImapSettings, findings: &mut Vec<Finding>) {
    if !imap.enable && !imap.ssl_enable {
        findings.push(Finding::NothingToServe);
    }
    if imap.enable && imap.ssl_enable && imap.port == imap.ssl_port && imap.port != 0 {
        let (first, second) = ("service.imap.port", "service.imap.sslport");
        findings.push(Finding::SamePort { first, second, port: imap.port });
    }
    if imap.plaintext_min_cipher < 0 {
        findings.push(Finding::NoPasswords);
    } else if imap.plaintext_min_cipher > 0 && !imap.ssl_enable && !(imap.enable && imap.starttls) {
        findings.push(Finding::NobodyCanLogIn(imap.plaintext_min_cipher));
    }
    if imap.conn_limits.last().is_some_and(|limit| !limit.is_catch_all()) {
        findings.push(Finding::NoCatchAll);
    }
}

fn notify(values: &Values<'_>) -> NotifySettings {
    let is_published = |event: &&str| values.is_on(&format!("local.store.notifyplugin.{event}.enable"));
    NotifySettings {
        plugin: values.text("local.store.notifyplugin").rsplit('/').next() == Some(IBIFF),
        event_key: values.text("local.store.notifyplugin.enseventkey"),
        all_mailboxes: values.is_on("local.store.notifyplugin.noneinbox.enable"),
        host: values.text("local.store.notifyplugin.enshost"),
        port: publishers_port(values),
        header_size: values.size("local.store.notifyplugin.maxheadersize"),
        body_size: values.size("local.store.notifyplugin.maxbodysize"),
        events: EVENTS.into_iter().filter(is_published).collect(),
    }
}

/// Where nobody says otherwise, events go to the service of this server, whatever its port is.
fn publishers_port(values: &Values<'_>) -> u16 {
    let option = "local.store.notifyplugin.ensport";
    let is_set = lookup(option).is_ok_and(|name| values.0.own(&name).is_some());
    let host = values.text("local.store.notifyplugin.enshost");
    let is_here =
        host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
    values.port(if is_here && !is_set { "local.ens.port" } else { option })
}

fn store(values: &Values<'_>, findings: &mut Vec<Finding>) -> StoreSettings {
    let nick = values.text("store.defaultpartition");
    let partition = values.text(&format!("store.partition.{nick}.path"));
    if partition.is_empty() {
        findings.push(Finding::NoPartition(nick));
    }
    let is_immediate = values.text("store.flagsync").eq_ignore_ascii_case("immediate");
    StoreSettings {
        partition,
        flag_sync: if is_immediate { FlagSync::Immediate } else { FlagSync::Deferred },
        cleanup_age: values.duration("store.cleanupage", 3600),
        cleanup_interval: values.duration("store.cleanupinterval", 1),
    }
}

/// Typed access to the values of a configuration.
struct Values<'a>(&'a Config);

impl Values<'_> {
    fn text(&self, name: &str) -> String {
        lookup(name).map(|name| self.0.value(&name).to_owned()).unwrap_or_default()
    }

    fn set_text(&self, name: &str) -> Option<String> {
        Some(self.text(name)).filter(|text| !text.is_empty())
    }

    fn parsed<T>(&self, name: &str, parse: impl FnOnce(&str) -> Result<T, BadValue>) -> Option<T> {
        parse(&self.set_text(name)?).ok()
    }

    /// A value; when the own one is empty or wrong, the default.
    fn parsed_or_default<T>(&self, name: &str, parse: impl Fn(&str) -> Result<T, BadValue>) -> Option<T> {
        let default = || parse(lookup(name).ok()?.definition().default).ok();
        self.parsed(name, &parse).or_else(default)
    }

    fn is_on(&self, name: &str) -> bool {
        self.parsed_or_default(name, value::boolean).unwrap_or_default()
    }

    fn is_on_or(&self, name: &str, otherwise: bool) -> bool {
        self.parsed(name, value::boolean).unwrap_or(otherwise)
    }

    fn port(&self, name: &str) -> u16 {
        self.parsed_or_default(name, value::port).unwrap_or_default()
    }

    fn number(&self, name: &str) -> i64 {
        self.parsed_or_default(name, |text| value::integer(text, i64::MIN, i64::MAX)).unwrap_or_default()
    }

    fn size(&self, name: &str) -> usize {
        usize::try_from(self.number(name)).unwrap_or_default()
    }

    fn duration(&self, name: &str, seconds_per_unit: u64) -> Duration {
        Duration::from_secs(seconds_per_unit.saturating_mul(self.size(name) as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Severity;

    fn config(sets: &[(&str, &str)]) -> Config {
        let mut config = Config::default();
        for (option, value) in sets {
            config.set(option, value).unwrap();
        }
        config
    }

    const IBIFF_ON: (&str, &str) = ("local.store.notifyplugin", "msg-svr-base/lib/libibiff");
    const KEY: (&str, &str) = ("local.store.notifyplugin.enseventkey", "enp://127.0.0.1/store/%M");
    const ALL: (&str, &str) = ("local.store.notifyplugin.noneinbox.enable", "1");

    #[test]
    fn events_go_to_the_own_service_unless_somebody_says_otherwise() {
        let port = |sets: &[(&str, &str)]| config(sets).settings().unwrap().notify.port;
        let moved = ("local.ens.port", "8000");
        assert_eq!(port(&[]), 7997);
        assert_eq!(port(&[moved]), 8000);
        assert_eq!(port(&[moved, ("local.store.notifyplugin.enshost", "127.0.0.1")]), 8000);
        assert_eq!(port(&[moved, ("local.store.notifyplugin.ensport", "7000")]), 7000);
        assert_eq!(port(&[moved, ("local.store.notifyplugin.enshost", "mail2.example")]), 7997);
    }

    #[test]
    fn defaults_are_the_manual_s() {
        assert_eq!(config(&[]).findings(), []);
        let settings = Settings::defaults();
        let imap = &settings.imap;
        assert_eq!((imap.port, imap.processes, imap.max_sessions, imap.max_threads), (143, 1, 4000, 250));
        assert_eq!(imap.idle_timeout, Duration::from_secs(1800));
        assert_eq!((settings.auth.cache_size, settings.auth.cache_ttl.as_secs()), (10_000, 900));
        assert!(imap.enable && !imap.ssl_enable && imap.starttls);
        assert_eq!(settings.idle_obstacle(), Some(IdleObstacle::NoPlugin));
        let listeners: Vec<_> = settings.listeners().iter().map(|l| l.address.to_string()).collect();
        assert_eq!(listeners, ["0.0.0.0:143", "[::]:143"]);
    }

    #[test]
    fn own_values_arrive_in_their_types() {
        let settings = config(&[
            ("service.imap.port", "0"),
            ("service.imap.IDLETIMEOUT", "45"),
            ("service.listenaddr", "127.0.0.1, ::1"),
            ("store.flagsync", "Immediate"),
            ("store.admins", "ada grace"),
            ("store.defaultpartition", "big"),
            ("store.partition.big.path", "/big"),
            ("logfile.imap.loglevel", "debug"),
            ("service.imap.maxthreads", ""),
        ])
        .settings()
        .unwrap();
        assert_eq!(settings.imap.idle_timeout, Duration::from_secs(45 * 60));
        assert_eq!(settings.store.flag_sync, FlagSync::Immediate);
        assert_eq!(settings.store.partition, "/big");
        assert_eq!(settings.auth.admins, ["ada", "grace"]);
        assert_eq!(LevelFilter::from(settings.log.level), LevelFilter::Debug);
        assert_eq!(settings.imap.max_threads, 250, "an empty value means the default");
        let listeners: Vec<_> = settings.listeners().iter().map(|l| l.address.to_string()).collect();
        assert_eq!(listeners, ["127.0.0.1:0", "[::1]:0"]);
    }

    #[test]
    fn contradictions_are_found() {
        let certificate = [("service.imap.sslcertfile", "c.pem"), ("service.imap.sslkeyfile", "k.pem")];
        for (sets, says) in [
            (&[("service.imap.enable", "off")][..], "both off"),
            (&[("service.imap.enablesslport", "1"), ("service.imap.port", "993")], "are both 993"),
            (&certificate[..1], "sslcertfile is set without service.imap.sslkeyfile"),
            (&certificate[1..], "sslkeyfile is set without service.imap.sslcertfile"),
            (
                &[("service.imap.plaintextmincipher", "128"), ("service.imap.sslusessl", "no")],
                "nobody could log in",
            ),
            (&[("store.defaultpartition", "big")], "set store.partition.big.path"),
        ] {
            let config = config(sets);
            let found = config.findings();
            assert!(
                found.iter().any(|f| f.severity() == Severity::Error && f.to_string().contains(says)),
                "{sets:?}: {found:?}"
            );
            assert!(config.settings().is_err(), "{sets:?}");
        }
    }

    #[test]
    fn a_certificate_brings_its_port() {
        let files = [("service.imap.sslcertfile", "c.pem"), ("service.imap.sslkeyfile", "k.pem")];
        let settings = config(&files).settings().unwrap();
        let ports: Vec<_> = settings.listeners().iter().map(|l| (l.address.port(), l.tls)).collect();
        assert_eq!(ports, [(143, false), (143, false), (993, true), (993, true)]);
        let settings =
            config(&[files[0], files[1], ("service.imap.enablesslport", "no")]).settings().unwrap();
        assert!(settings.listeners().iter().all(|listener| !listener.tls));
    }

    #[test]
    fn warnings_do_not_stop_the_server() {
        for (sets, says) in [
            (&[IBIFF_ON][..], "does not end in %M"),
            (&[IBIFF_ON, KEY], "noneinbox"),
            (&[("local.store.notifyplugin", "lib/other")], "libibiff"),
            (&[("service.imap.connlimits", "127.0.0.1|32:20")], "catch-all"),
            (&[("service.imap.plaintextmincipher", "-1")], "nobody can log in with a password"),
        ] {
            let config = config(sets);
            let found = config.findings();
            assert!(found.iter().any(|f| f.to_string().contains(says)), "{sets:?}: {found:?}");
            assert!(config.settings().is_ok(), "{sets:?}");
        }
    }

    #[test]
    fn idle_needs_three_options() {
        let settings = config(&[IBIFF_ON, KEY, ALL]).settings().unwrap();
        assert_eq!(settings.idle_obstacle(), None);
    }
}
