//! `heliograph` without a command: from an empty directory to a server that can be tried.

use std::io::Write;

use anyhow::Result;

use super::base::Place;
use super::{init, password, serve};
use crate::auth::{UserFileError, Users, hash_password};
use crate::config::{Base, Config, Settings};
use crate::store::UserName;

/// The user of a new base.
const DEMO: &str = "demo";

/// What a new base sets: only this machine can connect, and no privilege is needed.
const LOCAL: [(&str, &str); 4] = [
    ("service.listenaddr", "127.0.0.1"),
    ("service.imap.port", "1143"),
    ("service.imap.enablesslport", "yes"),
    ("service.imap.sslport", "1993"),
];

/// Makes a base when there is none, says how to connect, and serves.
///
/// # Errors
/// When the base cannot be made or used, or the server cannot start.
pub fn run(place: &Place, out: &mut impl Write) -> Result<()> {
    let is_new = !place.path().join("config/msg.conf").exists();
    let password = if is_new { Some(make(place)?) } else { None };
    let base = place.open()?;
    let config = Config::load(&base)?;
    greet(&base, &config.settings()?, password.as_deref(), out)?;
    out.flush()?;
    serve::serve(&base, &config, false)
}

/// Makes a base with a user; returns the user's password.
fn make(place: &Place) -> Result<String> {
    let base = init::make_base(place.path(), &LOCAL.map(|(option, value)| (option.into(), value.into())))?;
    let password = password::generate()?;
    let (user, hash) = (UserName::new(DEMO)?, hash_password(password.as_bytes())?);
    Users::update::<_, UserFileError>(&base.users(), |users| {
        users.set(user, hash);
        Ok(())
    })?;
    Ok(password)
}

fn greet(base: &Base, settings: &Settings, password: Option<&str>, out: &mut impl Write) -> Result<()> {
    writeln!(out, "Message store  {}", base.root().display())?;
    let plain = settings.listeners().into_iter().find(|listener| !listener.tls);
    if let Some(address) = plain.map(|listener| listener.address) {
        writeln!(out, "IMAP           host {}, port {}", address.ip(), address.port())?;
        if let Some(password) = password {
            writeln!(out, "User           {DEMO}")?;
            writeln!(out, "Password       {password}    (shown only now)")?;
            writeln!(out, "Try            curl --user {DEMO}:{password} imap://{address}/INBOX")?;
        } else if Users::load(&base.users())?.contains(&UserName::new(DEMO)?) {
            writeln!(out, "User           {DEMO}")?;
            let program = base.root().join("sbin/heliograph");
            let program = program.display();
            writeln!(
                out,
                "Password       shown at the first start; a new one: {program} user passwd {DEMO}"
            )?;
            writeln!(out, "Try            curl --user {DEMO} imap://{address}/INBOX")?;
        }
    }
    if let Some(address) = settings.listeners().into_iter().find(|listener| listener.tls).map(|l| l.address) {
        let kind = if settings.imap.tls.is_none() { ", self-signed certificate" } else { "" };
        writeln!(out, "IMAP over TLS  host {}, port {}{kind}", address.ip(), address.port())?;
    }
    writeln!(out, "Stop           Ctrl-C")?;
    Ok(())
}
