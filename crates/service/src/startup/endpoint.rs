//! The port of the API, which a start opens before anything acts.

use std::net::SocketAddr;

use anyhow::Context;
use tokio::net::TcpListener;

use crate::config::Config;
use crate::role::Role;

/// The open port of the API, with the tokens that it admits.
pub(super) struct Endpoint<Listener = TcpListener> {
    pub(super) listener: Listener,
    pub(super) address: SocketAddr,
    pub(super) access: anomalyzer_api::Access,
}

impl Endpoint<std::net::TcpListener> {
    /// Opens the port of the API, and reads its tokens.
    pub(super) async fn open(config: &Config, role: Role) -> anyhow::Result<Self> {
        if role != Role::Both && config.kafka.is_none() {
            anyhow::bail!(
                "`serve --role` runs one half by itself, and the halves are joined by Kafka: set [kafka] brokers or \
                 KAFKA_BROKERS, or run `serve` without a role"
            );
        }
        let listen = match role.serves() {
            true => config.api.listen,
            false => config.api.engine_listen,
        };
        let listener = TcpListener::bind(listen).await.with_context(|| {
            format!("cannot listen on {listen}: is another one running? choose another address in the configuration")
        })?;
        let address = listener.local_addr()?;
        let access = anomalyzer_api::Access::load(&config.api, listen)?;
        Ok(Self {
            listener: listener.into_std()?,
            address,
            access,
        })
    }

    /// Returns another handle of the port, for one attempt to start.
    pub(super) fn try_clone(&self) -> anyhow::Result<Endpoint> {
        Ok(Endpoint {
            listener: TcpListener::from_std(self.listener.try_clone()?)?,
            address: self.address,
            access: self.access.clone(),
        })
    }
}
