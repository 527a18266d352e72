//! A certificate for those who have not configured one: nobody vouches for it, but what is sent is encrypted, and a
//! client that has seen it once can tell it from another.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use jiff::{Timestamp, Zoned};
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, date_time_ymd};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::identity::{Files, TlsError};
use super::limits::{EXPIRY_WARNING, SELF_SIGNED_YEARS};
use super::validity::Validity;
use crate::config::replace_file;

/// The certificate in this directory; makes one for these names and addresses when there is none, or when its time is
/// nearly over. The key can be read by its owner only.
///
/// # Errors
/// When the files cannot be made.
pub fn self_signed(directory: &Path, names: &[String]) -> Result<Files, TlsError> {
    let files = self_signed_files(directory);
    if !is_usable(&files) {
        make(directory, &files, names)?;
        log::info!(file = files.certificate.display().to_string(); "made a self-signed certificate, see service.imap.sslcertfile");
    }
    Ok(files)
}

/// Where the certificate in this directory is, made or not.
pub fn self_signed_files(directory: &Path) -> Files {
    Files { certificate: directory.join("server.pem"), key: directory.join("server.key") }
}

fn is_usable(files: &Files) -> bool {
    let pem = fs::read(&files.certificate).ok();
    let certificate = pem.and_then(|pem| CertificateDer::from_pem_slice(&pem).ok());
    let validity = certificate.and_then(|certificate| Validity::of(&certificate));
    let is_valid = |validity: Validity| validity.not_after > Timestamp::now() + EXPIRY_WARNING;
    files.key.exists() && validity.is_some_and(is_valid)
}

fn make(directory: &Path, files: &Files, names: &[String]) -> Result<(), TlsError> {
    let key = KeyPair::generate().map_err(TlsError::Generate)?;
    let mut params = CertificateParams::new(names).map_err(TlsError::Generate)?;
    let today = Zoned::now();
    let ymd = |years: i16| date_time_ymd(i32::from(today.year() + years), today.month() as u8, 1);
    params.not_before = ymd(0);
    params.not_after = ymd(SELF_SIGNED_YEARS);
    params.distinguished_name.remove(DnType::CommonName);
    if let Some(name) = names.first() {
        params.distinguished_name.push(DnType::CommonName, name.as_str());
    }
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let certificate = params.self_signed(&key).map_err(TlsError::Generate)?;

    let write = |path: &Path, text: String, mode| {
        let written = replace_file(path, text.as_bytes(), mode);
        written.map_err(|source| TlsError::Write { path: path.into(), source })
    };
    let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.map_err(|source| TlsError::Write { path: directory.into(), source })?;
    // The certificate last: whoever is interrupted in between begins anew.
    let _ = fs::remove_file(&files.certificate);
    write(&files.key, key.serialize_pem(), 0o600)?;
    write(&files.certificate, certificate.pem(), 0o644)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn made_once_and_again_when_it_is_of_no_use() {
        let dir = tempfile::tempdir().unwrap();
        let names = ["mx.example".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
        let make = || self_signed(&dir.path().join("tls"), &names).unwrap();
        let files = make();
        let mode = fs::metadata(&files.key).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let first = fs::read(&files.certificate).unwrap();
        make();
        assert_eq!(fs::read(&files.certificate).unwrap(), first, "kept");
        fs::write(&files.certificate, "no certificate").unwrap();
        make();
        let second = fs::read(&files.certificate).unwrap();
        assert!(second.starts_with(b"-----BEGIN") && second != first);
        fs::remove_file(&files.key).unwrap();
        make();
        assert!(files.key.exists());
    }
}
