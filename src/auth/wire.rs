//! How questions and answers travel on the auth socket.
//!
//! ```text
//! frame    length:u32 payload           length counts the payload; at most MAX_AUTH_FRAME
//! request  id:u64 mechanism:u8 address authorization authentication password
//! reply    id:u64 verdict:u8 name       name is what is left of the frame
//! address  4 octet*4 | 6 octet*16
//! authorization  0 | 1 text             text, password: length:u16 octets
//! ```
//!
//! Numbers are big-endian. A field that is longer than any that could be right is cut to one byte more than its
//! limit: the auth process then refuses it, with its usual delay and log line.

use std::net::IpAddr;

use thiserror::Error;
use zeroize::Zeroizing;

use super::limits::{MAX_AUTH_FRAME, MAX_IDENTITY, MAX_PASSWORD};
use super::{Mechanism, Reply, Request};
use crate::store::UserName;
use crate::sys::Secret;

/// Bytes of a frame's length field.
const HEADER: usize = 4;

/// Bytes that a request takes at most beside its texts.
const FIXED: usize = 40;

/// The other end does not speak this protocol; its connection has to be closed.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum WireError {
    #[error("frame of {0} bytes is longer than {MAX_AUTH_FRAME}")]
    TooLong(usize),
    #[error("frame ends within a field")]
    Short,
    #[error("frame has a field that is not valid")]
    Invalid,
}

/// The frame of a request, in memory that is wiped when dropped.
pub fn encode_request(id: u64, request: &Request) -> Zeroizing<Vec<u8>> {
    // Reserved at once: growing would leave a copy of the password behind.
    let texts = request.authorization.as_ref().map_or(0, String::len)
        + request.authentication.len()
        + request.password.expose().len();
    let mut frame = Zeroizing::new(Vec::with_capacity(HEADER + (FIXED + texts).min(MAX_AUTH_FRAME)));
    frame.extend_from_slice(&[0; HEADER]);
    frame.extend_from_slice(&id.to_be_bytes());
    frame.push(match request.mechanism {
        Mechanism::Login => 0,
        Mechanism::Plain => 1,
    });
    put_address(&mut frame, request.remote);
    match &request.authorization {
        None => frame.push(0),
        Some(name) => {
            frame.push(1);
            put_field(&mut frame, cut_text(name));
        }
    }
    put_field(&mut frame, cut_text(&request.authentication));
    let password = request.password.expose();
    put_field(&mut frame, &password[..password.len().min(MAX_PASSWORD + 1)]);
    finish(&mut frame, 0);
    frame
}

/// Reads the payload of a request's frame.
pub fn decode_request(payload: &[u8]) -> Result<(u64, Request), WireError> {
    let mut fields = Fields(payload);
    let id = fields.number()?;
    let mechanism = match fields.byte()? {
        0 => Mechanism::Login,
        1 => Mechanism::Plain,
        _ => return Err(WireError::Invalid),
    };
    let remote = fields.address()?;
    let authorization = match fields.byte()? {
        0 => None,
        1 => Some(fields.text()?),
        _ => return Err(WireError::Invalid),
    };
    let authentication = fields.text()?;
    let password = Secret::new(fields.field()?.to_vec());
    fields.end()?;
    Ok((id, Request { mechanism, authorization, authentication, password, remote }))
}

/// Appends the frame of a reply.
pub fn encode_reply(id: u64, reply: &Reply, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER]);
    out.extend_from_slice(&id.to_be_bytes());
    match reply {
        Reply::Granted(user) => {
            out.push(0);
            out.extend_from_slice(user.as_str().as_bytes());
        }
        Reply::Denied => out.push(1),
        Reply::Unavailable => out.push(2),
    }
    finish(out, start);
}

/// Reads the payload of a reply's frame.
pub fn decode_reply(payload: &[u8]) -> Result<(u64, Reply), WireError> {
    let mut fields = Fields(payload);
    let id = fields.number()?;
    let reply = match fields.byte()? {
        0 => Reply::Granted(fields.rest_as_user()?),
        1 => Reply::Denied,
        2 => Reply::Unavailable,
        _ => return Err(WireError::Invalid),
    };
    fields.end()?;
    Ok((id, reply))
}

/// The payload of the first frame in `bytes` and the length of the whole frame; `None` when it is not complete.
pub fn first_frame(bytes: &[u8]) -> Result<Option<(&[u8], usize)>, WireError> {
    let Some((header, rest)) = bytes.split_first_chunk::<HEADER>() else { return Ok(None) };
    let length = u32::from_be_bytes(*header) as usize;
    if length > MAX_AUTH_FRAME {
        return Err(WireError::TooLong(length));
    }
    Ok(rest.get(..length).map(|payload| (payload, HEADER + length)))
}

fn finish(frame: &mut [u8], start: usize) {
    let length = (frame.len() - start - HEADER) as u32;
    frame[start..start + HEADER].copy_from_slice(&length.to_be_bytes());
}

fn cut_text(text: &str) -> &[u8] {
    &text.as_bytes()[..text.floor_char_boundary(MAX_IDENTITY)]
}

fn put_field(frame: &mut Vec<u8>, bytes: &[u8]) {
    frame.extend_from_slice(&(bytes.len() as u16).to_be_bytes());
    frame.extend_from_slice(bytes);
}

