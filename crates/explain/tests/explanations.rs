//! Explanations of small worlds, one sentence each.
#![allow(
    clippy::unwrap_used,
    reason = "a test that meets what it does not expect is to fail"
)]

use anomalyzer_domain::{Direction, FindingId, IncidentId, Meaning, Range, Target};
use anomalyzer_explain::{
    Advice, AloneReason, CallMeasure, Explanation, Family, Gap, Limits, LogPattern, Measure,
    Observation, OpenIncident, Resource, ResourceKind, RootKind, Symptoms, Usual, Window, explain,
};
use anomalyzer_world::{
    Change, ChangeKind, Condition, ConditionStatus, ContainerPhase, ContainerState, EdgeSighting,
    EventFact, Relation, Source, State, World,
};

const ONSET: i64 = 1_700_000_000_000;
const MINUTE: i64 = 60_000;

fn key(name: &str) -> Target {
    Target::new("shop", "Deployment", name)
}

fn world(calls: &[(&str, &str)]) -> World {
    let mut world = World::new();
    for (from, to) in calls {
        for at in [ONSET - 10 * MINUTE, ONSET] {
            world
                .observe_edge(EdgeSighting::call(key(from), key(to), Source::Istio, at))
                .unwrap();
        }
    }
    world
}

fn relate(world: &mut World, from: &str, to: &str, relation: Relation) {
    let sight = EdgeSighting::relation(key(from), key(to), relation, Source::Kubernetes, ONSET);
    world.observe_edge(sight).unwrap();
}

/// Latency of 100 ms, usually 80 to 120, with 1,000 requests a window.
fn measure(name: &str, seconds: &[Option<f64>]) -> Measure {
    Measure {
        entity: key(name),
        meaning: Meaning::Latency,
        usual: Some(Usual {
            low: 0.08,
            level: 0.1,
            high: 0.12,
        }),
        before: Some(0.1),
        requests_before: Some(1_000.0),
        windows: seconds
            .iter()
            .map(|value| Window {
                value: *value,
                requests: value.map(|_| 1_000.0),
            })
            .collect(),
    }
}

fn incident(name: &str, meaning: Meaning, observed: f64, high: f64) -> OpenIncident {
    OpenIncident {
        id: IncidentId::derive(&[name]),
        target: key(name),
        onset: ONSET,
        findings: vec![Observation {
            id: FindingId::derive(&[name]),
            meaning,
            direction: Direction::Above,
            onset: ONSET,
            observed: Some(observed),
            expected: Some(Range {
                low: None,
                high: Some(high),
            }),
        }],
    }
}

fn symptoms(alarms: &[&str], measures: Vec<Measure>) -> Symptoms {
    let incidents = alarms
        .iter()
        .map(|name| incident(name, Meaning::Latency, 0.4, 0.12));
    Symptoms {
        at: ONSET + 3 * MINUTE,
        windows: 3,
        incidents: incidents.collect(),
        measures,
        ..Symptoms::default()
    }
}

const SLOW: [Option<f64>; 3] = [Some(0.4), Some(0.4), Some(0.4)];
const WELL: [Option<f64>; 3] = [Some(0.1), Some(0.1), Some(0.1)];

fn ask(world: &World, symptoms: &Symptoms) -> Explanation {
    explain(world, symptoms, &[], &Limits::default())
}

#[track_caller]
fn roots(explanation: &Explanation, expected: &[&str]) {
    let roots: Vec<&str> = explanation
        .groups
        .iter()
        .map(|group| group.root.name.as_str())
        .collect();
    assert_eq!(roots, expected, "{explanation:#?}");
}

