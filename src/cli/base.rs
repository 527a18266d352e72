//! Which base a command works on.

use std::env;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use crate::config::{Base, BaseError, DEFAULT_BASE};
use crate::sys::{self, Account};

/// Names the base for commands that are given none.
const VARIABLE: &str = "MSG_SVR_BASE";

/// Where the base is, whether it exists or not.
#[derive(Debug)]
pub struct Place(PathBuf);

impl Place {
    /// In this order: the argument, the environment, the base in whose `sbin` the program was called, the default.
    pub fn new(argument: Option<PathBuf>, called_as: &Path) -> Self {
        let variable = || env::var_os(VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from);
        let place = argument.or_else(variable).or_else(|| base_of_link(called_as));
        Place(place.unwrap_or_else(|| DEFAULT_BASE.into()))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The base, as the one who serves it: root acts as the owner of `data/proc` from then on, so that a command leaves
    /// nothing there that the server cannot read, and follows no link that it should not.
    ///
    /// # Errors
    /// When there is no base.
    pub fn open(&self) -> Result<Base, BaseError> {
        let base = self.open_as_caller()?;
        let Ok(owner) = Account::owner_of(&base.proc_dir()) else { return Ok(base) };
        if sys::is_root() && !owner.is_own() {
            let failed =
                |source: Errno| BaseError::NotReadable { path: base.proc_dir(), source: source.into() };
            owner.lower().map_err(failed)?;
        }
        Ok(base)
    }

    /// The base, for commands that start the server or change `config`, which the server does not.
    ///
    /// # Errors
    /// When there is no base.
    pub fn open_as_caller(&self) -> Result<Base, BaseError> {
        Base::open(&self.0)
    }
}

/// `/srv/mail/sbin/configutil` works on `/srv/mail`, and so does `./configutil` in that directory.
fn base_of_link(called_as: &Path) -> Option<PathBuf> {
    let directory = called_as.parent().filter(|directory| !directory.as_os_str().is_empty())?;
    let directory = directory.canonicalize().ok().filter(|directory| directory.ends_with("sbin"))?;
    let base = directory.parent()?;
    Base::open(base).is_ok().then(|| base.to_owned())
}
