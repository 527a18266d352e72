//! What can go wrong with a backup.

use std::io;

use thiserror::Error;

use crate::store;

/// A backup cannot be written, read or brought back.
#[derive(Debug, Error)]
pub enum BackupError {
    #[error("cannot read the backup: {0}")]
    Read(#[source] io::Error),
    #[error("cannot write the backup: {0}")]
    Write(#[source] io::Error),
    #[error("this is not a backup: it does not begin as one does")]
    Foreign,
    #[error("the backup was written by a newer version ({0}) of this program, which must be used to read it")]
    Newer(u16),
    #[error("the backup ends too early, at byte {0}: it was cut short, or its writer did not finish")]
    Cut(u64),
    #[error("the backup is damaged at byte {offset}: {problem}")]
    Damaged { offset: u64, problem: &'static str },
    #[error(
        "backup {given} continues {predecessor:032x}, and not the one before it: give the chain in its order"
    )]
    Chain { given: String, predecessor: u128 },
    #[error(transparent)]
    Store(#[from] store::Error),
}

pub(super) type Result<T, E = BackupError> = std::result::Result<T, E>;
