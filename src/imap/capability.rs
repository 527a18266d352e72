//! Everything that the server says about itself, in one table (RFC 9051 §6.1.1, §7.2.2).

/// A row of the table.
struct Capability {
    /// As it stands on the wire; `APPENDLIMIT=` gets the limit behind it.
    name: &'static str,
    shown: Shown,
    /// Where it is described.
    #[cfg_attr(not(test), expect(dead_code, reason = "read by people and by the tests"))]
    rfc: u16,
}

/// When a capability is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    Always,
    BeforeLogin,
    /// Before login, where TLS can begin and has not.
    WithStartTls,
    /// Before login, where passwords are taken.
    WithPasswords,
    /// Before login, where they are not.
    WithoutPasswords,
    AfterLogin,
    /// When the publisher that makes it work is loaded: before login, too, since the manual has administrators look
    /// for IDLE in the greeting.
    WithPublisher,
}

const APPENDLIMIT: &str = "APPENDLIMIT=";

const fn row(name: &'static str, shown: Shown, rfc: u16) -> Capability {
    Capability { name, shown, rfc }
}

const TABLE: &[Capability] = &[
    row("IMAP4rev1", Shown::Always, 3501),
    row("IMAP4rev2", Shown::Always, 9051),
    row("LITERAL+", Shown::Always, 7888),
    row("SASL-IR", Shown::BeforeLogin, 4959),
    row("AUTH=PLAIN", Shown::WithPasswords, 4616),
    row("STARTTLS", Shown::WithStartTls, 9051),
    row("LOGINDISABLED", Shown::WithoutPasswords, 9051),
    row("ID", Shown::Always, 2971),
    row("ENABLE", Shown::Always, 5161),
    row("IDLE", Shown::WithPublisher, 2177),
    row("NAMESPACE", Shown::AfterLogin, 2342),
    row("CHILDREN", Shown::AfterLogin, 3348),
    row("UIDPLUS", Shown::AfterLogin, 4315),
    row("MULTIAPPEND", Shown::AfterLogin, 3502),
    row("UNSELECT", Shown::AfterLogin, 3691),
    row("ESEARCH", Shown::AfterLogin, 4731),
    row("SEARCHRES", Shown::AfterLogin, 5182),
    row("WITHIN", Shown::AfterLogin, 5032),
    row("SORT", Shown::AfterLogin, 5256),
    row("SORT=DISPLAY", Shown::AfterLogin, 5957),
    row("ESORT", Shown::AfterLogin, 5267),
    row("THREAD=ORDEREDSUBJECT", Shown::AfterLogin, 5256),
    row("THREAD=REFERENCES", Shown::AfterLogin, 5256),
    row("LIST-EXTENDED", Shown::AfterLogin, 5258),
    row("LIST-STATUS", Shown::AfterLogin, 5819),
    row("SPECIAL-USE", Shown::AfterLogin, 6154),
    row("CREATE-SPECIAL-USE", Shown::AfterLogin, 6154),
    row("MOVE", Shown::AfterLogin, 6851),
    row("BINARY", Shown::AfterLogin, 3516),
    row("CONDSTORE", Shown::AfterLogin, 7162),
    row("QRESYNC", Shown::AfterLogin, 7162),
    row(APPENDLIMIT, Shown::AfterLogin, 7889),
    row("OBJECTID", Shown::AfterLogin, 8474),
    row("SAVEDATE", Shown::AfterLogin, 8514),
    row("PREVIEW", Shown::AfterLogin, 8970),
    row("STATUS=SIZE", Shown::AfterLogin, 8438),
];

/// What a client can do that has not logged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stranger {
    /// TLS can begin and has not.
    pub(crate) may_start_tls: bool,
    /// Its password would be taken.
    pub(crate) may_log_in: bool,
}

/// The capability lists, made once: `CAPABILITY IMAP4rev1 …` without brackets or line end.
pub(crate) struct Capabilities {
    /// By `may_start_tls` and `may_log_in`.
    before_login: [[Box<str>; 2]; 2],
    after_login: Box<str>,
}

impl Capabilities {
    /// `append_limit` in bytes; `idle` says whether IDLE would hear of changes.
    pub(crate) fn new(append_limit: u64, idle: bool) -> Self {
        let list = |show: &dyn Fn(Shown) -> bool| render(append_limit, show).into_boxed_str();
        let before_login = |may_start_tls, may_log_in| {
            list(&|shown| match shown {
                Shown::Always | Shown::BeforeLogin => true,
                Shown::WithStartTls => may_start_tls,
                Shown::WithPasswords => may_log_in,
                Shown::WithoutPasswords => !may_log_in,
                Shown::WithPublisher => idle,
                Shown::AfterLogin => false,
            })
        };
        Capabilities {
            before_login: [false, true].map(|tls| [false, true].map(|log_in| before_login(tls, log_in))),
            after_login: list(&|shown| match shown {
                Shown::Always | Shown::AfterLogin => true,
                Shown::WithPublisher => idle,
                _ => false,
            }),
        }
    }

    pub(crate) fn before_login(&self, stranger: Stranger) -> &str {
        let [plain, with_starttls] = &self.before_login;
        let [without, with] = if stranger.may_start_tls { with_starttls } else { plain };
        if stranger.may_log_in { with } else { without }
    }

    pub(crate) fn after_login(&self) -> &str {
        &self.after_login
    }
}

fn render(append_limit: u64, show: &dyn Fn(Shown) -> bool) -> String {
    let mut list = String::from("CAPABILITY");
    for capability in TABLE.iter().filter(|row| show(row.shown)) {
        list.push(' ');
        list.push_str(capability.name);
        if capability.name == APPENDLIMIT {
            list.push_str(&append_limit.to_string());
        }
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_is_shown_only_when_it_works() {
        let stranger = Stranger { may_start_tls: false, may_log_in: true };
        for idle in [false, true] {
            let all = Capabilities::new(1, idle);
            for list in [all.before_login(stranger), all.after_login()] {
                assert_eq!(list.split(' ').any(|name| name == "IDLE"), idle, "{list}");
            }
        }
    }

    #[test]
    fn a_login_trades_mechanisms_for_extensions() {
        let all = Capabilities::new(4711, true);
        let before = all.before_login(Stranger { may_start_tls: false, may_log_in: true });
        assert_eq!(before, "CAPABILITY IMAP4rev1 IMAP4rev2 LITERAL+ SASL-IR AUTH=PLAIN ID ENABLE IDLE");
        assert!(!all.after_login().contains("AUTH="));
        assert!(all.after_login().contains(" APPENDLIMIT=4711 "));
    }

    #[test]
    fn strangers_see_what_they_can_do() {
        let all = Capabilities::new(1, true);
        for may_start_tls in [false, true] {
            for may_log_in in [false, true] {
                let list = all.before_login(Stranger { may_start_tls, may_log_in });
                assert_eq!(list.contains(" STARTTLS"), may_start_tls, "{list}");
                assert_eq!(list.contains(" AUTH=PLAIN"), may_log_in, "{list}");
                assert_eq!(list.contains(" LOGINDISABLED"), !may_log_in, "{list}");
            }
        }
    }

    #[test]
    fn every_row_has_its_rfc_and_stands_once() {
        for (index, row) in TABLE.iter().enumerate() {
            assert!(row.rfc >= 2177, "{}", row.name);
            assert!(TABLE[..index].iter().all(|other| other.name != row.name), "{}", row.name);
        }
    }
}
