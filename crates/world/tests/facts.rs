//! Facts from several sources, in any order, make one world.
#![allow(
    clippy::unwrap_used,
    reason = "a test that meets what it does not expect is to fail"
)]

use anomalyzer_domain::Target;
use anomalyzer_world::{
    Age, Bounds, Calls, Change, ChangeKind, EdgeSighting, EventFact, FADED_AFTER, GONE_AFTER,
    Relation, Resolution, Source, State, World, WorldError,
};
use proptest::prelude::*;

fn key(name: &str) -> Target {
    Target::new("shop", "Deployment", name)
}

fn call(from: &str, to: &str, source: Source, at: i64) -> EdgeSighting {
    EdgeSighting::call(key(from), key(to), source, at)
}

#[test]
fn a_label_that_names_no_entity_and_a_name_of_two_are_told_apart() {
    let mut world = World::new();
    for name in ["web", "web-canary"] {
        world.observe(&key(name), Source::Kubernetes, 0).unwrap();
        assert!(world.add_name("web.shop.svc", &key(name)));
    }
    assert!(world.add_name("frontend", &key("web")));
    assert_eq!(world.resolve("frontend"), Resolution::Known(key("web")));
    assert_eq!(
        world.resolve("default/shop/Deployment/web"),
        Resolution::Known(key("web"))
    );
    for unknown in ["nobody", "", "default/shop/Deployment/nobody", "///"] {
        assert_eq!(world.resolve(unknown), Resolution::Unknown, "{unknown}");
    }
    assert_eq!(
        world.resolve("web.shop.svc"),
        Resolution::Ambiguous(vec![key("web"), key("web-canary")])
    );
    for unusable in ["", "a\u{202e}b", &"x".repeat(600)] {
        assert!(!world.add_name(unusable, &key("web")), "{unusable}");
    }
}

#[test]
fn a_pod_counts_for_its_workload_and_a_cycle_of_owners_ends() {
    let mut world = World::new();
    let owned = |from: &str, to: &str| {
        EdgeSighting::relation(key(from), key(to), Relation::OwnedBy, Source::Kubernetes, 0)
    };
    world.observe_edge(owned("pod", "set")).unwrap();
    world.observe_edge(owned("set", "web")).unwrap();
    assert_eq!(world.workload_of(&key("pod")), key("web"));
    assert_eq!(world.workload_of(&key("nobody")), key("nobody"));
    world.observe_edge(owned("web", "pod")).unwrap();
    world.workload_of(&key("pod"));
}

#[test]
fn unusable_facts_are_refused() {
    let mut world = World::new();
    assert_eq!(
        world.observe_edge(call("web", "web", Source::Istio, 0)),
        Err(WorldError::Loop(key("web")))
    );
    assert!(world.observe(&key("a\nb"), Source::Istio, 0).is_err());
    assert!(world.observe(&key(""), Source::Istio, 0).is_err());
    assert!(world.is_empty());
}

#[test]
fn edges_fade_and_go_and_their_entities_with_them() {
    let mut world = World::new();
    world
        .observe_edge(call("web", "db", Source::Istio, 0))
        .unwrap();
    world
        .observe_edge(call("web", "stripe", Source::Configuration, 0))
        .unwrap();
    let ages = |world: &World, now| -> Vec<Age> {
        world.edges().map(|(_, _, _, edge)| edge.age(now)).collect()
    };
    assert_eq!(ages(&world, FADED_AFTER), [Age::Faded, Age::Fresh]);
    assert_eq!(world.forget(GONE_AFTER), (1, 1));
    assert!(world.id(&key("db")).is_none());
    assert!(world.id(&key("stripe")).is_some());
    // A forgotten entity's slot is used again.
    world
        .observe(&key("new"), Source::Istio, GONE_AFTER)
        .unwrap();
    assert_eq!((world.len(), world.id_bound()), (3, 3));
}

