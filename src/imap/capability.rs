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
    AfterLogin,
    /// After login, when the publisher that makes it work is loaded.
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
    row("AUTH=PLAIN", Shown::BeforeLogin, 4616),
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

/// The capability lists, made once: `CAPABILITY IMAP4rev1 …` without brackets or line end.
pub(crate) struct Capabilities {
    before_login: Box<str>,
    after_login: Box<str>,
}

impl Capabilities {
    /// `append_limit` in bytes; `idle` says whether IDLE would hear of changes.
    pub(crate) fn new(append_limit: u64, idle: bool) -> Self {
        let list = |show: &dyn Fn(Shown) -> bool| render(append_limit, show).into_boxed_str();
        Capabilities {
            before_login: list(&|shown| matches!(shown, Shown::Always | Shown::BeforeLogin)),
            after_login: list(&|shown| match shown {
                Shown::Always | Shown::AfterLogin => true,
                Shown::BeforeLogin => false,
                Shown::WithPublisher => idle,
            }),
        }
    }

    pub(crate) fn list(&self, authenticated: bool) -> &str {
        if authenticated { &self.after_login } else { &self.before_login }
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
        assert!(Capabilities::new(1, true).list(true).contains(" IDLE "));
        assert!(!Capabilities::new(1, false).list(true).contains(" IDLE "));
    }

    #[test]
    fn a_login_trades_mechanisms_for_extensions() {
        let all = Capabilities::new(4711, true);
        assert!(all.list(false).starts_with("CAPABILITY IMAP4rev1 IMAP4rev2 LITERAL+ SASL-IR AUTH=PLAIN"));
        assert!(!all.list(true).contains("AUTH="));
        assert!(all.list(true).contains(" APPENDLIMIT=4711 "));
    }

    #[test]
    fn every_row_has_its_rfc_and_stands_once() {
        for (index, row) in TABLE.iter().enumerate() {
            assert!(row.rfc >= 2177, "{}", row.name);
            assert!(TABLE[..index].iter().all(|other| other.name != row.name), "{}", row.name);
        }
    }
}