#[test]
fn the_last_slow_service_of_a_chain_is_the_root_and_explains_its_callers() {
    let world = world(&[("web", "api"), ("api", "db")]);
    let slow = |name| measure(name, &SLOW);
    let found = ask(
        &world,
        &symptoms(&["web", "api"], vec![slow("web"), slow("api"), slow("db")]),
    );
    roots(&found, &["db"]);
    let group = &found.groups[0];
    assert_eq!((group.kind, group.members.len()), (RootKind::Entity, 2));
    assert!(
        group
            .members
            .iter()
            .all(|member| member.explained && member.share == Some(1.0))
    );
    let web = group
        .members
        .iter()
        .find(|member| member.target == key("web"))
        .unwrap();
    assert_eq!(web.path, [key("web"), key("api"), key("db")]);
    assert_eq!(group.advice, Advice::Act);
}

#[test]
fn a_callee_that_is_well_leaves_its_caller_as_the_root() {
    let found = ask(
        &world(&[("web", "db")]),
        &symptoms(&["web"], vec![measure("web", &SLOW), measure("db", &WELL)]),
    );
    roots(&found, &["web"]);
    // A call that no source reports would look the same.
    assert!(
        found.groups[0].confidence <= 0.4,
        "{}",
        found.groups[0].confidence
    );
}

#[test]
fn an_incident_whose_value_is_in_its_range_has_no_root() {
    let found = ask(
        &world(&[("web", "db")]),
        &symptoms(&["web"], vec![measure("web", &WELL), measure("db", &SLOW)]),
    );
    roots(&found, &[]);
    assert_eq!(found.alone[0].reason, AloneReason::NothingBeyondRange);
}

#[test]
fn a_gap_is_not_zero() {
    let gap = [Some(0.4), None, None];
    let calls = world(&[("web", "api"), ("web", "db")]);
    let measures = vec![
        measure("web", &SLOW),
        measure("api", &WELL),
        measure("db", &gap),
    ];
    let found = ask(&calls, &symptoms(&["web"], measures));
    roots(&found, &["db"]);
    let not_seen = &found.groups[0].not_seen;
    assert!(
        not_seen
            .iter()
            .any(|gap| gap.reason == Gap::MissingWindows && gap.entity == key("db"))
    );
    assert!(found.groups[0].confidence < 0.6);
}

#[test]
fn an_unmeasured_service_is_replaced_by_the_services_that_it_calls() {
    let calls = world(&[("web", "proxy"), ("proxy", "db")]);
    let found = ask(
        &calls,
        &symptoms(&["web"], vec![measure("web", &SLOW), measure("db", &SLOW)]),
    );
    roots(&found, &["db"]);
    assert!(
        found.groups[0]
            .not_seen
            .iter()
            .any(|gap| gap.reason == Gap::NoSeries)
    );
}

#[test]
fn an_asynchronous_call_carries_no_latency() {
    let mut calls = world(&[]);
    let sight = EdgeSighting::call(key("web"), key("queue"), Source::ServiceGraph, ONSET);
    calls
        .observe_edge(EdgeSighting {
            asynchronous: true,
            ..sight
        })
        .unwrap();
    let found = ask(
        &calls,
        &symptoms(
            &["web"],
            vec![measure("web", &SLOW), measure("queue", &SLOW)],
        ),
    );
    roots(&found, &["web"]);
}

#[test]
fn the_loss_of_a_callee_that_is_new_counts_for_its_caller() {
    let mut calls = world(&[("web", "db")]);
    let at = ONSET + MINUTE;
    calls
        .observe_edge(EdgeSighting::call(
            key("web"),
            key("new"),
            Source::Istio,
            at,
        ))
        .unwrap();
    let measures = vec![
        measure("web", &SLOW),
        measure("db", &WELL),
        measure("new", &SLOW),
    ];
    roots(&ask(&calls, &symptoms(&["web"], measures)), &["web"]);
}

#[test]
fn simultaneous_incidents_without_a_call_between_them_are_two_groups() {
    let calls = world(&[
        ("web", "db"),
        ("mail", "smtp"),
        ("web", "shared"),
        ("mail", "shared"),
    ]);
    let slow = |name| measure(name, &SLOW);
    let measures = vec![
        slow("web"),
        slow("db"),
        slow("mail"),
        slow("smtp"),
        measure("shared", &WELL),
    ];
    roots(
        &ask(&calls, &symptoms(&["web", "mail"], measures)),
        &["smtp", "db"],
    );
}

