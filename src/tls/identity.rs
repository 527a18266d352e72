//! Certificate and key: loaded, checked, exchanged while sessions go on.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use thiserror::Error;

use super::limits::{EXPIRY_WARNING, MAX_PEM_FILE};
use super::validity::Validity;
use crate::sys::Secret;

/// The mode of a file that all users can read, write or execute.
const OTHERS: u32 = 0o007;

/// Where certificate chain and private key are, both PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// What the two files hold, to be handed to a process that may not read them.
#[derive(Clone, Debug)]
pub struct Pem {
    files: Files,
    certificate: Vec<u8>,
    key: Secret,
}

impl Pem {
    /// Reads the files.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn read(files: Files) -> Result<Self, TlsError> {
        warn_of_mode(&files.key);
        let (certificate, key) = (read(&files.certificate)?, read(&files.key)?);
        Ok(Pem::new(files, certificate, key))
    }

    /// What another process has read from these files.
    pub fn new(files: Files, certificate: Vec<u8>, key: Vec<u8>) -> Self {
        Pem { files, certificate, key: Secret::new(key) }
    }

    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    pub fn key(&self) -> &Secret {
        &self.key
    }
}

/// Why TLS cannot be offered.
#[derive(Debug, Error)]
pub enum TlsError {
    #[error("cannot read {path}: {source}; see service.imap.sslcertfile and service.imap.sslkeyfile")]
    Read { path: PathBuf, source: io::Error },
    #[error("{0} has no certificate in PEM form; see service.imap.sslcertfile")]
    NoCertificate(PathBuf),
    #[error("{path} is broken: {source}; see service.imap.sslcertfile")]
    BadCertificate { path: PathBuf, source: Error },
    #[error("{path} is broken PEM: {source}; write the file anew")]
    BadPem { path: PathBuf, source: pem::Error },
    #[error("{0} has no private key in PEM form without a password; see service.imap.sslkeyfile")]
    NoKey(PathBuf),
    #[error("the key in {path} cannot be used: {source}; RSA, ECDSA and Ed25519 keys can")]
    BadKey { path: PathBuf, source: Error },
    #[error(
        "the key in {key} does not belong to the first certificate in {certificate}; \
         see service.imap.sslkeyfile"
    )]
    Mismatch { certificate: PathBuf, key: PathBuf },
    #[error("cannot make a certificate: {0}; set service.imap.sslcertfile and service.imap.sslkeyfile")]
    Generate(#[source] rcgen::Error),
    #[error("cannot write {path}: {source}; check its owner and mode")]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot set up TLS: {0}")]
    Setup(#[source] Error),
    #[error("the system gives no random numbers: {0}")]
    Random(#[source] getrandom::Error),
}

/// What new connections are shown.
#[derive(Debug)]
pub struct Identity(ArcSwap<CertifiedKey>);

impl Identity {
    pub fn load(pem: &Pem, provider: &CryptoProvider) -> Result<Self, TlsError> {
        Ok(Identity(ArcSwap::from_pointee(load(pem, provider)?)))
    }

    pub fn reload(&self, pem: &Pem, provider: &CryptoProvider) -> Result<(), TlsError> {
        self.0.store(Arc::new(load(pem, provider)?));
        Ok(())
    }
}

impl ResolvesServerCert for Identity {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

fn load(pem: &Pem, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
    let files = &pem.files;
    let chain = certificates(&files.certificate, &pem.certificate)?;
    let key = private_key(&files.key, &pem.key)?;
    if let Some(first) = chain.first() {
        warn_of_dates(first, &files.certificate);
    }
    CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            TlsError::Mismatch { certificate: files.certificate.clone(), key: files.key.clone() }
        }
        Error::InvalidCertificate(_) => {
            TlsError::BadCertificate { path: files.certificate.clone(), source: error }
        }
        source => TlsError::BadKey { path: files.key.clone(), source },
    })
}

fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let chain = chain.map_err(|source| TlsError::BadPem { path: path.into(), source })?;
    if chain.is_empty() { Err(TlsError::NoCertificate(path.into())) } else { Ok(chain) }
}

fn private_key(path: &Path, pem: &Secret) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(pem.expose()).map_err(|error| match error {
        pem::Error::NoItemsFound => TlsError::NoKey(path.into()),
        source => TlsError::BadPem { path: path.into(), source },
    })
}

/// In a buffer that does not grow: it would leave a part of the key behind.
fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let failed = |source| TlsError::Read { path: path.into(), source };
    let file = File::open(path).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len().min(MAX_PEM_FILE);
    let mut bytes = Vec::with_capacity(length as usize + 1);
    file.take(MAX_PEM_FILE).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

fn warn_of_mode(key: &Path) {
    if key.metadata().is_ok_and(|file| file.mode() & OTHERS != 0) {
        log::warn!(file = key.display().to_string(); "every user of this machine can reach the private key: chmod o-rwx");
    }
}

/// An expired certificate is served all the same: mail that comes with a warning is better than none.
fn warn_of_dates(certificate: &[u8], path: &Path) {
    let Some(validity) = Validity::of(certificate) else { return };
    let (now, file) = (Timestamp::now(), path.display().to_string());
    let (file, until) = (file.as_str(), validity.not_after);
    if validity.not_before > now {
        log::warn!(file, from:% = validity.not_before; "the certificate is not valid yet, clients will refuse it");
    } else if until < now {
        log::error!(file, until:%; "the certificate has expired, clients will refuse it: replace it");
    } else if until.duration_since(now).unsigned_abs() < EXPIRY_WARNING {
        log::warn!(file, until:%; "the certificate expires soon: replace it");
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rustls::crypto::aws_lc_rs::default_provider;

    use super::*;
    use crate::tls::self_signed;

    fn make(dir: &Path, name: &str) -> Files {
        self_signed(&dir.join(name), &[name.to_owned()]).unwrap()
    }

    #[test]
    fn files_that_do_not_serve_say_why() {
        let dir = tempfile::tempdir().unwrap();
        let (one, other) = (make(dir.path(), "one"), make(dir.path(), "other"));
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let key_text = fs::read_to_string(&one.key).unwrap();
        let junk = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for (certificate, key, says) in [
            (dir.path().join("none"), one.key.clone(), "cannot read"),
            (one.certificate.clone(), dir.path().join("none"), "cannot read"),
            (write("empty", ""), one.key.clone(), "has no certificate"),
            (one.key.clone(), one.key.clone(), "has no certificate"),
            (write("cut", &key_text[..80]), one.key.clone(), "broken PEM"),
            (write("junk", junk), one.key.clone(), "is broken"),
            (one.certificate.clone(), one.certificate.clone(), "has no private key"),
            (one.certificate.clone(), other.key, "does not belong to"),
        ] {
            let files = Files { certificate, key };
            let error = Pem::read(files.clone()).and_then(|pem| load(&pem, &default_provider()));
            let error = error.unwrap_err().to_string();
            assert!(error.contains(says), "{files:?}: {error}");
        }
        assert!(load(&Pem::read(one).unwrap(), &default_provider()).is_ok());
    }
}
