//! `local.serveruid`, `local.sandbox`, `local.watcher.*`, `logfile.imap.*`: privileges, supervision and the log.

use super::row;
use crate::config::name::Definition;
use crate::config::name::Refresh::{Enough, Restart};
use crate::config::value::Kind::{Account, Boolean, Choice, Integer, LogLevel, Path};

pub static OPTIONS: &[Definition] = &[
    row(
        "local.serveruid",
        Account,
        "",
        "",
        Restart,
        "User that serves when root starts the server; root then only binds ports and reads the configuration and the key. Not set: who starts it.",
    ),
    row(
        "local.sandbox",
        Choice(&["auto", "off"]),
        "auto",
        "",
        Restart,
        "Confine the processes to the paths and system calls that they need, as far as the kernel can; off for debuggers.",
    ),
    row("local.watcher.enable", Boolean, "yes", "", Restart, "Watch over the services."),
    row("local.autorestart", Boolean, "yes", "", Enough, "Restart a service that failed."),
    row(
        "local.autorestart.timeout",
        Integer { min: 1, max: 86400 },
        "600",
        "seconds",
        Enough,
        "Give up on a service that fails again and again within this time.",
    ),
    row("logfile.imap.loglevel", LogLevel, "Information", "", Enough, "How much is logged."),
    row("logfile.imap.logdir", Path, "log", "", Restart, "Directory of the log files."),
    row(
        "logfile.imap.syslogfacility",
        Choice(&[
            "none", "user", "mail", "daemon", "local0", "local1", "local2", "local3", "local4", "local5",
            "local6", "local7",
        ]),
        "none",
        "",
        Restart,
        "Facility for logging to syslog instead of a file.",
    ),
    row(
        "logfile.imap.expirytime",
        Integer { min: 0, max: 315360000 },
        "604800",
        "seconds",
        Enough,
        "Log files older than this are removed.",
    ),
    row(
        "logfile.imap.flushinterval",
        Integer { min: 1, max: 3600 },
        "60",
        "seconds",
        Enough,
        "Time between flushes of the log. This server writes every line at once.",
    ),
    row(
        "logfile.imap.maxlogfiles",
        Integer { min: 1, max: 10000 },
        "10",
        "files",
        Enough,
        "Most log files to keep.",
    ),
    row(
        "logfile.imap.maxlogfilesize",
        Integer { min: 4096, max: 9223372036854775807 },
        "2097152",
        "bytes",
        Enough,
        "Size at which a new log file is begun.",
    ),
    row(
        "logfile.imap.maxlogsize",
        Integer { min: 4096, max: 9223372036854775807 },
        "20971520",
        "bytes",
        Enough,
        "Size of all log files together.",
    ),
    row(
        "logfile.imap.minfreediskspace",
        Integer { min: 0, max: 9223372036854775807 },
        "5242880",
        "bytes",
        Enough,
        "Free space on the disk below which old log files are removed.",
    ),
    row(
        "logfile.imap.rollovertime",
        Integer { min: 60, max: 31536000 },
        "86400",
        "seconds",
        Enough,
        "Age at which a new log file is begun.",
    ),
];
