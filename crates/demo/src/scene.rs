//! Scenes of the demo.

use anomalyzer_domain::Operation;

/// A scene: one fault, or the controls for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scene {
    /// Surge: four times the traffic.
    Surge,
    /// Leak: growing memory.
    Leak,
    /// Blip: one bad second.
    Blip,
    /// Mute: the metrics are gone while the service continues.
    Mute,
    /// Hands: no fault, but the controls for people.
    Hands,
}

impl Scene {
    /// Returns true if the scene allows the operation. Every scene allows reads. During a blip
    /// nothing else is allowed, and after the loss of the metrics only notices to people.
    pub(super) fn allows(self, operation: &Operation) -> bool {
        match self {
            Self::Surge | Self::Leak | Self::Hands => true,
            Self::Blip => operation.is_read(),
            Self::Mute => operation.is_read() || matches!(operation, Operation::Notify(_)),
        }
    }

    /// Returns the name of the scene in the events.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Surge => "surge",
            Self::Leak => "leak",
            Self::Blip => "blip",
            Self::Mute => "mute",
            Self::Hands => "hands",
        }
    }

    /// Returns a line for people.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Surge => "four times the traffic; requests queue and become slow",
            Self::Leak => "one replica leaks 20 MiB a second",
            Self::Blip => "one bad second",
            Self::Mute => "the metrics endpoints vanish while the service serves on",
            Self::Hands => {
                "what people can do: stop everything, be refused, use a budget up, see it put back, be asked"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anomalyzer_domain::{Notice, Target};

    #[test]
    fn about_a_blip_nothing_may_be_done_and_about_vanished_metrics_people_may_only_be_told() {
        let target = Target::new("", "Process", "shop");
        let restart = Operation::Restart {
            target: target.clone(),
        };
        let inspect = Operation::Inspect { target };
        let notice = Notice {
            channel: "log".into(),
            title: "gone".into(),
            text: String::new(),
        };
        let notify = Operation::Notify(notice);
        let allowed =
            |scene: Scene| [&restart, &notify, &inspect].map(|operation| scene.allows(operation));
        assert_eq!(allowed(Scene::Leak), [true, true, true]);
        assert_eq!(allowed(Scene::Mute), [false, true, true]);
        assert_eq!(allowed(Scene::Blip), [false, false, true]);
    }
}
