//! TLS: server and client settings from PEM files, who a client certificate names, and our own
//! small certificate authority for first installs and tests.

use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What is wrong with the TLS material.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A PEM file could not be read or has nothing of the wanted kind.
    #[error("{}: no usable {what}: {reason}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// "certificate" or "private key".
        what: &'static str,
        /// What went wrong.
        reason: String,
    },
    /// Certificate and key do not fit each other, or the material is refused by the TLS library.
    #[error("the TLS settings do not work: {0}")]
    Config(#[from] rustls::Error),
    /// The client CA cannot be used.
    #[error("the client CA cannot be used: {0}")]
    Verifier(String),
    /// No trusted root certificates on this system.
    #[error("no system root certificates found; name a CA file")]
    NoRoots,
    /// Making a certificate failed.
    #[error("cannot make the certificate: {0}")]
    Make(#[from] rcgen::Error),
    /// Not a host name or address.
    #[error("'{0}' is neither a host name nor an IP address")]
    Name(String),
    /// A file could not be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Where a server's TLS material is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFiles {
    /// Certificate chain, leaf first (PEM).
    pub cert: PathBuf,
    /// Private key (PEM).
    pub key: PathBuf,
    /// If set, clients must show a certificate signed by one of these (PEM).
    pub client_ca: Option<PathBuf>,
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// TLS 1.2 and 1.3 server settings from files.
///
/// # Errors
/// [`TlsError`] naming the file.
pub fn server_config(files: &ServerFiles) -> Result<Arc<ServerConfig>, TlsError> {
    let chain = read_certs(&files.cert)?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|e| TlsError::Pem {
        path: files.key.clone(),
        what: "private key",
        reason: e.to_string(),
    })?;
    let builder =
        ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let builder = match &files.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let roots = Arc::new(read_roots(path)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider());
            let verifier = verifier.build().map_err(|e| TlsError::Verifier(e.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    Ok(Arc::new(builder.with_single_cert(chain, key)?))
}

/// Certificate and key a client shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientFiles {
    /// Certificate chain, leaf first (PEM).
    pub cert: PathBuf,
    /// Private key (PEM).
    pub key: PathBuf,
}

/// TLS client settings that trust `ca` (PEM), or the system's roots when it is `None`. Names are
/// always verified; there is no switch to turn that off.
///
/// # Errors
/// [`TlsError`] naming the file.
pub fn client_config(
    ca: Option<&Path>,
    own: Option<&ClientFiles>,
) -> Result<Arc<ClientConfig>, TlsError> {
    let roots = match ca {
        Some(path) => read_roots(path)?,
        None => system_roots()?,
    };
    let builder =
        ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let builder = builder.with_root_certificates(roots);
    let config = match own {
        None => builder.with_no_client_auth(),
        Some(own) => {
            let key = PrivateKeyDer::from_pem_file(&own.key).map_err(|e| TlsError::Pem {
                path: own.key.clone(),
                what: "private key",
                reason: e.to_string(),
            })?;
            builder.with_client_auth_cert(read_certs(&own.cert)?, key)?
        }
    };
    Ok(Arc::new(config))
}

/// The name a client verifies the server's certificate against.
///
/// # Errors
/// [`TlsError::Name`].
pub fn server_name(host: &str) -> Result<ServerName<'static>, TlsError> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    ServerName::try_from(host.to_owned()).map_err(|_| TlsError::Name(host.to_owned()))
}

/// The identity of a verified client certificate: `cert:` and its first DNS name, else its first
/// URI name (SPIFFE). `None` when it has neither: a subject alone is not an identity.
pub fn identity(chain: &[CertificateDer<'_>]) -> Option<String> {
    let leaf = webpki::EndEntityCert::try_from(chain.first()?).ok()?;
    let name = leaf.valid_dns_names().next().or_else(|| leaf.valid_uri_names().next())?;
    Some(format!("cert:{name}"))
}

fn read_certs(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let error = |reason: String| TlsError::Pem { path: path.into(), what: "certificate", reason };
    let certs = CertificateDer::pem_file_iter(path).map_err(|e| error(e.to_string()))?;
    let certs: Result<Vec<_>, _> = certs.collect();
    let certs = certs.map_err(|e| error(e.to_string()))?;
    if certs.is_empty() {
        return Err(error("the file holds none".into()));
    }
    Ok(certs)
}

fn read_roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for cert in read_certs(path)? {
        roots.add(cert)?;
    }
    Ok(roots)
}

fn system_roots() -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    let (added, _unusable) = roots.add_parsable_certificates(found.certs);
    if added == 0 { Err(TlsError::NoRoots) } else { Ok(roots) }
}

