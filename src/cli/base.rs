//! Which base a command works on.

use std::env;
use std::path::{Path, PathBuf};

use crate::config::{Base, BaseError, DEFAULT_BASE};

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

    /// # Errors
    /// When there is no base.
    pub fn open(&self) -> Result<Base, BaseError> {
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
