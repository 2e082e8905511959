//! A TCP proxy that can be taken away and brought back.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// The proxy. It stops with the test's runtime.
pub struct Proxy {
    pub address: SocketAddr,
    up: watch::Sender<bool>,
}

impl Proxy {
    pub async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (up, watched) = watch::channel(true);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                // A connection that is dropped at once is what a client sees of a dead server.
                if *watched.borrow() {
                    tokio::spawn(relay(client, server, watched.clone()));
                }
            }
        });
        Self { address, up }
    }

    /// Ends all connections and refuses new ones, or accepts them again.
    pub fn set_up(&self, up: bool) {
        self.up.send_replace(up);
    }
}

async fn relay(mut client: TcpStream, server: SocketAddr, mut up: watch::Receiver<bool>) {
    let Ok(mut server) = TcpStream::connect(server).await else {
        return;
    };
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
        _ = up.wait_for(|up| !up) => {}
    }
}