/// A small certificate authority of our own: `alcedo certs init`, and tests.
pub struct Authority {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    /// The CA certificate (PEM), to be given to clients.
    pub cert_pem: String,
    /// The CA's private key (PEM).
    pub key_pem: String,
}

/// What a certificate may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Listening.
    Server,
    /// Connecting with a client certificate.
    Client,
}

/// A certificate with its key, both PEM.
#[derive(Clone)]
pub struct Issued {
    /// The certificate (PEM).
    pub cert_pem: String,
    /// The private key (PEM).
    pub key_pem: String,
}

/// Validity of what [`Authority`] makes: long enough not to surprise, within what TLS clients take.
const VALID_YEARS: i32 = 2;

impl Authority {
    /// A new CA called `name`, valid for ten years from the year of `now_ns` (ns since 1970).
    ///
    /// # Errors
    /// [`TlsError::Make`].
    pub fn new(name: &str, now_ns: i64) -> Result<Self, TlsError> {
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
        params.key_usages =
            vec![rcgen::KeyUsagePurpose::KeyCertSign, rcgen::KeyUsagePurpose::CrlSign];
        validity(&mut params, now_ns, 10);
        let key = rcgen::KeyPair::generate()?;
        let cert_pem = params.self_signed(&key)?.pem();
        let key_pem = key.serialize_pem();
        Ok(Self { issuer: rcgen::Issuer::new(params, key), cert_pem, key_pem })
    }

    /// A certificate for these host names and addresses.
    ///
    /// # Errors
    /// [`TlsError::Make`] when a name is not usable in a certificate.
    pub fn issue(
        &self,
        names: &[String],
        purpose: Purpose,
        now_ns: i64,
    ) -> Result<Issued, TlsError> {
        let mut params = rcgen::CertificateParams::new(names.to_vec())?;
        if let Some(name) = names.first() {
            params.distinguished_name.push(rcgen::DnType::CommonName, name.as_str());
        }
        params.extended_key_usages = vec![match purpose {
            Purpose::Server => rcgen::ExtendedKeyUsagePurpose::ServerAuth,
            Purpose::Client => rcgen::ExtendedKeyUsagePurpose::ClientAuth,
        }];
        validity(&mut params, now_ns, VALID_YEARS);
        let key = rcgen::KeyPair::generate()?;
        let cert_pem = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Issued { cert_pem, key_pem: key.serialize_pem() })
    }
}

/// Valid from the first of January of the current year, so that a slow clock does not refuse it.
fn validity(params: &mut rcgen::CertificateParams, now_ns: i64, years: i32) {
    let year = event::time::rfc3339(now_ns).get(..4).and_then(|y| y.parse().ok()).unwrap_or(2026);
    params.not_before = rcgen::date_time_ymd(year, 1, 1);
    params.not_after = rcgen::date_time_ymd(year + years + 1, 1, 1);
}

/// Writes a PEM file that only its owner can read.
///
/// # Errors
/// [`TlsError::Write`].
pub fn write_private(path: &Path, pem: &str) -> Result<(), TlsError> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let written = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut f| f.write_all(pem.as_bytes()).and_then(|()| f.sync_all()));
    written.map_err(|source| TlsError::Write { path: path.into(), source })
}