#[test]
fn two_faults_in_one_graph_end_as_two_groups() {
    let calls = world(&[("web", "api"), ("api", "db")]);
    let api = [Some(0.9), Some(0.9), Some(0.9)];
    let measures = vec![
        measure("web", &[Some(1.2); 3]),
        measure("api", &api),
        measure("db", &SLOW),
    ];
    let found = ask(&calls, &symptoms(&["api", "db"], measures));
    roots(&found, &["api", "db"]);
}

#[test]
fn incidents_of_groups_beyond_the_limit_are_reported_alone() {
    let world = world(&[("web", "api"), ("api", "db")]);
    let measures = vec![
        measure("web", &[Some(1.2); 3]),
        measure("api", &[Some(0.9); 3]),
        measure("db", &SLOW),
    ];
    let symptoms = symptoms(&["api", "db"], measures);
    assert_eq!(ask(&world, &symptoms).groups.len(), 2);
    let limits = Limits {
        groups: 1,
        ..Limits::default()
    };
    let found = explain(&world, &symptoms, &[], &limits);
    assert_eq!(found.groups.len(), 1);
    let reasons: Vec<AloneReason> = found.alone.iter().map(|alone| alone.reason).collect();
    assert_eq!(reasons, [AloneReason::Bound]);
}

#[test]
fn a_cause_that_lasts_outranks_a_larger_symptom() {
    let calls = world(&[("web", "api"), ("web", "cart")]);
    let small = [Some(0.15), Some(0.15), Some(0.15)];
    let measures = vec![
        measure("web", &SLOW),
        measure("api", &SLOW),
        measure("cart", &small),
    ];
    let mut input = symptoms(&["web"], measures);
    input.resources.push(Resource {
        entity: key("cart"),
        kind: ResourceKind::Cpu,
        usual: Some(Usual {
            low: 5.0,
            level: 7.0,
            high: 10.0,
        }),
        samples: vec![Some(8.0), Some(98.0), Some(99.0)],
    });
    let found = ask(&calls, &input);
    roots(&found, &["cart"]);
    assert_eq!(found.groups[0].family, Some(Family::Cpu));
    // One window is not enough.
    input.resources[0].samples = vec![Some(8.0), Some(98.0)];
    roots(&ask(&calls, &input), &["api"]);
}

#[test]
fn a_gap_at_all_calls_to_a_service_is_its_network() {
    let calls = world(&[("web", "cart"), ("order", "cart"), ("web", "order")]);
    let slow = |name| measure(name, &SLOW);
    let mut input = symptoms(
        &["web"],
        vec![slow("web"), slow("order"), measure("cart", &WELL)],
    );
    for (from, to, gap) in [
        ("web", "cart", 0.3),
        ("order", "cart", 0.3),
        ("web", "order", 0.001),
    ] {
        let window = Window {
            value: Some(gap),
            requests: Some(1_000.0),
        };
        input.calls.push(CallMeasure {
            from: key(from),
            to: key(to),
            usual_gap: Some(Usual {
                low: 0.0,
                level: 0.001,
                high: 0.002,
            }),
            usual_calls: Some(1_000.0),
            windows: vec![window; 3],
        });
    }
    let found = ask(&calls, &input);
    roots(&found, &["cart"]);
    assert_eq!(found.groups[0].family, Some(Family::Network));
}

#[test]
fn a_hidden_call_is_guessed_and_lowers_the_confidence() {
    let calls = world(&[
        ("web", "api"),
        ("api", "cache"),
        ("other", "db"),
        ("other", "cache"),
    ]);
    let measures = vec![
        measure("web", &SLOW),
        measure("api", &SLOW),
        measure("cache", &WELL),
        measure("other", &WELL),
        measure("db", &SLOW),
    ];
    let found = ask(&calls, &symptoms(&["web"], measures));
    roots(&found, &["db"]);
    let group = &found.groups[0];
    assert_eq!(group.guessed_calls.len(), 1);
    assert!(
        group.confidence < 0.6 && group.text.contains("Guessed"),
        "{}",
        group.text
    );
}

