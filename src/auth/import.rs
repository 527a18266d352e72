//! Reading users from other systems: `name:password`, `name:{SCHEME}hash`, and Dovecot's passwd-file form
//! (`name:password:uid:gid:gecos:home:shell:extra`), of which the rest is ignored.

use thiserror::Error;

use super::limits::MAX_PASSWORD;
use super::scheme::{HashError, StoredHash};
use crate::store::{UserName, UserNameError};
use crate::sys::Secret;

/// One user of an import.
#[derive(Debug)]
pub struct Import {
    pub name: UserName,
    pub password: Password,
}

/// What is known of the password.
#[derive(Debug)]
pub enum Password {
    /// In the clear: to be hashed.
    Clear(Secret),
    /// `{SCHEME}hash`, checked.
    Stored(String),
}

/// A line that cannot be imported.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("line {line}: {fault}")]
pub struct ImportError {
    pub line: usize,
    pub fault: Fault,
}

/// What is wrong with a line.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Fault {
    #[error("there is no `:` after the user name")]
    NoColon,
    #[error(transparent)]
    Name(#[from] UserNameError),
    #[error(transparent)]
    Hash(#[from] HashError),
}

/// Fields of a passwd-file line from which on the rest is taken for them, and not for a password with colons.
const PASSWD_FIELDS: usize = 5;

/// Reads all lines; empty ones and those that begin with `#` are skipped.
///
/// # Errors
/// Every line that cannot be imported.
pub fn read_import(text: &str) -> Result<Vec<Import>, Vec<ImportError>> {
    let mut imports = Vec::new();
    let mut errors = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        match read_line(line) {
            Ok(import) => imports.push(import),
            Err(fault) => errors.push(ImportError { line: index + 1, fault }),
        }
    }
    if errors.is_empty() { Ok(imports) } else { Err(errors) }
}

fn read_line(line: &str) -> Result<Import, Fault> {
    let (name, rest) = line.split_once(':').ok_or(Fault::NoColon)?;
    let name = UserName::new(name)?;
    let first = rest.split(':').next().unwrap_or(rest);
    let password = if first.starts_with('{') {
        stored(first)?
    } else if first.starts_with('$') && StoredHash::parse(&format!("{{CRYPT}}{first}")).is_ok() {
        Password::Stored(format!("{{CRYPT}}{first}"))
    } else {
        clear(if is_passwd_file(rest) { first } else { rest }.as_bytes())?
    };
    Ok(Import { name, password })
}

/// A hash as it is; a password in the clear, also one that is marked so, is to be hashed.
fn stored(text: &str) -> Result<Password, Fault> {
    let hash = StoredHash::parse(text)?;
    match hash.plain() {
        Some(password) => clear(password.expose()),
        None => Ok(Password::Stored(text.into())),
    }
}

fn clear(password: &[u8]) -> Result<Password, Fault> {
    if password.is_empty() || password.len() > MAX_PASSWORD {
        return Err(HashError::BadPassword.into());
    }
    Ok(Password::Clear(Secret::new(password.to_vec())))
}

/// Whether what follows the name is `password:uid:gid:gecos:home…`.
fn is_passwd_file(rest: &str) -> bool {
    let fields: Vec<&str> = rest.splitn(PASSWD_FIELDS, ':').collect();
    let is_id = |field: &&str| field.bytes().all(|byte| byte.is_ascii_digit());
    fields.len() == PASSWD_FIELDS && fields.iter().skip(1).take(2).all(is_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(line: &str) -> (String, String) {
        let import = read_import(line).unwrap().pop().unwrap();
        let password = match import.password {
            Password::Clear(secret) => String::from_utf8(secret.expose().to_vec()).unwrap(),
            Password::Stored(hash) => hash,
        };
        (import.name.to_string(), password)
    }

    #[test]
    fn lines_of_each_form() {
        let crypt = "$5$saltsalt$hwVhzvwT5WIoB16pRLHvO/T/5JRtdrNHlGP5KwaHE2D";
        for (line, name, password) in [
            ("ada:secret", "ada", "secret"),
            ("ada:se:cr:et", "ada", "se:cr:et"),
            ("ada: secret ", "ada", " secret "),
            ("ada@example.org:secret:1000:1000::/home/ada::userdb_mail=x", "ada@example.org", "secret"),
            ("ada:secret::::::", "ada", "secret"),
            ("ada:{PLAIN}secret:1000:1000::/home/ada", "ada", "secret"),
            ("ada:{PLAIN.b64}c2VjcmV0", "ada", "secret"),
            ("ada:$notahash", "ada", "$notahash"),
            ("ada:{SHA}BamUwd4BOl+1jAtu97w165yA/8g=::::::", "ada", "{SHA}BamUwd4BOl+1jAtu97w165yA/8g="),
            (&format!("ada:{crypt}:1000:"), "ada", &format!("{{CRYPT}}{crypt}")),
        ] {
            assert_eq!(one(line), (name.into(), password.into()), "{line}");
        }
    }

    #[test]
    fn every_bad_line_is_named() {
        let text = "# users\nada:secret\n\ngrace\n:x\nbob:\neve:{MD5}abc\nmal:{SSHA}??\n";
        let errors = read_import(text).unwrap_err();
        let lines: Vec<usize> = errors.iter().map(|error| error.line).collect();
        assert_eq!(lines, [4, 5, 6, 7, 8]);
        assert_eq!(errors[3].fault, Fault::Hash(HashError::UnknownScheme));
    }
}
