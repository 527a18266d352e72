//! Getting a password from a person or a pipe, and making one up.

use std::io::{self, BufRead, IsTerminal};

use anyhow::{Context, Result, bail, ensure};
use zeroize::Zeroizing;

use crate::auth::limits::MAX_PASSWORD;
use crate::sys::Secret;

/// Letters and digits that cannot be taken for one another; 32 of them, so that a random byte picks evenly.
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// 80 bits.
const LENGTH: usize = 16;

/// Reads a password: prompted for twice on a terminal, else the first line of standard input.
///
/// # Errors
/// When the two do not agree, or the password is empty or too long.
pub fn read() -> Result<Secret> {
    let password = if io::stdin().is_terminal() { prompt()? } else { first_line(io::stdin().lock())? };
    ensure!(!password.is_empty(), "the password is empty: give one on standard input");
    ensure!(password.len() <= MAX_PASSWORD, "the password is longer than {MAX_PASSWORD} bytes");
    Ok(Secret::new(password.to_vec()))
}

/// A new random password.
///
/// # Errors
/// When the system has no random numbers.
pub fn generate() -> Result<String> {
    let mut bytes = [0; LENGTH];
    getrandom::fill(&mut bytes).context("the system has no random numbers")?;
    Ok(bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect())
}

fn prompt() -> Result<Zeroizing<Vec<u8>>> {
    let once = Zeroizing::new(rpassword::prompt_password("Password: ")?);
    let again = Zeroizing::new(rpassword::prompt_password("Again: ")?);
    if once != again {
        bail!("the two passwords are not the same: try again");
    }
    Ok(Zeroizing::new(once.as_bytes().to_vec()))
}

fn first_line(input: impl BufRead) -> Result<Zeroizing<Vec<u8>>> {
    let mut line = Zeroizing::new(Vec::with_capacity(MAX_PASSWORD + 2));
    input.take(MAX_PASSWORD as u64 + 2).read_until(b'\n', &mut line)?;
    if line.last() == Some(&b'\n') {
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piped_password_is_the_first_line() {
        for (input, password) in [
            ("secret\nrest\n", "secret"),
            ("secret", "secret"),
            ("secret\r\n", "secret"),
            (" a b \n", " a b "),
            ("", ""),
        ] {
            assert_eq!(first_line(input.as_bytes()).unwrap().as_slice(), password.as_bytes());
        }
        assert!(first_line("x".repeat(10_000).as_bytes()).unwrap().len() <= MAX_PASSWORD + 2);
    }

    #[test]
    fn made_up_passwords_differ() {
        let (one, two) = (generate().unwrap(), generate().unwrap());
        assert_ne!(one, two);
        assert!(one.bytes().all(|byte| byte.is_ascii_alphanumeric()) && one.len() == LENGTH);
    }
}
