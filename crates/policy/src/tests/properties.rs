//! Properties of the verdicts.

use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn an_operation_of_the_future_changes_no_verdict(
        past in proptest::collection::vec((0_i64..7_200_000, 1_u32..9), 0..5),
        future in proptest::collection::vec((1_i64..400_000_000_000, 1_u32..9), 1..5),
        replicas in 1_u32..9, restart: bool, person: bool,
    ) {
        let operation = |at: i64, replicas: u32| past_scaling(Some(replicas), at);
        let mut facts = facts(match restart {
            true => Operation::Restart { target: web() },
            false => scale(replicas),
        });
        facts.source = if person { Source::Person } else { Source::Engine };
        facts.past = past.into_iter().map(|(age, n)| operation(NOW - age, n)).collect();
        let without = judge(&facts, &Policy::default());
        facts.past.extend(future.into_iter().map(|(ahead, n)| operation(NOW + ahead, n)));
        prop_assert_eq!(judge(&facts, &Policy::default()), without);
    }

    #[test]
    fn missing_or_stale_data_never_leads_to_a_restart_or_fewer_replicas(
        asked in 0u32..4, answered in 0u32..4, age in proptest::option::of(0i64..400_000), replicas in 0u32..12,
        restart: bool, desired in proptest::option::of(0u32..12),
    ) {
        let operation = if restart { Operation::Restart { target: web() } } else { scale(replicas) };
        let mut facts = facts(operation);
        facts.incident = Some(IncidentFacts {
            open: Some(true),
            coverage: Coverage { asked, answered, failed: 0 },
            as_of: age.map(|age| NOW - age),
            ..IncidentFacts::default()
        });
        facts.snapshot.as_mut().unwrap().replicas = desired.map(|desired| Replicas { desired, ready: desired });
        let missing = asked == 0 || answered != asked || age.is_none_or(|age| age > 120_000);
        let drastic = restart || desired.is_none_or(|desired| replicas < desired);
        let verdict = judge(&facts, &Policy::default()).verdict;
        prop_assert!(!(missing && drastic && verdict == Allow));
    }

    #[test]
    fn nothing_is_changed_beyond_a_budget_or_while_the_kill_switch_is_on(
        on_target in 0u32..9, in_namespace in 0u32..30, in_cluster in 0u32..70, stopped: bool, restart: bool,
    ) {
        let operation = if restart { Operation::Restart { target: web() } } else { scale(4) };
        let facts = Facts {
            stopped: stopped.then(String::new),
            spent: Spent { on_target, in_namespace, in_cluster },
            ..facts(operation)
        };
        let policy = Policy::default();
        if judge(&facts, &policy).verdict == Allow {
            prop_assert!(!stopped && on_target < policy.most_on_target);
            prop_assert!(in_namespace < policy.most_in_namespace && in_cluster < policy.most_in_cluster);
        }
    }

    #[test]
    fn nothing_that_the_host_does_by_itself_breaks_the_floor(
        desired in 0u32..12, down in 0u32..12, to in 0u32..12, floor in 0u32..5, takes_back: bool,
    ) {
        let ready = desired.saturating_sub(down);
        let mut facts = Facts { takes_back, ..facts(scale(to)) };
        facts.snapshot.as_mut().unwrap().replicas = Some(Replicas { desired, ready });
        let policy = Policy { min_ready: floor, ..Policy::default() };
        if judge(&facts, &policy).verdict == Allow && to < desired {
            prop_assert!(ready.saturating_sub(desired - to) >= floor);
        }
    }

    #[test]
    fn no_scale_that_is_allowed_leaves_the_bounds(replicas: u32, min in 0u32..5, span in 0u32..10) {
        let policy = Policy { min_replicas: min, max_replicas: min + span, ..Policy::default() };
        if judge(&facts(scale(replicas)), &policy).verdict == Allow {
            prop_assert!((min..=min + span).contains(&replicas));
        }
    }
}
