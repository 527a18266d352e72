//! The layout of a base directory, `msg-svr-base`.
//!
//! ```text
//! msg-svr-base/
//!   sbin/ bin/ lib/                  commands and publishers
//!   config/msg.conf                  what differs from the defaults
//!   config/users                     password hashes, mode 0600
//!   config/tls/                      a self-signed certificate, made when none is configured
//!   data/store/partition/primary/    mail
//!   data/proc/                       sockets, locks and process ids of a running server
//!   log/
//! ```

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::atomic::replace_file;

/// The base that is used when nothing names another one.
pub const DEFAULT_BASE: &str = "msg-svr-base";

/// Longest path of a Unix socket, in bytes, on Linux: `sun_path` without its terminator.
const MAX_SOCKET_PATH: usize = 107;

/// Directories of a base, with their modes: mail, hashes and sockets are the service user's alone.
const LAYOUT: &[(&str, u32)] = &[
    ("sbin", 0o755),
    ("bin", 0o755),
    ("lib", 0o755),
    ("config", 0o700),
    ("data", 0o700),
    ("data/store", 0o700),
    ("data/store/partition", 0o700),
    ("data/store/partition/primary", 0o700),
    ("data/proc", 0o700),
    ("log", 0o700),
];

/// Commands that answer to their own name: links to the program, which `sbin` has.
pub const LINKS: &[&str] = &[
    "configutil",
    "counterutil",
    "enscat",
    "imsbackup",
    "imsconnutil",
    "imsrestore",
    "mboxutil",
    "reconstruct",
];

/// Scripts in `sbin`, for those who look into them.
const SCRIPTS: &[(&str, &str)] = &[
    ("start-msg", include_str!("../../contrib/msg-svr-base/sbin/start-msg")),
    ("stop-msg", include_str!("../../contrib/msg-svr-base/sbin/stop-msg")),
    ("refresh", include_str!("../../contrib/msg-svr-base/sbin/refresh")),
];

/// A base directory; its paths. The root is absolute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    root: PathBuf,
}

/// Why there is no base to work on.
#[derive(Debug, Error)]
pub enum BaseError {
    #[error("{} is not a message store: make one with `heliograph init {}`", .0.display(), .0.display())]
    Missing(PathBuf),
    #[error("{} is a message store already: name another directory, or use this one as it is", .0.display())]
    Exists(PathBuf),
    #[error("{} is not empty: name a directory that is empty or does not exist", .0.display())]
    NotEmpty(PathBuf),
    #[error(
        "{} is too long a path for the server's sockets: move the base to one of at most {} bytes",
        .0.display(), MAX_SOCKET_PATH - SOCKET_TAIL
    )]
    TooLong(PathBuf),
    #[error("cannot write to {}: {source}: check its owner and mode", path.display())]
    NotWritable { path: PathBuf, source: io::Error },
    #[error("cannot read {}: {source}: check its owner and mode", path.display())]
    NotReadable { path: PathBuf, source: io::Error },
}

/// Bytes that the longest socket name adds to the root.
const SOCKET_TAIL: usize = "/data/proc/notify.64".len();

impl Base {
    /// Makes a new base with the given text as its `msg.conf`, and an empty user file.
    ///
    /// # Errors
    /// When the directory is in use, or cannot be written.
    pub fn init(root: &Path, msg_conf: &str) -> Result<Self, BaseError> {
        let base = Base::at(root)?;
        if base.msg_conf().exists() {
            return Err(BaseError::Exists(root.into()));
        }
        make_directory(&base.root, 0o755)?;
        let mut entries = fs::read_dir(&base.root)
            .map_err(|source| BaseError::NotReadable { path: root.into(), source })?;
        if entries.next().is_some() {
            return Err(BaseError::NotEmpty(root.into()));
        }
        for (directory, mode) in LAYOUT {
            make_directory(&base.root.join(directory), *mode)?;
        }
        base.link_commands();
        for (name, text) in SCRIPTS {
            let path = base.root.join("sbin").join(name);
            replace_file(&path, text.as_bytes(), 0o755)
                .map_err(|source| BaseError::NotWritable { path, source })?;
        }
        base.write(&base.users(), "")?;
        // The last step: a directory without this file is not a base.
        base.write(&base.msg_conf(), msg_conf)?;
        Ok(base)
    }

    /// Opens a base that was made before.
    ///
    /// # Errors
    /// When there is none.
    pub fn open(root: &Path) -> Result<Self, BaseError> {
        let base = Base::at(root)?;
        match fs::metadata(base.msg_conf()) {
            Ok(_) => Ok(base),
            Err(source) if source.kind() == io::ErrorKind::PermissionDenied => {
                Err(BaseError::NotReadable { path: base.msg_conf(), source })
            }
            Err(_) => Err(BaseError::Missing(root.into())),
        }
    }