#[test]
fn a_crash_loop_without_a_loss_is_its_own_root() {
    let mut world = world(&[]);
    relate(&mut world, "web-1", "web", Relation::OwnedBy);
    let container = ContainerState {
        name: "app".into(),
        phase: ContainerPhase::Waiting,
        ready: false,
        reason: "CrashLoopBackOff".into(),
        last_end: "Error".into(),
        exit_code: Some(1),
        restarts: 4,
        since: Some(ONSET),
    };
    let state = State {
        containers: vec![container],
        ..State::default()
    };
    world.set_state(&key("web-1"), state.clone()).unwrap();
    let mut input = symptoms(&[], Vec::new());
    input
        .incidents
        .push(incident("web", Meaning::Other, 2.0, 1.0));
    let found = ask(&world, &input);
    roots(&found, &["web"]);
    assert_eq!(
        (
            found.groups[0].family,
            found.groups[0].confidence,
            found.groups[0].kind
        ),
        (Some(Family::CrashLoop), 0.9, RootKind::OwnTarget)
    );
    // A state from yesterday is no finding: only the incident itself is a sign.
    let mut old = state;
    old.containers[0].since = Some(ONSET - 1_440 * MINUTE);
    world.set_state(&key("web-1"), old).unwrap();
    assert_eq!(ask(&world, &input).groups[0].confidence, 0.4);
}

#[test]
fn an_event_counts_for_an_unhealthy_entity_only() {
    let mut calls = world(&[("web", "db")]);
    let event = EventFact {
        reason: "FailedScheduling".into(),
        message: "0/3 nodes: <b>Insufficient</b> cpu".into(),
        first_at: ONSET,
        at: ONSET,
        count: 1,
    };
    let mut state = State {
        events: vec![event],
        ..State::default()
    };
    let measures = vec![measure("web", &SLOW), measure("db", &SLOW)];
    let input = symptoms(&["web"], measures);
    calls.set_state(&key("db"), state.clone()).unwrap();
    assert_eq!(ask(&calls, &input).groups[0].family, None);
    state.conditions.push(Condition {
        name: "Ready".into(),
        status: ConditionStatus::False,
        reason: String::new(),
        message: String::new(),
        since: Some(ONSET),
    });
    calls.set_state(&key("db"), state).unwrap();
    let found = ask(&calls, &input);
    assert_eq!(found.groups[0].family, Some(Family::Unschedulable));
}

#[test]
fn a_change_counts_for_half_an_hour_before_the_onset() {
    let calls = world(&[("web", "db")]);
    let input = symptoms(&["web"], vec![measure("web", &SLOW), measure("db", &SLOW)]);
    let change = |at| Change {
        entity: key("db"),
        kind: ChangeKind::Revision,
        at,
        by: Some("ci".into()),
        from: Some("db:1.8".into()),
        to: Some("db:1.9".into()),
    };
    for (at, weight) in [
        (ONSET, Some(1.0)),
        (ONSET - 10 * MINUTE, Some(0.5)),
        (ONSET - 31 * MINUTE, None),
        (ONSET + 1, None),
    ] {
        let found = explain(&calls, &input, &[change(at)], &Limits::default());
        let suspect = found.groups[0]
            .change
            .as_ref()
            .map(|suspect| suspect.weight);
        assert_eq!(suspect, weight, "{at}");
    }
    let found = explain(&calls, &input, &[change(ONSET)], &Limits::default());
    assert!(
        found.groups[0].text.contains("by ci: db:1.8 → db:1.9"),
        "{}",
        found.groups[0].text
    );
}

