//! Scaling: the plan of an action that adds or removes replicas.

use crate::{Action, Error, Incident, Operation, Plan, ScaleTo};

/// Direction in which an action scales.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Adds replicas, up to a maximum.
    Up,
    /// Removes replicas, down to a minimum.
    Down,
}

/// Number of replicas that the parameters of an action ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Number of replicas to scale to. If it is set, `by` is ignored.
    pub replicas: Option<u32>,
    /// Number of replicas to add or remove. By default the current number, at least one.
    pub by: Option<u32>,
    /// Maximum number of replicas for [`Direction::Up`], minimum number for [`Direction::Down`].
    pub bound: u32,
}

/// Plans to scale the target of the incident in one direction. The need `scale` of the action `A`
/// names the kinds of targets that it scales. Gives up if the number of replicas is unknown, or if
/// it can't change in that direction.
///
/// # Errors
/// Returns [`Error::Invalid`] if `by` is 0.
pub fn plan<A: Action>(
    direction: Direction,
    incident: &Incident,
    request: Request,
) -> Result<Plan, Error> {
    if request.by == Some(0) {
        return Err(Error::Invalid(format!(
            "`by` is 0: give how many replicas to {}",
            direction.verb()
        )));
    }
    let target = match A::target(incident, "scale") {
        Ok(target) => target,
        Err(why) => return Ok(Plan::give_up(why)),
    };
    let Some(now) = incident
        .snapshot
        .as_ref()
        .and_then(|snapshot| snapshot.replicas)
    else {
        return Ok(Plan::give_up(format!(
            "it is not known how many replicas {target} has"
        )));
    };
    let now = now.desired;
    let wanted = request
        .replicas
        .unwrap_or_else(|| direction.step(now, request.by.unwrap_or(now.max(1))));
    let replicas = direction.within(wanted, request.bound);
    if !direction.leads(now, wanted) {
        return Ok(Plan::give_up(format!(
            "{target} should have {now} replicas already: {wanted} are no {}",
            direction.comparative()
        )));
    }
    if !direction.leads(now, replicas) {
        return Ok(Plan::give_up(format!(
            "{target} has {now} replicas, and {}",
            direction.bound_in_words(request.bound)
        )));
    }
    let summary = format!("scaled {target} from {now} to {replicas}");
    Ok(Plan::in_order(
        vec![Operation::Scale(ScaleTo { target, replicas })],
        |_| summary,
    ))
}

impl Direction {
    /// Returns the number of replicas after a step of `by` from `now`.
    fn step(self, now: u32, by: u32) -> u32 {
        match self {
            Self::Up => now.saturating_add(by),
            Self::Down => now.saturating_sub(by),
        }
    }

    /// Returns the number of replicas that is closest to `wanted` and within the bound.
    fn within(self, wanted: u32, bound: u32) -> u32 {
        match self {
            Self::Up => wanted.min(bound),
            Self::Down => wanted.max(bound),
        }
    }

    /// Returns true if a change from `from` to `to` has this direction.
    fn leads(self, from: u32, to: u32) -> bool {
        match self {
            Self::Up => to > from,
            Self::Down => to < from,
        }
    }

