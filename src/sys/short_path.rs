//! Paths of Unix sockets that fit: `sockaddr_un` has room for 107 bytes, a base may be anywhere.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

/// A directory held open, through which its sockets have short paths. They are valid in this process and in the
/// children that it forks, as long as this lives.
pub struct SocketDirectory {
    directory: File,
}

impl SocketDirectory {
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(SocketDirectory { directory: File::open(path)? })
    }

    /// The path of a socket in the directory, for `bind` and `connect`.
    pub fn path(&self, name: &str) -> PathBuf {
        Path::new("/proc/self/fd").join(self.directory.as_raw_fd().to_string()).join(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::{UnixListener, UnixStream};

    #[test]
    fn a_deep_directory_has_sockets_too() {
        let root = tempfile::tempdir().unwrap();
        let deep = root.path().join("d".repeat(100)).join("e".repeat(100));
        std::fs::create_dir_all(&deep).unwrap();
        let directory = SocketDirectory::open(&deep).unwrap();
        let _listener = UnixListener::bind(directory.path("auth")).unwrap();
        assert!(deep.join("auth").exists());
        UnixStream::connect(directory.path("auth")).unwrap();
    }
}
