//! Configuration: one option table, `config/msg.conf`, and the layout of a base directory.
//!
//! ```text
//! table ──► definition of each option: name, kind, range, default, help
//! msg.conf ─► MsgConf (lines) ─► Config (checked against the table) ─► Settings (parsed; what the server reads)
//! ```
//!
//! Everything that names an option (`configutil`, its help, the checks when a value is set, the server) reads the
//! one table. [`Settings`] holds no text that still has to be understood: whoever has one has a configuration
//! without a contradiction.

mod access;
mod atomic;
mod base;
mod filter;
mod finding;
mod layers;
mod msgconf;
mod name;
mod service_user;
mod settings;
mod table;
mod value;

pub use access::{AccessError, AccessFault, AccessList, ENS_ACCESS};
pub use atomic::{FileLock, replace_file};
pub use base::{Base, BaseError, DEFAULT_BASE, LINKS};
pub use filter::{ClientFilters, FilterError, FilterList, Service};
pub use finding::{Finding, Severity};
pub use layers::{Config, ConfigError, SetError};
pub use msgconf::{MAX_CONFIG_FILE, MsgConf};
pub use name::{Definition, Name, Refresh, UnknownOption, definitions, lookup};
pub use service_user::{OwnerError, ServiceUserError, check_mail, check_reach, hand_over, service_user};
pub use settings::{
    AuthSettings, EnsSettings, FlagSync, IdleObstacle, ImapSettings, Listener, LogSettings, NotifySettings,
    Settings, StoreSettings, TlsFiles, WatcherSettings,
};
pub use value::{BadValue, ConnLimit, Kind, Level};
