//! Verification of the record while the service runs: at the start and periodically after it.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::chains::Anchor;
use super::verification::{AuditConfig, OnMismatch, Verification};
use super::{History, HistoryError, HistoryReader, Walked};
use anomalyzer_domain::{Clock, UnixMs};

/// Longest time between two verifications.
const MAX_INTERVAL: Duration = Duration::from_secs(3600);
/// Share of the time that verifications may take, as a divisor.
const TIME_SHARE: u32 = 100;

impl History {
    /// Returns the result of the last verification.
    pub fn verification(&self) -> Verification {
        self.integrity.last()
    }

    /// Returns the reason why nothing may be changed, if the record differs from its events.
    pub fn mismatch(&self) -> Option<String> {
        let last = self.integrity.last();
        last.mismatch.filter(|_| last.stops)
    }

    /// Announces that [`verify`] will run, so that [`History::verified_once`] waits for it.
    pub fn expect_verification(&self) {
        self.integrity.expect();
    }

    /// Waits until the record was verified for the first time. Returns at once if nobody verifies
    /// it.
    pub async fn verified_once(&self) {
        self.integrity.verified_once().await;
    }

    /// Verifies the record once.
    pub async fn verify_once(&self, config: &AuditConfig, now: UnixMs) -> Verification {
        let began = Instant::now();
        let walked = walk(self.path(), self.heads.known()).await;
        let mut result = Verification {
            at: Some(now),
            took: began.elapsed(),
            ..Verification::default()
        };
        match walked {
            Ok(walked) => {
                result.events = walked.iter().map(|walked| walked.events).sum();
                result.mismatch = walked.iter().find_map(Walked::problem);
                result.mismatch = result.mismatch.as_deref().map(with_remedy);
                result.stops = config.on_mismatch == OnMismatch::Stop;
                if result.mismatch.is_none() {
                    let heads = walked.iter().filter(|walked| walked.events > 0);
                    let heads = heads.map(Walked::head).collect();
                    if let Err(error) = self.heads.write(heads) {
                        tracing::debug!(%error, "cannot write the heads of the chains");
                    }
                }
            }
            Err(error) => {
                // The last mismatch still holds.
                let last = self.integrity.last();
                result.mismatch = last.mismatch;
                result.stops = last.stops;
                result.error = Some(error.to_string());
            }
        }
        self.integrity.set(result.clone());
        result
    }
}

impl Walked {
    /// Returns the last valid event, to be anchored.
    pub fn head(&self) -> Anchor {
        Anchor {
            chain: self.chain,
            seq: self.events,
            hash: self.hash.clone(),
        }
    }
}

/// Walks the chains through a connection of its own, so that a long walk delays no other reader.
async fn walk(path: &std::path::Path, anchors: &[Anchor]) -> Result<[Walked; 4], HistoryError> {
    let reader = HistoryReader::open(path).await?;
    let walked = reader.audit(anchors).await;
    reader.close().await;
    walked
}

fn with_remedy(mismatch: &str) -> String {
    format!(
        "{mismatch}; see `anomalyzer audit verify`, then restore a copy, or make the tables anew from the events with \
         `anomalyzer audit rebuild`; if you replaced the history yourself, delete {} beside it and restart",
        super::heads::HEADS_FILE_NAME
    )
}

/// Verifies the record at once and then periodically, until `shutdown` is cancelled.
pub async fn verify(
    config: AuditConfig,
    history: History,
    clock: Clock,
    shutdown: CancellationToken,
) -> Result<(), Infallible> {
    loop {
        let result = history.verify_once(&config, clock()).await;
        if let Some(error) = &result.error {
            tracing::warn!(error, "cannot verify the record; retrying");
        }
        let pause = (result.took * TIME_SHARE)
            .min(MAX_INTERVAL)
            .max(config.verify_every);
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = tokio::time::sleep(pause.max(Duration::from_secs(1))) => {}
        }
    }
}
