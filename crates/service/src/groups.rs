//! The replicas of the local operator's groups, as what is scraped.

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use anomalyzer_collect::{Endpoint, Groups};
use anomalyzer_operator_process::Local;

/// All groups, kept up to date until the shutdown. A replica that does not serve is asked as well:
/// that it does not answer is for the coverage to say.
pub(super) fn to_scrape(local: &Local, shutdown: &CancellationToken) -> Groups {
    let mut groups = Groups::new();
    for group in local.groups() {
        let Some(mut replicas) = local.endpoints(group) else {
            continue;
        };
        let (sender, receiver) = watch::channel(Vec::new());
        groups.insert(group.to_owned(), receiver);
        let shutdown = shutdown.clone();
        tokio::spawn(async move {
            loop {
                let endpoints = replicas.borrow_and_update().iter().map(endpoint).collect();
                sender.send_replace(endpoints);
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = sender.closed() => return,
                    changed = replicas.changed() => if changed.is_err() { return },
                }
            }
        });
    }
    groups
}

fn endpoint(replica: &anomalyzer_operator_process::Endpoint) -> Endpoint {
    Endpoint {
        replica: replica.replica.clone(),
        url: format!("http://{}", replica.address),
    }
}