#[test]
fn services_that_fail_together_on_one_node_have_the_node_as_root() {
    let mut calls = world(&[("web", "api"), ("web", "cart")]);
    for (pod, owner, node) in [
        ("api-1", "api", "n1"),
        ("api-2", "api", "n2"),
        ("cart-1", "cart", "n1"),
        ("cart-2", "cart", "n2"),
    ] {
        relate(&mut calls, pod, owner, Relation::OwnedBy);
        relate(&mut calls, pod, node, Relation::RunsOn);
        let status = if node == "n1" {
            ConditionStatus::False
        } else {
            ConditionStatus::True
        };
        let ready = Condition {
            name: "Ready".into(),
            status,
            reason: String::new(),
            message: String::new(),
            since: Some(ONSET),
        };
        let state = State {
            conditions: vec![ready],
            ..State::default()
        };
        calls.set_state(&key(pod), state).unwrap();
    }
    let slow = |name| measure(name, &SLOW);
    let found = ask(
        &calls,
        &symptoms(&["web"], vec![slow("web"), slow("api"), slow("cart")]),
    );
    roots(&found, &["n1"]);
    assert_eq!(found.groups[0].kind, RootKind::SharedFate);
}

#[test]
fn log_lines_that_disappear_are_evidence() {
    let calls = world(&[("web", "db")]);
    let mut input = symptoms(&["web"], vec![measure("web", &SLOW), measure("db", &SLOW)]);
    input.logs.push(LogPattern {
        entity: key("db"),
        template: "committed *".into(),
        lines_before: 900.0,
        requests_before: 1_000.0,
        lines_since: 0.0,
        requests_since: 300.0,
    });
    assert_eq!(
        ask(&calls, &input).groups[0].family,
        Some(Family::CodeOrConfig)
    );
    input.logs[0].requests_since = 3.0;
    assert_eq!(ask(&calls, &input).groups[0].family, None);
}

#[test]
fn incidents_about_missing_data_never_join() {
    let calls = world(&[("web", "db")]);
    let mut input = symptoms(&["web"], vec![measure("web", &SLOW), measure("db", &SLOW)]);
    input
        .incidents
        .push(incident("db", Meaning::Coverage, 1.0, 0.0));
    let found = ask(&calls, &input);
    roots(&found, &["db"]);
    assert_eq!(found.alone[0].reason, AloneReason::Coverage);
    assert_eq!(found.groups[0].members.len(), 1);
}

#[test]
fn cycles_and_a_hundred_thousand_edges_end() {
    let mut calls = world(&[("a", "b"), ("b", "c"), ("c", "a"), ("c", "b")]);
    for n in 0..100_000 {
        let sight = EdgeSighting::call(key("a"), key(&format!("leaf{n}")), Source::Hubble, ONSET);
        calls.observe_edge(sight).unwrap();
    }
    let slow = |name| measure(name, &SLOW);
    let found = ask(
        &calls,
        &symptoms(&["a"], vec![slow("a"), slow("b"), slow("c")]),
    );
    assert_eq!(found.groups.len() + found.alone.len(), 1);
}

#[test]
fn without_any_window_nothing_is_decided() {
    let mut input = symptoms(&["web"], vec![measure("web", &[])]);
    input.windows = 0;
    let found = ask(&world(&[("web", "db")]), &input);
    assert_eq!(found.alone[0].reason, AloneReason::TooEarly);
}

/// The example of `docs/explanation/root-cause.md`.
#[test]
fn the_worked_example_reads_as_in_the_documentation() {
    let world = world(&[("web", "api"), ("api", "db")]);
    let slow = [Some(0.5), Some(0.5), Some(0.5)];
    let input = symptoms(
        &["web", "api", "db"],
        vec![
            measure("web", &SLOW),
            measure("api", &SLOW),
            measure("db", &slow),
        ],
    );
    let change = Change {
        entity: key("db"),
        kind: ChangeKind::Revision,
        at: ONSET - 4 * MINUTE,
        by: Some("ci".into()),
        from: Some("db:1.8".into()),
        to: Some("db:1.9".into()),
    };
    let found = explain(&world, &input, &[change], &Limits::default());
    roots(&found, &["db"]);
    let page = include_str!("../../../docs/explanation/root-cause.md");
    let text = &found.groups[0].text;
    assert!(page.contains(text.as_str()), "the page lacks: {text}");
}
