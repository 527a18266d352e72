//! The engine without mail: a master, its workers, and a protocol that echoes lines.
//!
//! `echo PROC_DIR [workers=N] [threads=N] [sessions=N] [login=SECONDS] [idle=SECONDS]` prints its port and serves
//! until SIGTERM. The tests of the engine and measurements use it.

use std::collections::HashMap;
use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use heliograph::config::Settings;
use heliograph::master::{self, Listen, Plan, Tunables};
use heliograph::worker::TimeLimits;

#[path = "mod.rs"]
mod echo;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    env_logger::init();
    if let Err(error) = serve() {
        eprintln!("echo: {error}");
        std::process::exit(1);
    }
}

fn serve() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let proc_dir = PathBuf::from(arguments.next().ok_or("name the directory for sockets")?);
    let options: HashMap<String, u64> = arguments
        .filter_map(|argument| {
            let (name, value) = argument.split_once('=')?;
            Some((name.to_owned(), value.parse().ok()?))
        })
        .collect();
    let option = |name: &str, default: u64| options.get(name).copied().unwrap_or(default);
    let plan = Plan {
        base: proc_dir.clone(),
        proc_dir,
        tls: None,
        threads: option("threads", 250) as usize,
        user: None,
        bounds: None,
        start: Tunables {
            listeners: vec![Listen {
                address: ([127, 0, 0, 1], option("port", 0) as u16).into(),
                tls: false,
                option: "service.imap.port",
                is_optional: false,
            }],
            workers: option("workers", 2) as usize,
            sessions: option("sessions", 4000) as usize,
            limits: TimeLimits {
                login: Duration::from_secs(option("login", 3600)),
                idle: Duration::from_secs(option("idle", 3600)),
            },
            tls: None,
            autorestart: true,
            autorestart_window: Duration::from_secs(600),
            stopped: Vec::new(),
            settings: Arc::new(Settings::defaults()),
            text: Vec::new(),
        },
        reread: Box::new(|now| Ok(now.clone())),
        interpret: Box::new(|_| Err("an echo needs no configuration".into())),
        adopt: Box::new(|_| ()),
        protocol: Box::new(|context, _| Ok(Arc::new(echo::Echo::new(context)))),
        auth_link: Box::new(|_| Box::new(echo::auth::FakeAuth::new())),
        auth: Arc::new(|listener, _| {
            listener.accept()?;
            Ok(())
        }),
        ens: None,
        stored: None,
        reopen_logs: Box::new(|| ()),
        bound: Box::new(|addresses| println!("{}", addresses[0].0)),
    };
    println!("{:?}", master::run(&plan)?);
    Ok(())
}
