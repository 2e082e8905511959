//! Publishes collected metrics on the bus.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio_util::task::AbortOnDropHandle;

use anomalyzer_bus::{Bus, BusError};

use anomalyzer_collect::{Sink, SinkError};
use anomalyzer_common::pause_watch::PauseWatch;
use anomalyzer_domain::{MetricBatch, Topic};

/// Time for which the messages report a pause. Each signal publishes meanwhile.
const REPORT_FOR: Duration = Duration::from_secs(600);

/// A sink of the collector that publishes on `metrics-topic`. After a pause of this process, the
/// messages report it, because an engine of another process can't measure it.
pub(super) struct BusSink {
    bus: Arc<dyn Bus>,
    pauses: PauseWatch,
    _watching: AbortOnDropHandle<()>,
}

impl BusSink {
    /// Creates a sink, and begins to watch for pauses.
    pub(super) fn new(bus: Arc<dyn Bus>) -> Self {
        let pauses = PauseWatch::default();
        let watching = tokio::spawn(pauses.clone().run());
        Self {
            bus,
            pauses,
            _watching: AbortOnDropHandle::new(watching),
        }
    }
}

#[async_trait]
impl Sink for BusSink {
    async fn send(&self, batch: MetricBatch) -> Result<(), SinkError> {
        let mut record = anomalyzer_wire::metrics::encode(&batch);
        if let Some(pause) = self.pauses.latest(REPORT_FOR) {
            anomalyzer_wire::metrics::add_pause(&mut record, pause.from, pause.to);
        }
        self.bus
            .publish(Topic::Metrics, record)
            .await
            .map_err(|error| match error {
                BusError::TooLarge { .. } | BusError::Closed => {
                    SinkError::Refused(error.to_string())
                }
                _ => SinkError::Busy(error.to_string()),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anomalyzer_bus::fake::FakeBus;
    use anomalyzer_domain::{Coverage, Delivery};
    use anomalyzer_wire::AcceptedTime;

    #[tokio::test(start_paused = true)]
    async fn messages_report_a_pause_of_this_process_for_a_while() {
        let bus = Arc::new(FakeBus::default());
        let sink = BusSink::new(Arc::clone(&bus) as Arc<dyn Bus>);
        let paused = async || {
            let batch = MetricBatch {
                signal: "s".to_owned(),
                target: None,
                observed_at: 5,
                coverage: Coverage::default(),
                series: vec![],
                foreign: false,
            };
            sink.send(batch).await.unwrap();
            let delivery = Delivery {
                topic: Topic::Metrics,
                partition: 0,
                offset: 0,
                published_at: None,
                record: bus.published(Topic::Metrics).pop().unwrap(),
            };
            let believed = AcceptedTime::at(i64::MAX);
            let (head, _) = anomalyzer_wire::metrics::open(&delivery, believed).unwrap();
            head.paused.map(|(from, to)| to - from)
        };
        assert_eq!(paused().await, None);
        // The watch begins.
        tokio::time::sleep(Duration::from_secs(1)).await;
        tokio::time::advance(Duration::from_secs(60)).await;
        for _ in 0..3 {
            assert!(
                paused()
                    .await
                    .is_some_and(|ms| (59_000..62_000).contains(&ms))
            );
            tokio::time::sleep(Duration::from_secs(100)).await;
        }
        tokio::time::sleep(REPORT_FOR).await;
        assert_eq!(paused().await, None);
    }
}
