//! `heliograph` without a command: from an empty directory to a server that can be tried.

use std::cell::Cell;
use std::io::{self, Write};
use std::net::SocketAddr;

use anyhow::{Result, ensure};

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
pub fn run(place: &Place, sets: &[(String, String)], out: &mut impl Write) -> Result<()> {
    let is_new = !place.path().join("config/msg.conf").exists();
    ensure!(is_new || sets.is_empty(), "--set is for a new base: change this one with configutil");
    let password = if is_new { Some(make(place, sets)?) } else { None };
    let base = place.open_as_caller()?;
    let config = Config::load(&base)?;
    let settings = config.settings()?;
    out.flush()?;
    let (greeted, greeter) = (Cell::new(false), base.clone());
    let bound = move |addresses: &[(SocketAddr, bool)]| {
        // Refreshes come here too. Without a terminal to read it, the greeting is not missed.
        if !greeted.replace(true) {
            let out = &mut io::stdout().lock();
            let _ = greet(&greeter, &settings, addresses, password.as_deref(), out);
        }
    };
    serve::serve(&base, &config, &serve::Arguments::default(), Box::new(bound))
}

/// Makes a base with a user; returns the user's password.
fn make(place: &Place, sets: &[(String, String)]) -> Result<String> {
    let local = LOCAL.map(|(option, value)| (option.to_owned(), value.to_owned()));
    let base = init::make_base(place.path(), &[&local[..], sets].concat())?;
    let password = password::generate()?;
    let (user, hash) = (UserName::new(DEMO)?, hash_password(password.as_bytes())?);
    Users::update::<_, UserFileError>(&base.users(), |users| {
        users.set(user, hash);
        Ok(())
    })?;
    Ok(password)
}

/// Says how to connect, now that one can.
fn greet(
    base: &Base,
    settings: &Settings,
    addresses: &[(SocketAddr, bool)],
    password: Option<&str>,
    out: &mut impl Write,
) -> Result<()> {
    let address = |tls| addresses.iter().find(|(_, is_tls)| *is_tls == tls).map(|(address, _)| address);
    writeln!(out, "Message store  {}", base.root().display())?;
    if let Some(address) = address(false) {
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
    if let Some(address) = address(true) {
        let kind = if settings.imap.tls.is_none() { ", self-signed certificate" } else { "" };
        writeln!(out, "IMAP over TLS  host {}, port {}{kind}", address.ip(), address.port())?;
    }
    writeln!(out, "Stop           Ctrl-C")?;
    Ok(())
}
