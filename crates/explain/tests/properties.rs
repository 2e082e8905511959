//! Properties of every explanation, for arbitrary input.
#![allow(
    clippy::unwrap_used,
    reason = "a test that meets what it does not expect is to fail"
)]

use anomalyzer_domain::{Direction, FindingId, IncidentId, Meaning, Range, Target};
use anomalyzer_explain::{
    CallMeasure, Explanation, Limits, LogPattern, Measure, Observation, OpenIncident, Resource,
    ResourceKind, Symptoms, Usual, Window, explain,
};
use anomalyzer_world::{Calls, Change, ChangeKind, EdgeSighting, Relation, Source, World};
use proptest::prelude::*;

const RELATIONS: [Relation; 5] = [
    Relation::Calls,
    Relation::Calls,
    Relation::OwnedBy,
    Relation::RunsOn,
    Relation::Uses,
];
const MEANINGS: [Meaning; 4] = [
    Meaning::Latency,
    Meaning::Errors,
    Meaning::Memory,
    Meaning::Coverage,
];

fn key(number: usize) -> Target {
    Target::new("shop", "Deployment", &format!("s{number}"))
}

fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        8 => 0.0..2.0_f64,
        2 => 0.0..1e6_f64,
        1 => prop::sample::select(vec![
            f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, -0.0, f64::MAX, f64::MIN_POSITIVE,
        ]),
    ]
}

fn usual() -> impl Strategy<Value = Option<Usual>> {
    prop::option::weighted(
        0.8,
        (number(), number(), number()).prop_map(|(low, level, high)| Usual { low, level, high }),
    )
}

fn windows() -> impl Strategy<Value = Vec<Window>> {
    let window = (prop::option::of(number()), prop::option::of(number()));
    prop::collection::vec(
        window.prop_map(|(value, requests)| Window { value, requests }),
        0..4,
    )
}

prop_compose! {
    fn measure()(
        entity in 0..8usize, meaning in 0..3usize, usual in usual(),
        before in prop::option::of(number()), requests in prop::option::of(number()),
        windows in windows(),
    ) -> Measure {
        Measure {
            entity: key(entity), meaning: MEANINGS[meaning], usual, before,
            requests_before: requests, windows,
        }
    }
}

prop_compose! {
    fn incident()(
        entity in 0..9usize, meaning in 0..4usize, observed in prop::option::of(number()),
        low in prop::option::of(number()), high in prop::option::of(number()), onset in 0..10_000i64,
        direction in 0..3usize,
    ) -> OpenIncident {
        OpenIncident {
            id: IncidentId::derive(&[&entity.to_string(), &onset.to_string()]),
            target: key(entity),
            onset,
            findings: vec![Observation {
                id: FindingId::derive(&[&entity.to_string()]),
                meaning: MEANINGS[meaning],
                direction: [Direction::Above, Direction::Below, Direction::Shape][direction],
                onset, observed,
                expected: Some(Range { low, high }),
            }],
        }
    }
}

prop_compose! {
    fn call()(from in 0..8usize, to in 0..8usize, usual_gap in usual(), windows in windows(),
              usual_calls in prop::option::of(number())) -> CallMeasure {
        CallMeasure { from: key(from), to: key(to), usual_gap, usual_calls, windows }
    }
}

prop_compose! {
    fn resource()(entity in 0..8usize, cpu in any::<bool>(), usual in usual(),
                  samples in prop::collection::vec(prop::option::of(number()), 0..4)) -> Resource {
        let kind = if cpu { ResourceKind::Cpu } else { ResourceKind::Pool };
        Resource { entity: key(entity), kind, usual, samples }
    }
}

prop_compose! {
    fn log()(entity in 0..8usize, counts in prop::array::uniform4(number())) -> LogPattern {
        let [lines_before, requests_before, lines_since, requests_since] = counts;
        LogPattern {
            entity: key(entity), template: "<script>\u{202e}\n*".repeat(50), lines_before,
            requests_before, lines_since, requests_since,
        }
    }
}

#[derive(Clone, Debug)]
struct Input {
    edges: Vec<(usize, usize, usize, f64)>,
    symptoms: Symptoms,
    changes: Vec<Change>,
}