    fn verb(self) -> &'static str {
        match self {
            Self::Up => "add",
            Self::Down => "remove",
        }
    }

    fn comparative(self) -> &'static str {
        match self {
            Self::Up => "more",
            Self::Down => "fewer",
        }
    }

    fn bound_in_words(self, bound: u32) -> String {
        match self {
            Self::Up => format!("at most {bound} are allowed"),
            Self::Down => format!("at least {bound} are demanded"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{About, Need, Outcome, Replicas, Snapshot, Step, Steps, Target};

    struct Scaler;

    impl Action for Scaler {
        type Parameters = serde_json::Value;
        const NEEDS: &'static [Need] = &[Need {
            operation: "scale",
            scope: "Deployment",
        }];

        fn about() -> About {
            About {
                name: "scaler",
                version: "0.1.0",
                summary: "",
            }
        }

        fn plan(_: &Incident, _: serde_json::Value) -> Result<Plan, Error> {
            Ok(Plan::finished("nothing was done"))
        }
    }

    fn about(kind: &str, desired: Option<u32>) -> Incident {
        let target = Target {
            cluster: "default".to_owned(),
            namespace: "shop".to_owned(),
            kind: kind.to_owned(),
            name: "web".to_owned(),
        };
        Incident {
            id: "inc-1".to_owned(),
            target: Some(target),
            snapshot: Some(Snapshot {
                replicas: desired.map(|desired| Replicas { desired, ready: 1 }),
                ..Snapshot::default()
            }),
            findings: Vec::new(),
            diagnosis: None,
        }
    }

    fn by(by: u32, bound: u32) -> Request {
        Request {
            replicas: None,
            by: Some(by),
            bound,
        }
    }

    fn to(replicas: u32, bound: u32) -> Request {
        Request {
            replicas: Some(replicas),
            by: None,
            bound,
        }
    }

    fn first_step(direction: Direction, incident: &Incident, request: Request) -> Step {
        let mut plan = plan::<Scaler>(direction, incident, request).unwrap();
        plan.next(0, Outcome::Begin).unwrap()
    }

    #[test]
    fn the_number_changes_in_the_direction_and_stays_within_the_bound() {
        let unnamed = |bound| Request {
            replicas: None,
            by: None,
            bound,
        };
        for (direction, desired, request, expected) in [
            (Direction::Up, 2, by(1, 10), 3),
            (Direction::Up, 9, by(5, 10), 10),
            (Direction::Up, 2, unnamed(10), 4),
            (Direction::Up, 0, unnamed(10), 1),
            (Direction::Up, 2, to(50, 20), 20),
            (Direction::Up, 2, by(u32::MAX, u32::MAX), u32::MAX),
            (Direction::Down, 4, by(2, 1), 2),
            (Direction::Down, 4, by(20, 1), 1),
            (Direction::Down, 4, unnamed(0), 0),
            (Direction::Down, 4, to(0, 3), 3),
        ] {
            let step = first_step(direction, &about("Deployment", Some(desired)), request);
            let Step::Perform(Operation::Scale(scale)) = &step else {
                panic!("{direction:?} from {desired} with {request:?}: {step:?}")
            };
            assert_eq!(
                scale.replicas, expected,
                "{direction:?} from {desired} with {request:?}"
            );
        }
    }

    #[test]
    fn the_reason_for_giving_up_names_the_target_and_the_numbers() {
        let deployment = |desired| about("Deployment", desired);
        for (direction, incident, request, reason) in [
            (
                Direction::Up,
                deployment(Some(5)),
                to(3, 10),
                "default/shop/Deployment/web should have 5 replicas already: 3 are no more",
            ),
            (
                Direction::Down,
                deployment(Some(3)),
                to(5, 1),
                "default/shop/Deployment/web should have 3 replicas already: 5 are no fewer",
            ),
            (
                Direction::Up,
                deployment(Some(10)),
                by(1, 10),
                "default/shop/Deployment/web has 10 replicas, and at most 10 are allowed",
            ),
            (
                Direction::Down,
                deployment(Some(1)),
                by(1, 1),
                "default/shop/Deployment/web has 1 replicas, and at least 1 are demanded",
            ),
            (
                Direction::Up,
                deployment(None),
                by(1, 10),
                "it is not known how many replicas default/shop/Deployment/web has",
            ),
            (
                Direction::Down,
                about("DaemonSet", Some(3)),
                by(1, 1),
                "it does not know how to `scale` default/shop/DaemonSet/web, only Deployment",
            ),
        ] {
            assert_eq!(
                first_step(direction, &incident, request),
                Step::GaveUp(reason.to_owned())
            );
        }
    }

    #[test]
    fn a_step_of_none_is_an_error_of_the_parameters() {
        for (direction, message) in [
            (Direction::Up, "`by` is 0: give how many replicas to add"),
            (
                Direction::Down,
                "`by` is 0: give how many replicas to remove",
            ),
        ] {
            let planned = plan::<Scaler>(direction, &about("Deployment", Some(2)), by(0, 5));
            assert!(
                matches!(planned.map(drop), Err(Error::Invalid(told)) if told == message),
                "{direction:?}"
            );
        }
    }
}
