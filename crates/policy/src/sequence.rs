//! Tests that no sequence of requests, incidents, approvals, clock jumps and restarts exceeds a
//! budget or breaks a floor.
//!
//! The world is a model. It holds the records that the executor keeps, and targets that follow
//! every command. The guard is the real one.

use proptest::prelude::*;

use super::*;
use anomalyzer_domain::{Coverage, Mode, Operation, Replicas, Snapshot, Target, Verdict};

const HOUR_MS: i64 = 3_600_000;

#[derive(Clone, Copy, Debug)]
enum Event {
    /// Time passes.
    Pass(i64),
    /// The clock is set forward or back.
    Jump(i64),
    /// The process restarts and forgets all clock jumps.
    Restart,
    Open(usize),
    Clear(usize),
    /// The number of ready replicas of a target changes.
    Ready(usize, u32),
    /// Our analyst wants the given number of replicas, or a restart if there is none. The last
    /// field is true if a person approved it.
    Wish(usize, Option<u32>, bool),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let target = 0..3_usize;
    let event = prop_oneof![
        3 => (1_i64..900_000).prop_map(Event::Pass),
        // A shorter jump counts as an adjustment of the clock.
        1 => (10_000..2 * HOUR_MS).prop_map(Event::Jump),
        1 => (-2 * HOUR_MS..-10_000).prop_map(Event::Jump),
        1 => Just(Event::Restart),
        2 => target.clone().prop_map(Event::Open),
        1 => target.clone().prop_map(Event::Clear),
        1 => (target.clone(), 0..8_u32).prop_map(|(target, ready)| Event::Ready(target, ready)),
        9 => (target, proptest::option::of(0..14_u32), any::<bool>())
            .prop_map(|(target, replicas, approved)| Event::Wish(target, replicas, approved)),
    ];
    proptest::collection::vec(event, 1..120)
}

/// A completed operation: its time by the clock, its true time, and its target.
struct Done {
    at: i64,
    truly: i64,
    target: usize,
    replicas: Option<u32>,
}

struct World {
    policy: Policy,
    truly: i64,
    /// Offset of the clock from the true time.
    off: i64,
    /// True time of the last jump.
    jumped: Option<i64>,
    /// True time of the last restart that made the process forget a jump.
    forgot: Option<i64>,
    skew: ClockSkew,
    open: [bool; 3],
    replicas: [Replicas; 3],
    done: Vec<Done>,
}

fn target(index: usize) -> Target {
    Target::new(
        if index == 2 { "pay" } else { "shop" },
        "Deployment",
        &format!("web-{index}"),
    )
}

impl World {
    fn new() -> Self {
        let policy = Policy {
            cooldown: std::time::Duration::from_secs(60),
            most_on_target: 3,
            budgets: vec![BudgetFor {
                targets: Selector {
                    name: Some("web-1".into()),
                    ..Selector::default()
                },
                most_on_target: 2,
            }],
            most_in_namespace: 4,
            most_in_cluster: 5,
            most_reversals: 1,
            ..Policy::default()
        };
        Self {
            policy,
            truly: 1_000_000_000_000,
            off: 0,
            jumped: None,
            forgot: None,
            skew: ClockSkew::default(),
            open: [false; 3],
            replicas: [Replicas {
                desired: 3,
                ready: 3,
            }; 3],
            done: vec![],
        }
    }

    fn now(&self) -> i64 {
        self.truly + self.off
    }

    fn spent(&self, of: usize) -> Spent {
        let recent = self.skew.recent(HOUR_MS);
        let count = |is: &dyn Fn(usize) -> bool| {
            self.done
                .iter()
                .filter(|done| is(done.target))
                .filter(|done| {
                    recent
                        .iter()
                        .any(|(from, to)| (*from..=*to).contains(&done.at))
                })
                .count() as u32
        };
        Spent {
            on_target: count(&|one| one == of),
            in_namespace: count(&|one| target(one).namespace == target(of).namespace),
            in_cluster: count(&|_| true),
        }
    }

    /// Returns the operations on a target, each with its time by the present clock.
    fn past(&self, of: usize) -> Vec<PastOperation> {
        let on_target = self.done.iter().filter(|done| done.target == of);
        on_target
            .filter_map(|done| {
                let age = self.skew.age(done.at)?;
                Some(PastOperation {
                    target: target(of),
                    solution: match done.replicas {
                        Some(_) => "scale_up".into(),
                        None => "restart_service".into(),
                    },
                    kind: String::new(),
                    replicas: done.replicas,
                    notice: None,
                    asked_at: self.now() - age,
                    took_effect: true,
                })
            })
            .collect()
    }

