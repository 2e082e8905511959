//! Attacks of an action against all of `serve`: the requests of the action are recorded, and none
//! of them is performed.

use std::collections::BTreeMap;
use std::time::Duration;

use anomalyzer_domain::{Decision, DecisionState, OutcomeKind, Record, Topic};
use anomalyzer_history::{Filter, Page};
use anomalyzer_service::config;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{component, folder};
use crate::serve::{replicas, start};
use crate::wait::until;

/// Expected end of each attack: the state of its decision, and words of its summary.
const ATTACKS: [(&str, DecisionState, &str); 10] = [
    (
        "hidden-patch",
        DecisionState::Denied,
        "does not declare that it needs `patch`",
    ),
    (
        "many-operations",
        DecisionState::Failed,
        "more than 10 operations",
    ),
    ("many-waits", DecisionState::Failed, "more than 60 steps"),
    ("never-finish", DecisionState::Failed, "the action "),
    (
        "not-granted",
        DecisionState::Denied,
        "is not granted `restart`",
    ),
    (
        "not-needed",
        DecisionState::Denied,
        "does not declare that it needs `http`",
    ),
    (
        "other-target",
        DecisionState::Denied,
        "the solution is about default//Process/web",
    ),
    (
        "spin-in-next",
        DecisionState::Failed,
        "did not return from `next` within 500ms",
    ),
    (
        "trap-in-next",
        DecisionState::Failed,
        "out of luck 2026-01-01T00:00:00Z ERROR a forged line",
    ),
    ("wait-forever", DecisionState::Failed, "longer than 8s"),
];

#[tokio::test]
async fn whatever_an_action_asks_for_against_its_grants_or_without_end_is_on_record_and_not_done() {
    let data = tempfile::tempdir().unwrap();
    let plugins = folder(&[("action", component("action"))]);
    let text = format!(
        "data_dir = '{}'\nsilent_after = '1h'\n[api]\nlisten = '127.0.0.1:0'\n\
         [plugins]\nfolder = '{}'\n[plugins.limits]\ncall_deadline = '500ms'\n\
         [act]\nmost_operations = 10\nmost_steps = 60\naction_timeout = '8s'\n\
         [guard]\nforeign = 'allow'\ncooldown = '0s'\n[collect]\ninterval = '1h'\n\
         [local.groups.web]\ncommand = ['sleep', '600']\nfirst_port = 9\nstop_timeout = '1s'\n\
         [[grant]]\nplugin = 'evil-action'\noperation = 'inspect'\n\
         [[grant]]\nplugin = 'evil-action'\noperation = 'scale'\n\
         [[grant]]\nplugin = 'evil-action'\noperation = 'patch'\n",
        data.path().display(),
        plugins.path().display(),
    );
    let config = config::parse("test.toml".as_ref(), &text).unwrap();
    let shutdown = CancellationToken::new();
    let _stop = shutdown.clone().drop_guard();
    let running = start(config, &shutdown).await;
    for (attack, ..) in ATTACKS {
        let solution = json!({
            "anomaly_type": "none", "solution_type": "evil_action", "explanation": "trust me",
            "target": {"kind": "Process", "name": "web"}, "parameters": {"attack": attack},
        });
        let record = Record {
            key: None,
            headers: vec![],
            payload: solution.to_string().into(),
        };
        running
            .bus()
            .publish(Topic::Solutions, record)
            .await
            .unwrap();
    }
    let history = running.history().unwrap();
    let ended: BTreeMap<String, Decision> = until("all end", Duration::from_secs(60), async || {
        let (decisions, _) = history
            .decisions(&Filter::default(), Page::default())
            .await
            .unwrap();
        let ended = decisions
            .into_iter()
            .filter(|decision| decision.state().needs_no_work());
        let ended: BTreeMap<_, _> = ended
            .map(|decision| {
                (
                    decision.parameters["attack"].as_str().unwrap().to_owned(),
                    decision,
                )
            })
            .collect();
        (ended.len() == ATTACKS.len()).then_some(ended)
    })
    .await;
    for (attack, state, words) in ATTACKS {
        let decision = &ended[attack];
        let summary = decision.summary.as_deref().unwrap_or_default();
        assert!(
            decision.state() == state && summary.contains(words),
            "{attack}: {:?}: {summary}",
            decision.state()
        );
        assert!(!summary.contains('\n'), "{attack}: {summary}");
        let done = decision.operations.iter().filter(|operation| {
            !operation.operation.is_read()
                && operation.outcome.as_ref().unwrap().kind != OutcomeKind::Denied
        });
        assert_eq!(done.count(), 0, "{attack}");
    }
    assert_eq!(ended["many-operations"].operations.len(), 10);
    for refused in ["hidden-patch", "not-granted", "not-needed", "other-target"] {
        let [operation] = &ended[refused].operations[..] else {
            panic!("{refused}: it is not on record")
        };
        assert_eq!(
            operation.outcome.as_ref().unwrap().kind,
            OutcomeKind::Denied,
            "{refused}"
        );
    }
    assert_eq!(replicas(&running), 1);
    history.verify_chain().await.unwrap();
}
