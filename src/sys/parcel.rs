//! Open files that travel from the master to a child that lives already.

use std::fs::File;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use nix::cmsg_space;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, sendmsg,
    socketpair,
};

/// Files at most: the kernel's limit is 253 (unix(7)).
pub const MAX_FILES: usize = 250;

/// What is sent: texts, and open files.
#[derive(Debug)]
pub struct Parcel {
    pub texts: Vec<Vec<u8>>,
    pub files: Vec<OwnedFd>,
    /// One per file.
    pub notes: Vec<bool>,
}

/// Both ends of a way for parcels; one sends, the other receives.
pub fn parcel_line() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    Ok(socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?)
}

/// Sends texts of any length (each travels in a file of its own) and files, each with a note. Does not wait for the
/// receiver.
pub fn send_parcel<F: AsFd>(line: &OwnedFd, texts: &[&[u8]], files: &[(F, bool)]) -> io::Result<()> {
    let count = u8::try_from(texts.len()).ok().filter(|_| texts.len() + files.len() <= MAX_FILES);
    let count = count.ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, "too many sockets"))?;
    let text_files: Vec<File> = texts.iter().map(|text| in_file(text)).collect::<io::Result<_>>()?;
    let descriptors: Vec<_> = (text_files.iter().map(|file| file.as_raw_fd()))
        .chain(files.iter().map(|(file, _)| file.as_fd().as_raw_fd()))
        .collect();
    // How many of the files are texts; a message of no bytes would look like the end of the line.
    let notes: Vec<u8> = [count].into_iter().chain(files.iter().map(|&(_, note)| u8::from(note))).collect();
    let rights = [ControlMessage::ScmRights(&descriptors)];
    sendmsg::<()>(line.as_raw_fd(), &[IoSlice::new(&notes)], &rights, MsgFlags::MSG_NOSIGNAL, None)?;
    Ok(())
}

fn in_file(text: &[u8]) -> io::Result<File> {
    let mut file = File::from(memfd_create(c"refresh", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(text)?;
    Ok(file)
}

/// The next parcel; `None` when there is none now.
pub fn receive_parcel(line: &OwnedFd) -> io::Result<Option<Parcel>> {
    let mut notes = [0; MAX_FILES];
    let mut space = cmsg_space!([i32; MAX_FILES]);
    let mut parts = [IoSliceMut::new(&mut notes)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = match recvmsg::<()>(line.as_raw_fd(), &mut parts, Some(&mut space), flags) {
        Ok(message) if message.bytes > 0 => message,
        Ok(_) | Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let (mut files, count) = (Vec::new(), message.bytes);
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(descriptors) = control {
            // SAFETY: the kernel has just made these descriptors for this process; nobody else owns them.
            files.extend(descriptors.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    let text_count = usize::from(notes[0]);
    if files.len() < text_count {
        return Err(io::Error::new(ErrorKind::InvalidData, "a parcel without its texts"));
    }
    let texts = files.drain(..text_count).map(from_file).collect::<io::Result<_>>()?;
    let notes = notes.iter().take(count).skip(1).map(|&note| note != 0).collect();
    Ok(Some(Parcel { texts, files, notes }))
}

/// In a buffer that does not grow: a secret would be left behind.
fn from_file(file: OwnedFd) -> io::Result<Vec<u8>> {
    let mut file = File::from(file);
    let mut text = Vec::with_capacity(file.metadata()?.len() as usize + 1);
    file.rewind()?;
    file.read_to_end(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn text_and_sockets_arrive() {
        let (sender, receiver) = parcel_line().unwrap();
        assert!(receive_parcel(&receiver).unwrap().is_none());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let text = vec![b'x'; 1 << 20];
        send_parcel(&sender, &[&text, b"second"], &[(&listener, true)]).unwrap();
        send_parcel::<TcpListener>(&sender, &[b""], &[]).unwrap();
        let mut first = receive_parcel(&receiver).unwrap().unwrap();
        assert_eq!((first.texts, first.notes), (vec![text, b"second".to_vec()], vec![true]));
        let same = TcpListener::from(first.files.pop().unwrap());
        assert_eq!(same.local_addr().unwrap(), listener.local_addr().unwrap());
        assert_eq!(receive_parcel(&receiver).unwrap().unwrap().texts, [b""]);
        assert!(receive_parcel(&receiver).unwrap().is_none());
    }
}