    fn wish(&mut self, of: usize, replicas: Option<u32>, approved: bool) {
        let now = self.now();
        self.skew.observe(now, self.truly);
        let on = target(of);
        let (solution, operation) = match replicas {
            Some(replicas) => (
                "scale_up",
                Operation::Scale {
                    target: on.clone(),
                    replicas,
                },
            ),
            None => ("restart_service", Operation::Restart { target: on.clone() }),
        };
        let facts = Facts {
            now,
            jumped: 0,
            source: Source::Engine,
            solution: solution.into(),
            plugin_mode: Mode::Auto,
            target: Some(on.clone()),
            expires_at: now + 1,
            incident: Some(IncidentFacts {
                open: Some(self.open[of]),
                coverage: Coverage {
                    asked: 1,
                    answered: 1,
                    failed: 0,
                },
                as_of: Some(now),
                ..IncidentFacts::default()
            }),
            diagnosis: DiagnosisFacts::default(),
            operation: Some(operation),
            effect: None,
            takes_back: false,
            approved: approved.then(|| Approved {
                by: "ada".into(),
                expires_at: now + 1,
            }),
            snapshot: Some(Snapshot::plain(on, now, Some(self.replicas[of]))),
            target_facts: TargetFacts::default(),
            stopped: None,
            record_mismatch: None,
            silenced: None,
            open_incidents: 1,
            spent: self.spent(of),
            past: self.past(of),
            rate_limit: None,
        };
        if judge(&facts.with_effect(None), &self.policy).verdict != Verdict::Allow {
            return;
        }
        assert!(
            self.open[of],
            "nothing is done for an incident that is over"
        );
        if let Some(replicas) = replicas {
            let before = self.replicas[of];
            assert!(
                (self.policy.min_replicas..=self.policy.max_replicas).contains(&replicas),
                "{replicas} replicas"
            );
            if let Some(taken) = before
                .desired
                .checked_sub(replicas)
                .filter(|taken| *taken > 0)
            {
                let left = before.ready.saturating_sub(taken);
                assert!(
                    left >= self.policy.min_ready,
                    "{before:?} to {replicas} could leave {left}"
                );
                assert!(f64::from(taken) <= f64::from(before.desired) * self.policy.most_share);
            }
            self.replicas[of] = Replicas {
                desired: replicas,
                ready: before.ready.min(replicas),
            };
        }
        self.done.push(Done {
            at: now,
            truly: self.truly,
            target: of,
            replicas,
        });
        self.within_budgets();
    }

    /// Checks the budgets over the last hour of true time, whatever the clock showed. Skips the
    /// check if the process forgot a jump in that hour.
    fn within_budgets(&self) {
        if self.forgot.is_some_and(|at| self.truly - at <= HOUR_MS) {
            return;
        }
        let hour: Vec<&Done> = self
            .done
            .iter()
            .filter(|done| self.truly - done.truly < HOUR_MS)
            .collect();
        assert!(
            hour.len() <= self.policy.most_in_cluster as usize,
            "{} in the cluster",
            hour.len()
        );
        for of in 0..3 {
            let on_target = hour.iter().filter(|done| done.target == of).count();
            assert!(
                on_target <= self.policy.most_on(&target(of)) as usize,
                "{on_target} on {of}"
            );
            let namespace = target(of).namespace;
            let in_it = hour
                .iter()
                .filter(|done| target(done.target).namespace == namespace)
                .count();
            assert!(
                in_it <= self.policy.most_in_namespace as usize,
                "{in_it} in {namespace}"
            );
        }
    }

    fn play(&mut self, event: Event) {
        match event {
            Event::Pass(time) => self.truly += time,
            Event::Jump(by) => {
                self.off += by;
                self.jumped = Some(self.truly);
            }
            Event::Restart => {
                if self.jumped.is_some_and(|at| self.truly - at <= HOUR_MS) {
                    self.forgot = Some(self.truly);
                }
                self.skew = ClockSkew::default();
                self.skew.observe(self.now(), self.truly);
            }
            Event::Open(of) => self.open[of] = true,
            Event::Clear(of) => self.open[of] = false,
            Event::Ready(of, ready) => {
                self.replicas[of].ready = ready.min(self.replicas[of].desired);
            }
            Event::Wish(of, replicas, approved) => self.wish(of, replicas, approved),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]
    #[test]
    fn no_sequence_of_events_exceeds_a_budget_or_breaks_a_floor(events in events()) {
        let mut world = World::new();
        for event in events {
            world.play(event);
        }
    }
}

#[test]
fn in_the_model_something_is_done() {
    let mut world = World::new();
    world.play(Event::Open(0));
    world.play(Event::Wish(0, Some(4), false));
    world.play(Event::Pass(120_000));
    world.play(Event::Wish(0, None, false));
    assert_eq!(world.done.len(), 2);
}
