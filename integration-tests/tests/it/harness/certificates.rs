//! Certificates, made anew in each test.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

/// Signs certificates.
#[derive(Debug)]
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate and its key, in the PEM format.
#[derive(Debug, Clone)]
pub(crate) struct Issued {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// What a server needs to speak TLS to its clients.
#[derive(Debug, Clone)]
pub(crate) struct Tls {
    /// The authority that signed the server's certificate, and those of clients where they need one.
    pub(crate) authority: String,
    /// The server's certificate, for the name or address that clients connect to, and for
    /// `localhost`. Where clients need one, the server uses it to talk to itself, and so do the
    /// programs in its container.
    pub(crate) server: Issued,
    /// Whether clients need a certificate.
    pub(crate) client_certificates: bool,
}

impl Authority {
    /// Makes an authority that nobody trusts yet.
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "a test's authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Its own certificate, for those who trust it.
    pub(crate) fn pem(&self) -> String {
        self.pem.clone()
    }

    /// Signs a certificate for a server with these names and addresses, or for a client with such a
    /// common name.
    pub(crate) fn issue(&self, common_name: &str, names: &[&str]) -> Issued {
        self.sign(common_name, names, |_| {})
    }

    /// Signs one whose time is over.
    pub(crate) fn issue_expired(&self, common_name: &str, names: &[&str]) -> Issued {
        self.sign(common_name, names, |params| {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2020, 2, 1);
        })
    }

    fn sign(
        &self,
        common_name: &str,
        names: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Issued {
        let key = KeyPair::generate().unwrap();
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        Issued { certificate, key: key.serialize_pem() }
    }
}
