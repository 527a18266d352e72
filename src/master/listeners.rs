//! The listening sockets of all workers.

use std::io::{self, ErrorKind};
use std::net::TcpListener;

use nix::errno::Errno;

use super::{Listen, ServeError};
use crate::sys;

/// A socket, and where the configuration wants it (which may leave the port to the system).
pub struct Bound {
    pub listen: Listen,
    pub socket: TcpListener,
}

/// The sockets for these addresses. What is bound already is used again, so that nothing in its backlog is lost.
///
/// # Errors
/// When one cannot be bound; then none is.
pub fn bind(wanted: &[Listen], before: &[Bound]) -> Result<Vec<Bound>, ServeError> {
    let mut bound = Vec::with_capacity(wanted.len());
    for listen in wanted {
        let known = before.iter().find(|known| is_same(&known.listen, listen));
        let socket = match known {
            Some(known) => known.socket.try_clone().map_err(|source| failed(listen, source, before))?,
            None => match sys::raised(|| sys::listen(listen.address)) {
                Ok(socket) => socket,
                Err(error) if listen.is_optional && is_unsupported(&error) => {
                    log::info!(address:% = listen.address; "not listening: the system is without this protocol");
                    continue;
                }
                Err(source) => return Err(failed(listen, source, before)),
            },
        };
        bound.push(Bound { listen: listen.clone(), socket });
    }
    Ok(bound)
}

/// Two ports that the system chooses are not the same.
fn is_same(one: &Listen, other: &Listen) -> bool {
    one.address == other.address && (one.address.port() != 0 || one.tls == other.tls)
}

fn failed(listen: &Listen, source: io::Error, before: &[Bound]) -> ServeError {
    let Listen { address, option, .. } = *listen;
    let is_own = || before.iter().any(|known| known.listen.address.port() == address.port());
    match source.kind() {
        ErrorKind::AddrInUse if is_own() => ServeError::Overlap { address, option },
        ErrorKind::AddrInUse => ServeError::PortInUse { address, option },
        ErrorKind::PermissionDenied => ServeError::PortForbidden { address, option },
        _ => ServeError::Listen { address, option, source },
    }
}

fn is_unsupported(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listen(address: &str) -> Listen {
        Listen {
            address: address.parse().unwrap(),
            tls: false,
            option: "service.imap.port",
            is_optional: false,
        }
    }

    #[test]
    fn what_stays_is_not_bound_again() {
        let first = bind(&[listen("127.0.0.1:0"), listen("127.0.0.2:0")], &[]).unwrap();
        let second = bind(&[listen("127.0.0.2:0"), listen("127.0.0.3:0")], &first).unwrap();
        let address = |bound: &Bound| bound.socket.local_addr().unwrap();
        assert_eq!(address(&second[0]), address(&first[1]));
        assert_eq!(address(&second[1]).ip().to_string(), "127.0.0.3");
    }

    #[test]
    fn two_ports_of_the_systems_choice_stay_two() {
        let wanted = [listen("127.0.0.1:0"), Listen { tls: true, ..listen("127.0.0.1:0") }];
        let first = bind(&wanted, &[]).unwrap();
        let second = bind(&wanted, &first).unwrap();
        for (one, other) in first.iter().zip(&second) {
            assert_eq!(one.socket.local_addr().unwrap(), other.socket.local_addr().unwrap());
        }
    }

    #[test]
    fn an_overlap_with_an_own_socket_needs_a_restart() {
        let first = bind(&[listen("127.0.0.1:0")], &[]).unwrap();
        let port = first[0].socket.local_addr().unwrap().port();
        let fixed = [Bound {
            listen: listen(&format!("127.0.0.1:{port}")),
            socket: first[0].socket.try_clone().unwrap(),
        }];
        let overlap = bind(&[listen(&format!("0.0.0.0:{port}"))], &fixed);
        assert!(matches!(overlap, Err(ServeError::Overlap { .. })));
        assert!(matches!(
            bind(&[listen(&format!("0.0.0.0:{port}"))], &[]),
            Err(ServeError::PortInUse { .. })
        ));
    }

    #[test]
    fn only_what_the_system_lacks_may_be_missing() {
        // An address of documentation (RFC 5737): no machine has it.
        let absent = listen("192.0.2.1:0");
        assert!(matches!(bind(std::slice::from_ref(&absent), &[]), Err(ServeError::Listen { .. })));
        assert!(bind(&[Listen { is_optional: true, ..absent }], &[]).unwrap().is_empty());
    }
}
