//! Stored passwords: `{SCHEME}hash`, as Dovecot and LDAP directories write them.
//!
//! | scheme | stored as |
//! |---|---|
//! | PLAIN, CLEARTEXT | the password |
//! | ARGON2ID, ARGON2I | `$argon2id$v=19$m=…,t=…,p=…$salt$hash` (RFC 9106, PHC string format) |
//! | BLF-CRYPT | `$2y$cost$…` |
//! | SHA512-CRYPT, SHA256-CRYPT | `$6$…`, `$5$…` |
//! | CRYPT | any of the `$…$` forms above |
//! | SSHA, SSHA256, SSHA512 | base64 of digest and salt |
//! | SHA, SHA1, SHA256, SHA512 | base64 or hexadecimal of the digest |
//!
//! `.b64` or `.hex` after a scheme says how the rest is encoded. A hash is data from a file: its parameters are
//! bounded before they cost anything (see [`super::limits`]).

use std::hint::black_box;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use sha_crypt::{PasswordVerifier, ShaCrypt};
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};
use thiserror::Error;

use super::limits::{
    MAX_ARGON2_MEMORY, MAX_ARGON2_WORK, MAX_BCRYPT_COST, MAX_HASH, MAX_PASSWORD, MAX_SHA_CRYPT_ROUNDS,
};
use crate::sys::Secret;

/// Bytes of salt in new hashes.
const SALT: usize = 16;

/// A stored password, understood and within its bounds.
#[derive(Debug)]
pub struct StoredHash(Form);

#[derive(Debug)]
enum Form {
    Plain(Secret),
    Argon2 { algorithm: Algorithm, version: Version, params: Params, salt: Vec<u8>, output: Vec<u8> },
    Bcrypt(String),
    ShaCrypt(String),
    Digest { kind: DigestKind, digest: Vec<u8>, salt: Vec<u8> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DigestKind {
    Sha1,
    Sha256,
    Sha512,
}

/// Why a stored password cannot be used. Never says what was stored.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum HashError {
    #[error("there is no {{SCHEME}} before the hash")]
    NoScheme,
    #[error(
        "the scheme is not known: use ARGON2ID, BLF-CRYPT, SHA512-CRYPT, SHA256-CRYPT, SSHA512, SSHA256, SSHA or PLAIN"
    )]
    UnknownScheme,
    #[error("the hash does not have the form of its scheme")]
    Malformed,
    #[error("the hash asks for too much memory or time: set the password anew")]
    TooCostly,
    #[error("the hash is longer than {MAX_HASH} bytes")]
    TooLong,
    #[error("the password is empty or longer than {MAX_PASSWORD} bytes")]
    BadPassword,
    #[error("the system has no random numbers")]
    NoRandomness,
}

/// Hashes a new password, with argon2id.
///
/// # Errors
/// When the password has no acceptable length, or the system gives no salt.
pub fn hash_password(password: &[u8]) -> Result<String, HashError> {
    if password.is_empty() || password.len() > MAX_PASSWORD {
        return Err(HashError::BadPassword);
    }
    let mut salt = [0; SALT];
    getrandom::fill(&mut salt).map_err(|_| HashError::NoRandomness)?;
    let mut output = [0; Params::DEFAULT_OUTPUT_LEN];
    let argon2 = Argon2::default();
    argon2.hash_password_into(password, &salt, &mut output).map_err(|_| HashError::TooCostly)?;
    Ok(stored(argon2.params(), &salt, &output))
}

/// A hash that takes as long to verify against as a new one, and that no password is known for: its bytes are random.
///
/// # Errors
/// When the system has no random numbers.
pub(super) fn nobodys_hash() -> Result<String, HashError> {
    let mut bytes = [0; SALT + Params::DEFAULT_OUTPUT_LEN];
    getrandom::fill(&mut bytes).map_err(|_| HashError::NoRandomness)?;
    let (salt, output) = bytes.split_at(SALT);
    Ok(stored(Argon2::default().params(), salt, output))
}

fn stored(params: &Params, salt: &[u8], output: &[u8]) -> String {
    format!(
        "{{ARGON2ID}}$argon2id$v=19$m={},t={},p={}${}${}",
        params.m_cost(),
        params.t_cost(),
        params.p_cost(),
        STANDARD_NO_PAD.encode(salt),
        STANDARD_NO_PAD.encode(output)
    )
}

