//! Compares the time of `explain` with one breadth-first pass over the same graph:
//! `cargo run --release -p anomalyzer-rca --example explain_ratio`.
//!
//! It exits 1 if an explanation takes more than 20 times as long as the pass over the world. The
//! second pass, over plain lists of numbers, is the fastest that a graph allows.

use std::collections::VecDeque;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anomalyzer_domain::{Direction, FindingId, IncidentId, Meaning, Target};
use anomalyzer_explain::{
    Limits, Measure, Observation, OpenIncident, Symptoms, Usual, Window, explain,
};
use anomalyzer_world::{Calls, EdgeSighting, Relation, Source, World};

const MAX_RATIO: f64 = 20.0;
const RUNS: usize = 15;
const WINDOWS: usize = 3;

fn main() -> ExitCode {
    let mut is_good = true;
    for (entities, edges) in [(1_000, 10_000), (5_000, 50_000)] {
        let (world, symptoms) = input(entities, edges);
        let lists = lists(&world);
        let pass = median(|| pass_over(&world));
        let plain = median(|| pass_over_lists(&lists));
        let whole = median(|| {
            explain(&world, &symptoms, &[], &Limits::default())
                .groups
                .len()
        });
        let ratio = whole.as_secs_f64() / pass.as_secs_f64();
        println!(
            "{entities} entities, {edges} edges: explain {whole:?}, pass over the world {pass:?} \
             (ratio {ratio:.1}), pass over lists of numbers {plain:?} (ratio {:.1})",
            whole.as_secs_f64() / plain.as_secs_f64()
        );
        is_good &= ratio <= MAX_RATIO;
    }
    if is_good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn key(number: usize) -> Target {
    Target::new("shop", "Deployment", &format!("service-{number:05}"))
}

/// Returns a layered graph with a slow leaf, in which each entity has both measures.
fn input(entities: usize, edges: usize) -> (World, Symptoms) {
    let mut random = fastrand::Rng::with_seed(7);
    let mut world = World::new();
    let mut add = |from: usize, to: usize, random: &mut fastrand::Rng| {
        let sight = EdgeSighting::call(key(from), key(to), Source::Istio, 0);
        let calls = Calls::Window(f64::from(random.u32(1..1_000)));
        world.observe_edge(sight.counted(calls)).is_ok()
    };
    // Each entity is called by an earlier one, so that the first reaches all.
    for to in 1..entities {
        add(random.usize(0..to), to, &mut random);
    }
    for _ in entities - 1..edges {
        let from = random.usize(0..entities - 1);
        let to = random.usize(from + 1..entities);
        add(from, to, &mut random);
    }
    let measures = (0..entities).flat_map(|number| {
        [Meaning::Latency, Meaning::Errors].map(|meaning| measure(number, meaning, &mut random))
    });
    let symptoms = Symptoms {
        at: 60_000,
        windows: WINDOWS,
        measures: measures.collect(),
        incidents: vec![OpenIncident {
            id: IncidentId::derive(&["entry"]),
            target: key(0),
            onset: 0,
            findings: vec![Observation {
                id: FindingId::derive(&["entry"]),
                meaning: Meaning::Latency,
                direction: Direction::Above,
                onset: 0,
                observed: Some(1.0),
                expected: None,
            }],
        }],
        ..Symptoms::default()
    };
    (world, symptoms)
}

fn measure(number: usize, meaning: Meaning, random: &mut fastrand::Rng) -> Measure {
    let is_slow = number == 0 || random.f64() < 0.05;
    let window = Window {
        value: Some(if is_slow { 0.5 } else { 0.1 }),
        requests: Some(100.0),
    };
    Measure {
        entity: key(number),
        meaning,
        usual: Some(Usual {
            low: 0.05,
            level: 0.1,
            high: 0.15,
        }),
        before: Some(0.1),
        requests_before: Some(100.0),
        windows: vec![window; WINDOWS],
    }
}

fn pass_over(world: &World) -> usize {
    let Some(start) = world.id(&key(0)) else {
        return 0;
    };
    let mut is_seen = vec![false; world.id_bound()];
    is_seen[start.index()] = true;
    let (mut queue, mut count) = (VecDeque::from([start]), 0);
    while let Some(id) = queue.pop_front() {
        count += 1;
        for (to, relation, _) in world.edges_from(id) {
            if relation == Relation::Calls && !is_seen[to.index()] {
                is_seen[to.index()] = true;
                queue.push_back(to);
            }
        }
    }
    count
}

fn lists(world: &World) -> Vec<Vec<usize>> {
    let mut lists = vec![Vec::new(); world.id_bound()];
    for (from, to, _, _) in world.edges_by_id() {
        lists[from.index()].push(to.index());
    }
    lists
}

fn pass_over_lists(lists: &[Vec<usize>]) -> usize {
    let mut is_seen = vec![false; lists.len()];
    is_seen[0] = true;
    let (mut queue, mut count) = (VecDeque::from([0]), 0);
    while let Some(node) = queue.pop_front() {
        count += 1;
        for to in &lists[node] {
            if !is_seen[*to] {
                is_seen[*to] = true;
                queue.push_back(*to);
            }
        }
    }
    count
}

fn median(run: impl Fn() -> usize) -> Duration {
    let mut times: Vec<Duration> = (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            std::hint::black_box(run());
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[RUNS / 2]
}