    /// Checks that the server may write where it has to, so that it fails before it has started, not after.
    ///
    /// # Errors
    /// The first directory that cannot be written.
    pub fn check_writable(&self) -> Result<(), BaseError> {
        for directory in [self.proc_dir(), self.log_dir(), self.root.join("data/store")] {
            make_directory(&directory, 0o700)?;
            let access = nix::unistd::eaccess(
                &directory,
                nix::unistd::AccessFlags::W_OK | nix::unistd::AccessFlags::X_OK,
            );
            access.map_err(|errno| BaseError::NotWritable { path: directory, source: errno.into() })?;
        }
        Ok(())
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// `config/msg.conf`.
    pub fn msg_conf(&self) -> PathBuf {
        self.root.join("config/msg.conf")
    }

    /// `config/users`, the user file.
    pub fn users(&self) -> PathBuf {
        self.root.join("config/users")
    }

    /// `config/tls`: the certificate that the server makes itself.
    pub fn tls_dir(&self) -> PathBuf {
        self.root.join("config/tls")
    }

    /// `data/proc`: sockets, locks and process ids.
    pub fn proc_dir(&self) -> PathBuf {
        self.root.join("data/proc")
    }

    /// The socket of the auth process.
    pub fn auth_socket(&self) -> PathBuf {
        self.proc_dir().join("auth")
    }

    /// `log`.
    pub fn log_dir(&self) -> PathBuf {
        self.root.join("log")
    }

    /// A path from the configuration: absolute, or relative to the base, or as the manual writes it, beginning
    /// with `msg-svr-base/`.
    pub fn resolve(&self, path: &str) -> PathBuf {
        self.root.join(path.strip_prefix("msg-svr-base/").unwrap_or(path))
    }

    fn at(root: &Path) -> Result<Self, BaseError> {
        let root = std::path::absolute(root)
            .map_err(|source| BaseError::NotReadable { path: root.into(), source })?;
        if root.as_os_str().as_bytes().len() + SOCKET_TAIL > MAX_SOCKET_PATH {
            return Err(BaseError::TooLong(root));
        }
        Ok(Base { root })
    }

    /// Links this program into `sbin`. The base works without.
    fn link_commands(&self) {
        let Ok(program) = std::env::current_exe() else { return };
        for name in ["heliograph"].iter().chain(LINKS) {
            let link = self.root.join("sbin").join(name);
            if let Err(error) = symlink(&program, &link) {
                log::warn!(path:% = link.display(), error:% = error; "cannot link the command");
            }
        }
    }

    fn write(&self, path: &Path, text: &str) -> Result<(), BaseError> {
        replace_file(path, text.as_bytes(), 0o600)
            .map_err(|source| BaseError::NotWritable { path: path.into(), source })
    }
}

fn make_directory(path: &Path, mode: u32) -> Result<(), BaseError> {
    match DirBuilder::new().mode(mode).create(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(source) => Err(BaseError::NotWritable { path: path.into(), source }),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_base_is_made_once() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("base");
        assert!(matches!(Base::open(&root), Err(BaseError::Missing(_))));
        let base = Base::init(&root, "# empty\n").unwrap();
        assert_eq!(Base::open(&root).unwrap(), base);
        base.check_writable().unwrap();
        assert!(matches!(Base::init(&root, ""), Err(BaseError::Exists(_))));
        for (directory, _) in LAYOUT {
            assert!(root.join(directory).is_dir(), "{directory}");
        }
        let mode = fs::metadata(base.users()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn other_people_s_directories_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("letter"), "dear").unwrap();
        assert!(matches!(Base::init(dir.path(), ""), Err(BaseError::NotEmpty(_))));
        let file = dir.path().join("letter");
        assert!(matches!(Base::init(&file, ""), Err(BaseError::NotWritable { .. })));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_path_too_long_for_sockets_is_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(Base::init(&dir.path().join("x".repeat(100)), ""), Err(BaseError::TooLong(_))));
    }

    #[test]
    fn paths_of_the_configuration() {
        let base = Base { root: "/srv/mail".into() };
        for (path, full) in [
            ("msg-svr-base/lib/libibiff", "/srv/mail/lib/libibiff"),
            ("data/store/partition/primary", "/srv/mail/data/store/partition/primary"),
            ("/etc/ssl/key.pem", "/etc/ssl/key.pem"),
        ] {
            assert_eq!(base.resolve(path), Path::new(full));
        }
    }
}
