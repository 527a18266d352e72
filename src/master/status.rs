//! What the master says of itself to commands: the file `status` in `data/proc`.
//!
//! ```text
//! refreshes 2
//! refused port 143 is in use (0.0.0.0:143); …     only when the last refresh was
//! service imap 4711                               a line per process
//! ```

use std::fs;
use std::io;
use std::path::Path;

use nix::unistd::Pid;

/// Name of the file.
const STATUS: &str = "status";

/// The processes of a server, and how its last refresh went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// How many refreshes were asked for, well or not.
    pub refreshes: u64,
    /// Why the last one was refused.
    pub refusal: Option<String>,
    /// Names of services and their processes, in the order in which they were started.
    pub services: Vec<(String, Pid)>,
}

impl Status {
    /// Reads what the master of the base with this `data/proc` has said last.
    ///
    /// # Errors
    /// When there was no master yet.
    pub fn read(directory: &Path) -> io::Result<Self> {
        Ok(Status::parse(&fs::read_to_string(directory.join(STATUS))?))
    }

    pub(super) fn write(&self, directory: &Path) -> io::Result<()> {
        let (path, temporary) = (directory.join(STATUS), directory.join("status.new"));
        fs::write(&temporary, self.to_text())?;
        fs::rename(temporary, path)
    }

    /// The processes of a service.
    pub fn pids<'a>(&'a self, service: &'a str) -> impl Iterator<Item = Pid> + 'a {
        self.services.iter().filter(move |(name, _)| name == service).map(|(_, pid)| *pid)
    }

    fn to_text(&self) -> String {
        let mut text = format!("refreshes {}\n", self.refreshes);
        if let Some(refusal) = &self.refusal {
            text.push_str(&format!("refused {}\n", refusal.replace(char::is_control, " ")));
        }
        text.extend(self.services.iter().map(|(name, pid)| format!("service {name} {pid}\n")));
        text
    }

    /// Lines that are not understood are of a later version, and skipped.
    fn parse(text: &str) -> Self {
        let mut status = Status::default();
        for (key, value) in text.lines().filter_map(|line| line.split_once(' ')) {
            match key {
                "refreshes" => status.refreshes = value.parse().unwrap_or_default(),
                "refused" => status.refusal = Some(value.to_owned()),
                "service" => status.services.extend(parse_service(value)),
                _ => {}
            }
        }
        status
    }
}

fn parse_service(text: &str) -> Option<(String, Pid)> {
    let (name, pid) = text.rsplit_once(' ')?;
    let pid = pid.parse().ok().filter(|&pid: &i32| pid > 0)?;
    Some((name.to_owned(), Pid::from_raw(pid)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let directory = tempfile::tempdir().unwrap();
        assert!(Status::read(directory.path()).is_err());
        let services = [("watcher", 3), ("imap", 4), ("imap", 5)];
        let status = Status {
            refreshes: 7,
            refusal: Some("line 1:\nnonsense".into()),
            services: services.map(|(name, pid)| (name.to_owned(), Pid::from_raw(pid))).into(),
        };
        status.write(directory.path()).unwrap();
        let read = Status::read(directory.path()).unwrap();
        assert_eq!(read.refusal.as_deref(), Some("line 1: nonsense"), "a line is a line");
        assert_eq!((read.refreshes, &read.services), (7, &status.services));
        assert_eq!(read.pids("imap").map(Pid::as_raw).collect::<Vec<_>>(), [4, 5]);
    }

    #[test]
    fn nonsense_is_skipped() {
        assert_eq!(
            Status::parse("service imap\nservice imap -1\nservice imap x\nnew thing\n\n"),
            Status::default()
        );
    }
}
