//! Listening sockets, and `accept4` with the flags that a poller needs.

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, setsockopt, socket, sockopt,
};

/// Binds and listens: address reuse, no Nagle delay (accepted sockets inherit it), the longest backlog, and
/// IPv6 apart from IPv4, so that `0.0.0.0` and `[::]` can both be bound.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let family = if address.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
    let fd: OwnedFd = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    setsockopt(&fd, sockopt::TcpNoDelay, &true)?;
    if address.is_ipv6() {
        setsockopt(&fd, sockopt::Ipv6V6Only, &true)?;
    }
    bind(fd.as_raw_fd(), &SockaddrStorage::from(address))?;
    nix::sys::socket::listen(&fd, Backlog::MAXCONN)?;
    Ok(TcpListener::from(fd))
}

/// Has the system find out within two minutes that the other end of a silent connection is gone.
pub fn keep_alive(socket: &impl AsFd) -> io::Result<()> {
    setsockopt(socket, sockopt::KeepAlive, &true)?;
    setsockopt(socket, sockopt::TcpKeepIdle, &60)?;
    setsockopt(socket, sockopt::TcpKeepInterval, &15)?;
    setsockopt(socket, sockopt::TcpKeepCount, &4)?;
    Ok(())
}

/// Acknowledges what has arrived on a TCP connection (TCP_QUICKACK in tcp(7)). The system goes back to sending
/// acknowledgements with answers by itself.
pub fn acknowledge(socket: &impl AsFd) -> io::Result<()> {
    let (fd, on): (_, libc::c_int) = (socket.as_fd().as_raw_fd(), 1);
    let (at, length) = (std::ptr::from_ref(&on).cast(), size_of_val(&on) as libc::socklen_t);
    // SAFETY: `at` is readable for `length` bytes, and lives across the call, as the descriptor does.
    let result = unsafe { libc::setsockopt(fd, libc::IPPROTO_TCP, libc::TCP_QUICKACK, at, length) };
    Ok(Errno::result(result).map(drop)?)
}

/// Waits for a connection; the new socket does not block and is closed on exec.
pub fn accept(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let mut name = MaybeUninit::<libc::sockaddr_storage>::zeroed();
    let mut length = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    // SAFETY: `name` is writable for `length` bytes, both live across the call, the listener is open.
    let fd = unsafe {
        libc::accept4(
            listener.as_raw_fd(),
            name.as_mut_ptr().cast(),
            &mut length,
            libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC,
        )
    };
    let fd = Errno::result(fd)?;
    // SAFETY: accept4 succeeded, so `fd` is open and nobody else owns it.
    let stream = TcpStream::from(unsafe { OwnedFd::from_raw_fd(fd) });
    // SAFETY: the storage was zeroed, which is a valid value of this plain C struct whatever was filled in.
    let name = unsafe { name.assume_init() };
    Ok((stream, socket_address(&name)?))
}

fn socket_address(name: &libc::sockaddr_storage) -> io::Result<SocketAddr> {
    let pointer = std::ptr::from_ref(name);
    match i32::from(name.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says sockaddr_in; sockaddr_storage is large and aligned enough for it.
            let v4 = unsafe { &*pointer.cast::<libc::sockaddr_in>() };
            let address = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
            Ok(SocketAddrV4::new(address, u16::from_be(v4.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: the family says sockaddr_in6; sockaddr_storage is large and aligned enough for it.
            let v6 = unsafe { &*pointer.cast::<libc::sockaddr_in6>() };
            let address = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            let port = u16::from_be(v6.sin6_port);
            Ok(SocketAddrV6::new(address, port, v6.sin6_flowinfo, v6.sin6_scope_id).into())
        }
        _ => Err(io::Error::from(io::ErrorKind::InvalidData)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn accepts_both_families_on_one_port() {
        let v4 = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let port = v4.local_addr().unwrap().port();
        let mut listeners = vec![v4];
        // A machine may be without IPv6.
        listeners.extend(listen(SocketAddr::from((Ipv6Addr::LOCALHOST, port))).ok());
        for listener in listeners {
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (mut stream, remote) = accept(&listener).unwrap();
            assert_eq!(remote, client.local_addr().unwrap());
            assert!(stream.nodelay().unwrap(), "inherited from the listener");
            let error = stream.read(&mut [0]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        }
    }

    #[test]
    fn a_port_in_use_is_an_error() {
        let first = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let error = listen(first.local_addr().unwrap()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}
