//! Certificates and keys of one control plane, written as PEM files.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

/// A certificate and its key.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// Certificates by which the parts of a control plane know each other.
#[derive(Debug)]
pub(crate) struct Certificates {
    /// Certificate authority, which signed all other certificates.
    pub authority: PathBuf,
    /// Certificate of the API server, for 127.0.0.1.
    pub server: Identity,
    /// Certificate of the kubelet, for the node's address.
    pub kubelet: Identity,
    /// Certificate of the administrator, who has all permissions (`O=system:masters`).
    pub admin: Identity,
    /// Private key that signs the tokens of service accounts.
    pub service_accounts_key: PathBuf,
    /// Public key that checks the tokens of service accounts.
    pub service_accounts_public: PathBuf,
}

impl Certificates {
    pub(crate) fn write(folder: &Path, node: Ipv4Addr) -> Result<Self> {
        let key = KeyPair::generate()?;
        let mut parameters = CertificateParams::default();
        parameters
            .distinguished_name
            .push(DnType::CommonName, "anomalyzer testbed");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        let authority = write(
            folder,
            "authority.pem",
            &parameters.self_signed(&key)?.pem(),
        )?;
        let issuer = Issuer::new(parameters, key);

        let serving = |name: &str, address: Ipv4Addr| {
            let mut parameters =
                CertificateParams::new(vec![address.to_string(), "localhost".to_owned()])?;
            parameters.distinguished_name.push(DnType::CommonName, name);
            parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            signed(folder, name, parameters, &issuer)
        };
        let mut admin = CertificateParams::default();
        admin
            .distinguished_name
            .push(DnType::CommonName, "testbed-admin");
        admin
            .distinguished_name
            .push(DnType::OrganizationName, "system:masters");
        admin.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let service_accounts = KeyPair::generate()?;
        Ok(Self {
            authority,
            server: serving("kube-apiserver", Ipv4Addr::LOCALHOST)?,
            kubelet: serving("kubelet", node)?,
            admin: signed(folder, "admin", admin, &issuer)?,
            service_accounts_key: write(
                folder,
                "service-accounts.key",
                &service_accounts.serialize_pem(),
            )?,
            service_accounts_public: write(
                folder,
                "service-accounts.pub",
                &service_accounts.public_key_pem(),
            )?,
        })
    }
}

fn signed(
    folder: &Path,
    name: &str,
    mut parameters: CertificateParams,
    issuer: &Issuer<'_, KeyPair>,
) -> Result<Identity> {
    let key = KeyPair::generate()?;
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.use_authority_key_identifier_extension = true;
    let certificate = write(
        folder,
        &format!("{name}.pem"),
        &parameters.signed_by(&key, issuer)?.pem(),
    )?;
    let key = write(folder, &format!("{name}.key"), &key.serialize_pem())?;
    Ok(Identity { certificate, key })
}

fn write(folder: &Path, name: &str, pem: &str) -> Result<PathBuf> {
    let path = folder.join(name);
    std::fs::write(&path, pem)?;
    Ok(path)
}
