//! Which cryptography TLS uses.

/// Makes ring the provider of this process, unless another has been chosen before.
pub fn choose_provider() {
    // An error says that there is one already, which is as good.
    let _chosen = rustls::crypto::ring::default_provider().install_default();
}
