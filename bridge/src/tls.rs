//! Encryption: whom we trust, and who we are.

use std::path::{Path, PathBuf};

use async_nats::ConnectOptions;
use async_nats::rustls::pki_types::pem::PemObject;
use async_nats::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::error::ServerError;
use crate::login::{malformed, read};

const AUTHORITY: &str = "file of trusted authorities";
const CERTIFICATE: &str = "client certificate";
const KEY: &str = "client key";

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tls {
    pub(crate) required: bool,
    pub(crate) authority: Option<PathBuf>,
    pub(crate) identity: Option<(PathBuf, PathBuf)>,
}

impl Tls {
    /// Reads the files, so that an error can say which one is wrong. The client reads them again at each connection.
    pub(crate) fn check(&self) -> Result<(), ServerError> {
        if let Some(path) = &self.authority {
            has_certificate(AUTHORITY, path)?;
        }
        let Some((certificate, key)) = &self.identity else { return Ok(()) };
        has_certificate(CERTIFICATE, certificate)?;
        let text = read(KEY, key)?;
        match PrivateKeyDer::from_pem_slice(text.as_bytes()) {
            Ok(_) => Ok(()),
            Err(_) => Err(malformed(KEY, key, "a private key (PEM)", "none that can be read")),
        }
    }

    pub(crate) fn apply(&self, options: ConnectOptions) -> ConnectOptions {
        let mut options = options;
        if self.required || self.authority.is_some() || self.identity.is_some() {
            options = options.require_tls(true);
        }
        if let Some(path) = &self.authority {
            options = options.add_root_certificates(path.clone());
        }
        if let Some((certificate, key)) = &self.identity {
            options = options.add_client_certificate(certificate.clone(), key.clone());
        }
        options
    }
}

fn has_certificate(what: &'static str, path: &Path) -> Result<(), ServerError> {
    let text = read(what, path)?;
    let mut certificates = CertificateDer::pem_slice_iter(text.as_bytes());
    match certificates.next() {
        Some(Ok(_)) => Ok(()),
        Some(Err(_)) => Err(malformed(what, path, "a certificate (PEM)", "a damaged one")),
        None => Err(malformed(what, path, "a certificate (PEM)", "none")),
    }
}
