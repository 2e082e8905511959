//! Scrape targets: the replicas of the process groups.

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use anomalyzer_collect::{Endpoint, Groups};
use anomalyzer_operator_process::Local;

/// Returns the replicas of all groups, and keeps them up to date until the shutdown. A replica that
/// does not serve is scraped too, so that the coverage shows its silence.
pub(super) fn process_targets(local: &Local, shutdown: &CancellationToken) -> Groups {
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