#[test]
fn messages_of_a_megabyte_and_endless_changes_are_bounded() {
    let mut world = World::new();
    let event = |at| EventFact {
        reason: "Failed".into(),
        message: "x<b>\u{1b}[31m".repeat(100_000),
        first_at: 0,
        at,
        count: 1,
    };
    let events = (0..1_000).map(event).collect();
    let state = State {
        events,
        ..State::default()
    };
    world.set_state(&key("web"), state).unwrap();
    let (_, entity) = world.entities().next().unwrap();
    assert_eq!(entity.state.events.len(), 32);
    assert_eq!(entity.state.events[0].at, 999);
    assert!(
        entity
            .state
            .events
            .iter()
            .all(|event| event.message.len() < 1_100)
    );
    assert!(!entity.state.events[0].message.contains('\u{1b}'));
    for at in 0..100 {
        world.record_change(Change {
            entity: key("web"),
            kind: ChangeKind::Config,
            at,
            by: None,
            from: None,
            to: None,
        });
    }
    let times: Vec<i64> = world.changes().map(|change| change.at).collect();
    assert_eq!((times.len(), times[0]), (32, 68));
}

#[test]
fn a_bounded_world_keeps_the_neighbourhood_of_incidents() {
    let mut world = World::new();
    for n in 0..100 {
        let sight = call(
            &format!("s{n:03}"),
            &format!("s{:03}", n + 1),
            Source::Istio,
            0,
        );
        world
            .observe_edge(sight.counted(Calls::Window(f64::from(n))))
            .unwrap();
    }
    let bounds = Bounds {
        entities: 7,
        edges: 4,
    };
    let part = world.bounded(&[key("s050")], bounds, 0);
    let names: Vec<&str> = part
        .world
        .entities()
        .map(|(_, e)| e.key.name.as_str())
        .collect();
    assert_eq!(
        names,
        ["s047", "s048", "s049", "s050", "s051", "s052", "s053"]
    );
    assert_eq!(
        (
            part.world.edge_count(),
            part.omitted.entities,
            part.omitted.edges
        ),
        (4, 94, 96)
    );
    let whole = world.bounded(&[], Bounds::default(), 0);
    assert_eq!((whole.world == world, whole.omitted.edges), (true, 0));
}

#[test]
fn a_hundred_thousand_pairs_fit() {
    let mut world = World::new();
    for n in 0..100_000 {
        world
            .observe_edge(call("hub", &format!("c{n}"), Source::Hubble, 0))
            .unwrap();
    }
    assert_eq!(world.edge_count(), 100_000);
    let part = world.bounded(&[key("hub")], Bounds::default(), 0);
    assert_eq!((part.world.len(), part.world.edge_count()), (5_000, 4_999));
}

proptest! {
    #[test]
    fn the_order_of_facts_does_not_matter(
        facts in prop::collection::vec((0..6usize, 0..6usize, 0..3usize, 0..100i64), 0..40),
        seed in any::<u64>(),
    ) {
        const SOURCES: [Source; 3] = [Source::Istio, Source::ServiceGraph, Source::Configuration];
        let build = |facts: &[(usize, usize, usize, i64)]| {
            let mut world = World::new();
            for (from, to, source, at) in facts {
                let sight = call(&format!("s{from}"), &format!("s{to}"), SOURCES[*source], *at);
                let _ = world.observe_edge(sight);
            }
            world
        };
        let mut shuffled = facts.clone();
        let mut state = seed | 1;
        for i in (1..shuffled.len()).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            shuffled.swap(i, usize::try_from(state >> 33).unwrap() % (i + 1));
        }
        let (a, b) = (build(&facts), build(&shuffled));
        prop_assert!(a == b);
        let json = serde_json::to_string(&a).unwrap();
        prop_assert_eq!(&json, &serde_json::to_string(&b).unwrap());
        let read: World = serde_json::from_str(&json).unwrap();
        prop_assert!(read == a);
    }
}
