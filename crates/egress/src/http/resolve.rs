//! Resolves host names for the requests of actions. The connection uses exactly the addresses that
//! were checked here. A name that resolves to an internal address only at its second lookup (DNS
//! rebinding) is therefore caught at the second lookup.

use std::error::Error;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use futures::future::BoxFuture;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::address::{Network, not_public};

/// Function that resolves a host name to its addresses.
type Lookup = Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> + Send + Sync>;

/// Error: a host name resolves to an address that requests may not reach.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{host} is at {address}, a {kind} address, where requests of actions do not go: add it to http.allow_addresses if that \
     is meant"
)]
pub(super) struct Forbidden {
    host: String,
    address: IpAddr,
    kind: &'static str,
}

impl Forbidden {
    /// Returns the [`Forbidden`] in the chain of sources of `error`, if it made the request fail.
    pub(super) fn behind(error: &reqwest::Error) -> Option<&Self> {
        let mut cause = error.source();
        while let Some(error) = cause {
            if let Some(found) = error.downcast_ref() {
                return Some(found);
            }
            cause = error.source();
        }
        None
    }
}

/// DNS resolver that returns only public addresses and those that the configuration allows.
pub(super) struct Resolver {
    allowed: Arc<[Network]>,
    lookup: Lookup,
}

impl Resolver {
    pub(super) fn new(allowed: Vec<Network>) -> Self {
        Self::with(allowed, Arc::new(|host| Box::pin(system(host))))
    }

    fn with(allowed: Vec<Network>, lookup: Lookup) -> Self {
        Self {
            allowed: allowed.into(),
            lookup,
        }
    }
}

async fn system(host: String) -> io::Result<Vec<IpAddr>> {
    Ok(tokio::net::lookup_host((host, 0))
        .await?
        .map(|address| address.ip())
        .collect())
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let host = name.as_str().to_owned();
        let (allowed, lookup) = (self.allowed.clone(), (self.lookup)(host.clone()));
        Box::pin(async move {
            let (mut good, mut bad) = (Vec::new(), None);
            for address in lookup.await? {
                match not_public(address) {
                    Some(kind) if !allowed.iter().any(|network| network.contains(address)) => {
                        bad = Some(Forbidden {
                            host: host.clone(),
                            address,
                            kind,
                        });
                    }
                    _ => good.push(SocketAddr::new(address, 0)),
                }
            }
            match (good.is_empty(), bad) {
                (true, Some(forbidden)) => Err(forbidden.into()),
                _ => Ok::<Addrs, Box<dyn Error + Send + Sync>>(Box::new(good.into_iter())),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;

    /// Resolves one name once for each of the `answers`.
    async fn answers(allowed: &[&str], answers: &[&[&str]]) -> Vec<Result<Vec<String>, String>> {
        let mut waiting: Vec<Vec<IpAddr>> = answers
            .iter()
            .map(|answer| {
                answer
                    .iter()
                    .map(|address| address.parse().unwrap())
                    .collect()
            })
            .collect();
        waiting.reverse();
        let waiting = Mutex::new(waiting);
        let lookup: Lookup = Arc::new(move |_| {
            let answer = waiting.lock().pop().unwrap();
            Box::pin(async move { Ok(answer) })
        });
        let resolver = Resolver::with(
            allowed.iter().map(|text| text.parse().unwrap()).collect(),
            lookup,
        );
        let mut seen = Vec::new();
        for _ in answers {
            let got = resolver.resolve("hooks.example.com".parse().unwrap()).await;
            seen.push(
                got.map(|all| all.map(|to| to.ip().to_string()).collect())
                    .map_err(|error| error.to_string()),
            );
        }
        seen
    }

    #[tokio::test]
    async fn a_name_that_changes_its_address_to_the_inside_is_caught_when_it_does() {
        let seen = answers(
            &[],
            &[&["1.1.1.1"], &["127.0.0.1"], &["::ffff:169.254.169.254"]],
        )
        .await;
        assert_eq!(seen[0], Ok(vec!["1.1.1.1".to_owned()]));
        let refused = seen[1].clone().unwrap_err();
        assert!(
            refused.starts_with("hooks.example.com is at 127.0.0.1, a loopback address"),
            "{refused}"
        );
        assert!(seen[2].clone().unwrap_err().contains("link-local"));
    }

    #[tokio::test]
    async fn of_several_addresses_only_the_public_ones_are_used() {
        let seen = answers(&[], &[&["10.0.0.1", "1.1.1.1", "fd00:ec2::254"]]).await;
        assert_eq!(seen, [Ok(vec!["1.1.1.1".to_owned()])]);
    }

    #[tokio::test]
    async fn an_address_that_is_allowed_is_used_and_its_neighbour_is_not() {
        let seen = answers(&["10.1.0.0/16"], &[&["10.1.2.3"], &["10.2.2.3"]]).await;
        assert_eq!(seen[0], Ok(vec!["10.1.2.3".to_owned()]));
        assert!(seen[1].is_err());
    }
}
