//! Signals that look like trouble: a counter that falls by one, memory that grows after a start, a
//! query that looks back further than the verification.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anomalyzer_domain::{VerificationOutcome, solutions};
use parking_lot::Mutex;

use crate::app::App;
use crate::scale::{SLACK, minutes, scale, seconds, text};
use crate::service::{INTERVAL, Running, guard};
use crate::wait::until;

const ZSCORE: &str =
    "{ name = 'zscore', settings = { spike = 8.0, drop = 1000.0, clear_samples = 2 } }";

/// Starts a service that scrapes `app` for one signal of a process group. The test decides what a
/// restart of the group changes.
async fn watching(app: &App, meaning: &str, source: &str, detectors: &str) -> Running {
    let more = format!(
        "{}[collect]\ninterval = {}\n[[collect.scrape]]\njob = 'app'\ntargets = {{ urls = ['http://{}/metrics'] }}\n\
         [local.groups.web]\ncommand = ['sleep', '7200']\nfirst_port = 9\nstop_timeout = '1s'\n\
         [[signal]]\nname = 'watched'\nmeaning = '{meaning}'\ntarget = {{ kind = 'Process', name = 'web' }}\n\
         source = {source}\ndetectors = [{detectors}]\n",
        guard("auto"),
        text(INTERVAL),
        app.address,
    );
    Running::start(tempfile::tempdir().unwrap(), &more).await
}

/// A counter that grows by about `step` at each scrape.
#[derive(Clone, Copy)]
struct Counter {
    value: i64,
    step: i64,
}

impl Counter {
    fn scrape(&mut self) -> i64 {
        // A step below 0 happens once.
        let step = self.step;
        self.step = self.step.abs().max(2);
        self.value += if step < 0 {
            step
        } else {
            fastrand::i64(step * 9 / 10..=step * 11 / 10)
        };
        self.value
    }
}

pub async fn a_counter_that_falls_by_one_is_no_anomaly() {
    let counter = Arc::new(Mutex::new(Counter {
        value: 10_000_000,
        step: 200,
    }));
    let scraped = Arc::clone(&counter);
    let app = App::start(move || {
        format!(
            "# TYPE requests_total counter\nrequests_total {}\n",
            scraped.lock().scrape()
        )
    })
    .await;
    let rate = format!(
        "{{ rate = {{ of = 'requests_total', window = {} }} }}",
        text(60)
    );
    let running = watching(&app, "traffic", &rate, ZSCORE).await;
    running.seen(60).await;
    for _ in 0..3 {
        let fell = {
            let mut counter = counter.lock();
            counter.step = -1;
            counter.value
        };
        until("it is scraped", SLACK, async || {
            (counter.lock().value < fell).then_some(())
        })
        .await;
        counter.lock().step = 200;
        tokio::time::sleep(minutes(1)).await;
        assert_eq!(running.incidents().await, [], "the counter fell by one");
    }
    counter.lock().step = 2_000;
    until("a surge is seen", minutes(10) + SLACK, async || {
        (!running.incidents().await.is_empty()).then_some(())
    })
    .await;
}

pub async fn growth_after_a_start_is_no_leak() {
    const MIB: f64 = 1_048_576.0;
    let started = Arc::new(Mutex::new(None::<Instant>));
    let scraped = Arc::clone(&started);
    let app = App::start(move || {
        // The application has not started yet.
        let Some(started) = *scraped.lock() else {
            return String::new();
        };
        let grown = started.elapsed().as_secs_f64() / minutes(15).as_secs_f64();
        let bytes = (100.0 + 200.0 * grown.min(1.0) + fastrand::f64()) * MIB;
        format!(
            "# TYPE process_resident_memory_bytes gauge\nprocess_resident_memory_bytes {bytes}\n"
        )
    })
    .await;
    let hour = 3600.0 / f64::from(scale());
    let detectors = format!(
        "{{ name = 'forecast-breach', settings = {{ limit = 536870912, horizon_seconds = {hour:?}, window_seconds = {hour:?} }} }}, \
         {{ name = 'novelty' }}"
    );
    let gauge = "{ gauge = { of = 'process_resident_memory_bytes' } }";
    let running = watching(&app, "memory", gauge, &detectors).await;
    for _start in 0..2 {
        *started.lock() = Some(Instant::now());
        tokio::time::sleep(minutes(18)).await;
    }
    let restarts = running.decisions().await;
    let restarts: Vec<_> = restarts
        .iter()
        .filter(|decision| decision.solution == solutions::RESTART_SERVICE)
        .collect();
    assert!(restarts.is_empty(), "{restarts:#?}");
    assert!(running.service.detection()["watched"].samples > 300);
}

pub async fn a_range_longer_than_the_verification_lengthens_it() {
    let counter = Arc::new(Mutex::new(Counter {
        value: 1_000,
        step: 100,
    }));
    let scraped = Arc::clone(&counter);
    let app = App::start(move || {
        format!(
            "# TYPE slow_requests_total counter\nslow_requests_total {}\n",
            scraped.lock().scrape()
        )
    })
    .await;
    // With the configured times, the verification would end three minutes after the operation, and
    // each sample would hold the time before it.
    let rate = format!(
        "{{ rate = {{ of = 'slow_requests_total', window = {} }} }}",
        text(300)
    );
    let running = watching(&app, "latency", &rate, ZSCORE).await;
    running.seen(80).await;
    counter.lock().step = 2_000;
    let acted = running
        .decision("something is done about it", |decision| {
            decision.operations.iter().any(|it| it.done_at.is_some())
        })
        .await;
    // The operation helps at once, and the range still holds the time before.
    counter.lock().step = 100;
    let judged = running
        .decision("it is verified", |decision| {
            decision.id == acted.id && decision.verification.is_some()
        })
        .await;
    let verification = judged.verification.unwrap();
    assert_eq!(
        (judged.solution.as_str(), verification.outcome),
        (solutions::RESTART_SERVICE, VerificationOutcome::Improved),
        "{}",
        verification.reason
    );
    assert!(
        verification
            .reason
            .contains("because a sample of watched depends on the"),
        "{}",
        verification.reason
    );
    tokio::time::sleep(seconds(60).max(Duration::from_millis(100))).await;
    let all = running.decisions().await;
    let judged = all.iter().filter_map(|it| it.verification.as_ref());
    let outcomes: Vec<_> = judged.map(|it| it.outcome).collect();
    assert!(
        !outcomes.contains(&VerificationOutcome::NotImproved)
            && !outcomes.contains(&VerificationOutcome::Worse),
        "{outcomes:?}"
    );
}
