//! The cryptography of TLS.

/// Makes ring the provider of this process, unless another one was chosen before.
pub fn choose_provider() {
    // An error means that the process has a provider already.
    let _chosen = rustls::crypto::ring::default_provider().install_default();
}