impl StoredHash {
    /// Reads `{SCHEME}hash`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, HashError> {
        if text.len() > MAX_HASH {
            return Err(HashError::TooLong);
        }
        let (scheme, hash) =
            text.strip_prefix('{').and_then(|rest| rest.split_once('}')).ok_or(HashError::NoScheme)?;
        let (scheme, encoding) = split_encoding(scheme);
        let form = match scheme.to_ascii_uppercase().as_str() {
            "PLAIN" | "CLEARTEXT" => Form::Plain(Secret::new(decode_text(hash, encoding)?)),
            "ARGON2ID" => crypt_form(hash, encoding, &["$argon2id$"])?,
            "ARGON2I" => crypt_form(hash, encoding, &["$argon2i$"])?,
            "BLF-CRYPT" => crypt_form(hash, encoding, &["$2a$", "$2b$", "$2y$"])?,
            "SHA512-CRYPT" => crypt_form(hash, encoding, &["$6$"])?,
            "SHA256-CRYPT" => crypt_form(hash, encoding, &["$5$"])?,
            "CRYPT" => crypt_form(hash, encoding, &["$"])?,
            "SHA" | "SHA1" => digest_form(hash, encoding, DigestKind::Sha1, false)?,
            "SHA256" => digest_form(hash, encoding, DigestKind::Sha256, false)?,
            "SHA512" => digest_form(hash, encoding, DigestKind::Sha512, false)?,
            "SSHA" => digest_form(hash, encoding, DigestKind::Sha1, true)?,
            "SSHA256" => digest_form(hash, encoding, DigestKind::Sha256, true)?,
            "SSHA512" => digest_form(hash, encoding, DigestKind::Sha512, true)?,
            _ => return Err(HashError::UnknownScheme),
        };
        Ok(StoredHash(form))
    }

    /// The password itself, when it is stored in the clear.
    pub fn plain(&self) -> Option<&Secret> {
        match &self.0 {
            Form::Plain(password) => Some(password),
            _ => None,
        }
    }

    /// Whether this is the password. Takes the same time for every wrong one of a length.
    pub fn verify(&self, password: &[u8]) -> bool {
        if password.is_empty() || password.len() > MAX_PASSWORD {
            return false;
        }
        match &self.0 {
            // Digests have one length, so that the comparison does not tell that of the password.
            Form::Plain(stored) => same(&Sha256::digest(stored.expose()), &Sha256::digest(password)),
            Form::Argon2 { algorithm, version, params, salt, output } => {
                let mut computed = vec![0; output.len()];
                let argon2 = Argon2::new(*algorithm, *version, params.clone());
                argon2.hash_password_into(password, salt, &mut computed).is_ok() && same(output, &computed)
            }
            Form::Bcrypt(hash) => bcrypt::verify(password, hash).unwrap_or(false),
            Form::ShaCrypt(hash) => ShaCrypt::default().verify_password(password, hash.as_str()).is_ok(),
            Form::Digest { kind, digest, salt } => same(digest, &kind.digest(password, salt)),
        }
    }
}

impl DigestKind {
    fn size(self) -> usize {
        match self {
            DigestKind::Sha1 => 20,
            DigestKind::Sha256 => 32,
            DigestKind::Sha512 => 64,
        }
    }

    fn digest(self, password: &[u8], salt: &[u8]) -> Vec<u8> {
        fn of<D: Digest>(password: &[u8], salt: &[u8]) -> Vec<u8> {
            D::new().chain_update(password).chain_update(salt).finalize().to_vec()
        }
        match self {
            DigestKind::Sha1 => of::<Sha1>(password, salt),
            DigestKind::Sha256 => of::<Sha256>(password, salt),
            DigestKind::Sha512 => of::<Sha512>(password, salt),
        }
    }
}

/// How the text after the scheme is encoded, where the scheme's own form is not meant.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Own,
    Base64,
    Hex,
}

fn split_encoding(scheme: &str) -> (&str, Encoding) {
    match scheme.rsplit_once('.') {
        Some((name, end)) if end.eq_ignore_ascii_case("b64") || end.eq_ignore_ascii_case("base64") => {
            (name, Encoding::Base64)
        }
        Some((name, end)) if end.eq_ignore_ascii_case("hex") => (name, Encoding::Hex),
        _ => (scheme, Encoding::Own),
    }
}

