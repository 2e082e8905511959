//! Experiments with trouble: a cluster that echoes, servers that are away, processes that stand
//! still. Each experiment asserts what is done, what is not done, and what people are told.
//!
//! All times, windows and back-offs are those of reality divided by [`scale::scale`], which is 40
//! unless `ANOMALYZER_TROUBLE_SCALE` is set. `cargo xtask trouble` runs the experiments in real
//! time.
#![allow(
    clippy::unwrap_used,
    reason = "a test that meets what it does not expect is to fail"
)]

mod absences;
mod app;
mod cluster;
mod folder;
mod notices;
mod pauses;
#[path = "../demo/program.rs"]
mod program;
mod proxy;
#[expect(dead_code, reason = "other tests use the rest")]
#[path = "../it/receiver.rs"]
mod receiver;
mod scale;
mod service;
mod signals;
mod targets;
#[path = "../it/wait.rs"]
mod wait;

use std::pin::Pin;

use scale::Progress;

/// An experiment with its name.
type Experiment = (&'static str, fn() -> Pin<Box<dyn Future<Output = ()>>>);

/// Experiments that wait for most of their time.
const WAITING: [Experiment; 10] = [
    ("an echo", || {
        Box::pin(targets::an_echo_of_a_dead_container_leads_to_no_further_restart())
    }),
    ("a deployment tool", || {
        Box::pin(targets::a_change_that_a_deployment_tool_puts_back_is_not_repeated())
    }),
    ("deleted while held", || {
        Box::pin(targets::a_question_about_a_deleted_target_ends())
    }),
    ("deleted while verifying", || {
        Box::pin(targets::the_effect_on_a_deleted_target_is_unknown())
    }),
    ("a falling counter", || {
        Box::pin(signals::a_counter_that_falls_by_one_is_no_anomaly())
    }),
    ("growth after a start", || {
        Box::pin(signals::growth_after_a_start_is_no_leak())
    }),
    ("a long range", || {
        Box::pin(signals::a_range_longer_than_the_verification_lengthens_it())
    }),
    ("a pause", || {
        Box::pin(pauses::a_server_that_stands_still_in_an_operation_finishes_it_once_and_reports_no_silence())
    }),
    ("a pause of one of two", || {
        Box::pin(
            pauses::of_two_servers_the_other_one_finishes_the_operation_of_one_that_stands_still(),
        )
    }),
    ("starvation", || {
        Box::pin(pauses::a_starved_service_invents_nothing_and_goes_on_when_it_can())
    }),
];

/// Runs each experiment in a thread of its own, which has its name. Together they take as long as
/// the longest one. The test runner orders tests by name, so this one and [`absences`] begin first.
#[test]
fn echoes_growth_and_pauses_lead_to_no_wrong_action_and_no_wrong_verdict() {
    std::thread::scope(|scope| {
        let run = |(name, experiment): Experiment| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.unwrap().block_on(async {
                let _progress = Progress::of(name);
                experiment().await;
            });
        };
        let threads = WAITING.map(|experiment| {
            let thread = std::thread::Builder::new().name(experiment.0.to_owned());
            thread.spawn_scoped(scope, move || run(experiment)).unwrap()
        });
        let failed = threads.map(|thread| thread.join().is_err());
        let failed: Vec<&str> = WAITING
            .iter()
            .zip(failed)
            .filter_map(|((name, _), failed)| failed.then_some(*name))
            .collect();
        assert!(failed.is_empty(), "failed: {failed:?}");
    });
}