fn put_address(frame: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(v4) => {
            frame.push(4);
            frame.extend_from_slice(&v4.octets());
        }
        IpAddr::V6(v6) => {
            frame.push(6);
            frame.extend_from_slice(&v6.octets());
        }
    }
}

/// What is still unread of a payload.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (array, rest) = self.0.split_first_chunk::<N>().ok_or(WireError::Short)?;
        self.0 = rest;
        Ok(*array)
    }

    fn byte(&mut self) -> Result<u8, WireError> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn number(&mut self) -> Result<u64, WireError> {
        self.array().map(u64::from_be_bytes)
    }

    fn address(&mut self) -> Result<IpAddr, WireError> {
        match self.byte()? {
            4 => self.array::<4>().map(IpAddr::from),
            6 => self.array::<16>().map(IpAddr::from),
            _ => Err(WireError::Invalid),
        }
    }

    fn field(&mut self) -> Result<&'a [u8], WireError> {
        let length = usize::from(self.array().map(u16::from_be_bytes)?);
        let (field, rest) = self.0.split_at_checked(length).ok_or(WireError::Short)?;
        self.0 = rest;
        Ok(field)
    }

    fn text(&mut self) -> Result<String, WireError> {
        let text = std::str::from_utf8(self.field()?).map_err(|_| WireError::Invalid)?;
        Ok(text.to_owned())
    }

    fn rest_as_user(&mut self) -> Result<UserName, WireError> {
        let text = std::str::from_utf8(std::mem::take(&mut self.0)).map_err(|_| WireError::Invalid)?;
        UserName::new(text).map_err(|_| WireError::Invalid)
    }

    fn end(&self) -> Result<(), WireError> {
        if self.0.is_empty() { Ok(()) } else { Err(WireError::Invalid) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(authorization: Option<&str>, name: &str, password: &[u8], remote: &str) -> Request {
        Request {
            mechanism: Mechanism::Plain,
            authorization: authorization.map(str::to_owned),
            authentication: name.to_owned(),
            password: Secret::new(password.to_vec()),
            remote: remote.parse().unwrap(),
        }
    }

    fn there_and_back(sent: &Request) -> Request {
        let frame = encode_request(7, sent);
        let (payload, length) = first_frame(&frame).unwrap().unwrap();
        assert_eq!(length, frame.len());
        let (id, came) = decode_request(payload).unwrap();
        assert_eq!(id, 7);
        came
    }

    #[test]
    fn requests_arrive_as_sent() {
        for sent in [
            request(None, "ada", b"secret", "192.0.2.1"),
            request(Some("grace"), "ada@example.org", b"\xff\0:", "2001:db8::1"),
            request(Some(""), "", b"", "::ffff:192.0.2.1"),
        ] {
            let came = there_and_back(&sent);
            assert_eq!(came.authorization, sent.authorization);
            assert_eq!(came.authentication, sent.authentication);
            assert_eq!(came.password, sent.password);
            assert_eq!((came.remote, came.mechanism), (sent.remote, sent.mechanism));
        }
    }

    #[test]
    fn overlong_fields_stay_too_long() {
        let long = "ü".repeat(40_000);
        let came = there_and_back(&request(Some(&long), &long, long.as_bytes(), "::1"));
        assert!(came.authentication.len() > crate::store::MAX_USER_NAME);
        assert_eq!(came.authorization.unwrap().len(), MAX_IDENTITY);
        assert_eq!(came.password.expose().len(), MAX_PASSWORD + 1);
    }

    #[test]
    fn replies_arrive_as_sent() {
        let replies = [Reply::Granted(UserName::new("ada:x%").unwrap()), Reply::Denied, Reply::Unavailable];
        let mut stream = Vec::new();
        for (id, reply) in replies.iter().enumerate() {
            encode_reply(id as u64, reply, &mut stream);
        }
        let mut rest = stream.as_slice();
        for (id, reply) in replies.iter().enumerate() {
            let (payload, length) = first_frame(rest).unwrap().unwrap();
            assert_eq!(decode_reply(payload), Ok((id as u64, reply.clone())));
            rest = &rest[length..];
        }
        assert!(rest.is_empty());
    }

    #[test]
    fn damaged_frames_are_refused() {
        let frame = encode_request(1, &request(Some("g"), "ada", b"pw", "192.0.2.1"));
        for end in 0..frame.len() {
            assert_eq!(first_frame(&frame[..end]), Ok(None), "cut at {end}");
        }
        let payload = &frame[HEADER..];
        for end in 0..payload.len() {
            assert_eq!(decode_request(&payload[..end]).unwrap_err(), WireError::Short, "cut at {end}");
        }
        assert_eq!(first_frame(&[0, 1, 0, 0]), Err(WireError::TooLong(65536)));
        assert_eq!(decode_reply(&[0, 0, 0, 0, 0, 0, 0, 1, 0]), Err(WireError::Invalid), "empty name");
        assert_eq!(decode_reply(&[0, 0, 0, 0, 0, 0, 0, 1, 9]), Err(WireError::Invalid), "unknown verdict");
        assert_eq!(decode_reply(&[0, 0, 0, 0, 0, 0, 0, 1, 1, 1]), Err(WireError::Invalid), "rest");
    }
}