fn decode_text(text: &str, encoding: Encoding) -> Result<Vec<u8>, HashError> {
    match encoding {
        Encoding::Own => Ok(text.as_bytes().to_vec()),
        Encoding::Base64 => {
            STANDARD_NO_PAD.decode(text.trim_end_matches('=')).map_err(|_| HashError::Malformed)
        }
        Encoding::Hex => from_hex(text).ok_or(HashError::Malformed),
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let nibble = |digit: u8| char::from(digit).to_digit(16);
    let byte = |&[high, low]: &[u8; 2]| Some((nibble(high)? << 4 | nibble(low)?) as u8);
    if rest.is_empty() { pairs.iter().map(byte).collect() } else { None }
}

/// One of the `$…$` forms, which has to begin in one of the given ways.
fn crypt_form(text: &str, encoding: Encoding, starts: &[&str]) -> Result<Form, HashError> {
    let text = String::from_utf8(decode_text(text, encoding)?).map_err(|_| HashError::Malformed)?;
    if !starts.iter().any(|start| text.starts_with(start)) {
        return Err(HashError::Malformed);
    }
    if text.starts_with("$argon2") {
        argon2_form(&text)
    } else if text.starts_with("$2") {
        bcrypt_form(text)
    } else if text.starts_with("$5$") || text.starts_with("$6$") {
        sha_crypt_form(text)
    } else {
        Err(HashError::UnknownScheme)
    }
}

fn argon2_form(text: &str) -> Result<Form, HashError> {
    let hash = PasswordHash::new(text).map_err(|_| HashError::Malformed)?;
    let algorithm = match hash.algorithm.as_str() {
        "argon2id" => Algorithm::Argon2id,
        "argon2i" => Algorithm::Argon2i,
        _ => return Err(HashError::UnknownScheme),
    };
    // The first version of the format had no field for it.
    let version = match hash.version.unwrap_or(0x10) {
        0x10 => Version::V0x10,
        0x13 => Version::V0x13,
        _ => return Err(HashError::Malformed),
    };
    let params = Params::try_from(&hash).map_err(|_| HashError::Malformed)?;
    let work = u64::from(params.m_cost()) * u64::from(params.t_cost());
    if params.m_cost() > MAX_ARGON2_MEMORY || work > MAX_ARGON2_WORK {
        return Err(HashError::TooCostly);
    }
    let (Some(salt), Some(output)) = (&hash.salt, &hash.hash) else { return Err(HashError::Malformed) };
    let (salt, output) = (salt.to_vec(), output.as_bytes().to_vec());
    Ok(Form::Argon2 { algorithm, version, params, salt, output })
}

fn bcrypt_form(text: String) -> Result<Form, HashError> {
    let parts: bcrypt::HashParts = text.parse().map_err(|_| HashError::Malformed)?;
    match parts.get_cost() {
        0..4 => Err(HashError::Malformed),
        4..=MAX_BCRYPT_COST => Ok(Form::Bcrypt(text)),
        _ => Err(HashError::TooCostly),
    }
}

fn sha_crypt_form(text: String) -> Result<Form, HashError> {
    let mut fields = text.split('$').skip(2);
    let mut field = fields.next();
    if let Some(rounds) = field.and_then(|field| field.strip_prefix("rounds=")) {
        match rounds.parse() {
            Ok(1000..=MAX_SHA_CRYPT_ROUNDS) => field = fields.next(),
            Ok(rounds) if rounds > MAX_SHA_CRYPT_ROUNDS => return Err(HashError::TooCostly),
            _ => return Err(HashError::Malformed),
        }
    }
    let hash_length = if text.starts_with("$6$") { 86 } else { 43 };
    let is_whole = field.is_some() && fields.next().is_some_and(|hash| hash.len() == hash_length);
    if is_whole && fields.next().is_none() { Ok(Form::ShaCrypt(text)) } else { Err(HashError::Malformed) }
}

fn digest_form(text: &str, encoding: Encoding, kind: DigestKind, salted: bool) -> Result<Form, HashError> {
    let is_hex = encoding == Encoding::Own && !salted && text.len() == 2 * kind.size();
    let mut digest = match encoding {
        Encoding::Own if is_hex => decode_text(text, Encoding::Hex)?,
        Encoding::Own => decode_text(text, Encoding::Base64)?,
        other => decode_text(text, other)?,
    };
    if digest.len() < kind.size() || (!salted && digest.len() > kind.size()) {
        return Err(HashError::Malformed);
    }
    let salt = digest.split_off(kind.size());
    Ok(Form::Digest { kind, digest, salt })
}

/// Compares in a time that depends on the lengths alone.
fn same(a: &[u8], b: &[u8]) -> bool {
    let differing = a.iter().zip(b).fold(0, |bits, (x, y)| black_box(bits | (x ^ y)));
    a.len() == b.len() && black_box(differing) == 0
}

#[cfg(test)]
#[path = "scheme_tests.rs"]
mod tests;
