//! How TLS is spoken, with a provider that is named here and nobody else's default.

use std::sync::Arc;

use libkv_core::{ClientIdentity, Error, ErrorKind, PemSource, Result, TlsConfig};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::error::CONSUL;

/// Prepares TLS. Without a configuration it is prepared too, and trusts nobody: the HTTP client
/// would otherwise ask for the program's own provider, which may not be there.
pub(crate) async fn client_config(tls: Option<&TlsConfig>) -> Result<ClientConfig> {
    let roots = match tls {
        Some(TlsConfig { ca: Some(ca), .. }) => authorities(ca).await?,
        Some(_) => machine_authorities().await?,
        None => RootCertStore::empty(),
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| invalid("TLS cannot be spoken").with_source(error))?
        .with_root_certificates(roots);
    match tls.and_then(|tls| tls.client.as_ref()) {
        Some(client) => {
            let (chain, key) = identity(client).await?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| invalid("cert and key cannot be used together").with_source(error))
        }
        None => Ok(builder.with_no_client_auth()),
    }
}

async fn authorities(ca: &PemSource) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca, "ca").await? {
        roots.add(certificate).map_err(|error| {
            invalid("ca holds a certificate that cannot be used").with_source(error)
        })?;
    }
    Ok(roots)
}

/// The authorities that this machine trusts.
async fn machine_authorities() -> Result<RootCertStore> {
    let loading = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs).await;
    let loaded = loading
        .map_err(|error| invalid("the machine's authorities cannot be read").with_source(error))?;
    let mut roots = RootCertStore::empty();
    // Machines carry certificates that nobody understands any more.
    roots.add_parsable_certificates(loaded.certs);
    if roots.is_empty() {
        return Err(invalid("this machine has no authorities to trust; give a ca"));
    }
    Ok(roots)
}

async fn identity(
    client: &ClientIdentity,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
    let chain = certificates(&client.cert, "cert").await?;
    let (pem, place) = read(&client.key, "key").await?;
    // What is wrong with a key is not told: it would be near the key.
    let key = PrivateKeyDer::from_pem_slice(&pem)
        .map_err(|_| invalid(format!("{place} holds no private key in PEM form")))?;
    Ok((chain, key))
}

async fn certificates(pem: &PemSource, what: &str) -> Result<Vec<CertificateDer<'static>>> {
    let (pem, place) = read(pem, what).await?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|error| invalid(format!("{place} is no PEM text")).with_source(error))?;
    match certificates.is_empty() {
        true => Err(invalid(format!("{place} holds no certificate in PEM form"))),
        false => Ok(certificates),
    }
}

async fn read(pem: &PemSource, what: &str) -> Result<(Vec<u8>, String)> {
    match pem {
        PemSource::Bytes(pem) => Ok((pem.to_vec(), what.to_owned())),
        PemSource::File(path) => {
            let place = format!("{what}={}", path.display());
            let read = tokio::fs::read(path).await;
            let pem =
                read.map_err(|e| invalid(format!("{place} cannot be read")).with_source(e))?;
            Ok((pem, place))
        }
        other => Err(invalid(format!("{what}: {other:?} cannot be read"))),
    }
}

fn invalid(detail: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidConfig, CONSUL, "open").with_detail(detail)
}