prop_compose! {
    fn input()(
        edges in prop::collection::vec((0..8usize, 0..8usize, 0..5usize, number()), 0..16),
        incidents in prop::collection::vec(incident(), 0..4),
        measures in prop::collection::vec(measure(), 0..12),
        calls in prop::collection::vec(call(), 0..6),
        resources in prop::collection::vec(resource(), 0..6),
        logs in prop::collection::vec(log(), 0..3),
        changed in prop::collection::vec((0..8usize, 0..10_000i64), 0..3),
        windows in 0..4usize,
    ) -> Input {
        let changes = changed.into_iter().map(|(entity, at)| Change {
            entity: key(entity), kind: ChangeKind::Config, at, by: None, from: None, to: None,
        });
        Input {
            edges,
            symptoms: Symptoms {
                at: 10_000, windows, incidents, measures, calls, resources, logs,
                uncovered: vec![key(3)],
            },
            changes: changes.collect(),
        }
    }
}

fn world(edges: &[(usize, usize, usize, f64)]) -> World {
    let mut world = World::new();
    for (from, to, relation, calls) in edges {
        let relation = RELATIONS[*relation];
        let sight = EdgeSighting::relation(key(*from), key(*to), relation, Source::Istio, 0);
        // An edge to itself is refused.
        let _ = world.observe_edge(sight.counted(Calls::Window(*calls)));
    }
    world
}

fn ask(input: &Input) -> Explanation {
    explain(
        &world(&input.edges),
        &input.symptoms,
        &input.changes,
        &Limits::default(),
    )
}

fn shuffle<T>(items: &mut [T], seed: &mut u64) {
    for i in (1..items.len()).rev() {
        *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        items.swap(i, usize::try_from(*seed >> 33).unwrap() % (i + 1));
    }
}

/// Finds "A is above B" and "A is below B", and checks the numbers.
fn check_sentence(text: &str) -> Result<(), TestCaseError> {
    for (word, is_right) in [
        (" is above ", f64::gt as fn(&f64, &f64) -> bool),
        (" is below ", f64::lt),
    ] {
        for (before, after) in text
            .match_indices(word)
            .map(|(at, _)| (&text[..at], &text[at + word.len()..]))
        {
            let number = |text: &str| text.trim_end_matches([',', '.', ')']).parse::<f64>().ok();
            let left = before.split_whitespace().rev().find_map(number);
            let right = after.split_whitespace().find_map(number);
            let (Some(left), Some(right)) = (left, right) else {
                return Err(TestCaseError::fail(format!("no numbers: {text}")));
            };
            prop_assert!(is_right(&left, &right), "{}", text);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_order_of_the_input_does_not_matter(input in input(), seed in any::<u64>()) {
        let mut other = input.clone();
        let mut seed = seed;
        // Two incidents of one id are one incident; only distinct ones have an order to lose.
        shuffle(&mut other.symptoms.incidents, &mut seed);
        shuffle(&mut other.symptoms.measures, &mut seed);
        shuffle(&mut other.symptoms.calls, &mut seed);
        shuffle(&mut other.symptoms.resources, &mut seed);
        shuffle(&mut other.symptoms.logs, &mut seed);
        shuffle(&mut other.changes, &mut seed);
        let (a, b) = (ask(&input), ask(&other));
        prop_assert_eq!(serde_json::to_string(&a).unwrap(), serde_json::to_string(&b).unwrap());
    }

    #[test]
    fn each_incident_is_answered_once_with_shares_and_sentences_that_are_true(input in input()) {
        let found = ask(&input);
        let mut asked: Vec<_> = input.symptoms.incidents.iter().map(|i| (&i.target, &i.id)).collect();
        asked.sort();
        asked.dedup();
        let members = found.groups.iter().flat_map(|g| g.members.iter().map(|m| (&m.target, &m.incident)));
        let mut answered: Vec<_> =
            members.chain(found.alone.iter().map(|a| (&a.target, &a.incident))).collect();
        answered.sort();
        prop_assert_eq!(answered, asked);
        for group in &found.groups {
            prop_assert!((0.0..=1.0).contains(&group.confidence), "{}", group.confidence);
            let shares = group.runners_up.iter().map(|runner| runner.share);
            let sum: f64 = shares.sum::<f64>() + group.share.unwrap_or(0.0);
            prop_assert!((0.0..=1.0 + 1e-9).contains(&sum), "{}", sum);
            for member in &group.members {
                prop_assert!(member.share.is_none_or(|share| (0.0..=1.0).contains(&share)));
            }
            for loss in &group.losses {
                prop_assert!(loss.own >= 0.0);
            }
            let mut ids: Vec<_> = group.evidence.iter().map(|item| &item.id).collect();
            ids.dedup();
            prop_assert_eq!(ids.len(), group.evidence.len());
            check_sentence(&group.text)?;
            for item in &group.evidence {
                check_sentence(&item.text)?;
            }
        }
        let json = serde_json::to_string(&found).unwrap();
        let read: Explanation = serde_json::from_str(&json).unwrap();
        prop_assert_eq!(serde_json::to_string(&read).unwrap(), json);
    }
}
