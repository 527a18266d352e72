//! Where a user's files are. Names never become paths unescaped.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use super::names::UserName;

/// Longest escaped user name that is a directory name as it is; NAME_MAX is 255.
const MAX_PLAIN: usize = 200;
/// What stays of a longer one, before its hash.
const KEPT_OF_LONG: usize = 120;

/// The user's mark in file headers.
pub(super) fn user_mark(user: &UserName) -> u128 {
    xxh3_128(user.as_str().as_bytes())
}

/// The user's directory beneath a partition.
pub(super) fn user_dir(partition: &Path, user: &UserName) -> PathBuf {
    let hash = xxh3_64(user.as_str().as_bytes());
    let (low, high) = (hash & 0xff, hash >> 8 & 0xff);
    partition.join("=user").join(format!("{low:02x}")).join(format!("{high:02x}")).join(escaped(user))
}

fn escaped(user: &UserName) -> String {
    let mut name = String::from("=");
    for byte in user.as_str().bytes() {
        if byte.is_ascii_alphanumeric() || b"._-+@".contains(&byte) {
            name.push(byte.into());
        } else {
            let _ = write!(name, "%{byte:02X}");
        }
    }
    if name.len() - 1 > MAX_PLAIN {
        name.truncate(1 + KEPT_OF_LONG);
        name.push('~');
        for byte in Sha256::digest(user.as_str().as_bytes()) {
            let _ = write!(name, "{byte:02x}");
        }
    }
    name
}

/// The user whose directory has this name; `None` when it does not say so. A long name is cut: whether the user's
/// directory is really this one is for the caller to check.
pub(super) fn unescaped(name: &str) -> Option<UserName> {
    let mut rest = name.strip_prefix('=')?.as_bytes();
    let mut bytes = Vec::with_capacity(rest.len());
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        if byte == b'%' {
            let (code, behind) = rest.split_at_checked(2)?;
            bytes.push(u8::from_str_radix(std::str::from_utf8(code).ok()?, 16).ok()?);
            rest = behind;
        } else {
            bytes.push(byte);
        }
    }
    UserName::new(String::from_utf8(bytes).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leaves_its_directory() {
        for name in [
            "..",
            "../../etc",
            "a/b",
            ".",
            "%",
            "=x",
            "ü",
            "a b",
            "~root",
            &"x/".repeat(127),
            &"é".repeat(127),
        ] {
            let dir = user_dir(Path::new("/p"), &UserName::new(name).unwrap());
            assert_eq!(dir.components().count(), 6, "{dir:?}");
            let last = dir.file_name().unwrap().to_str().unwrap();
            assert!(last.starts_with('=') && last.len() <= 255, "{last}");
        }
    }

    #[test]
    fn long_names_that_begin_alike_stay_apart() {
        let [a, b] = ["a", "b"].map(|end| UserName::new("ö".repeat(120) + end).unwrap());
        assert_ne!(user_dir(Path::new("/p"), &a), user_dir(Path::new("/p"), &b));
    }
}
