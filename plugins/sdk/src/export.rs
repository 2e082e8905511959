//! Exports: connect a detector or an action to the contract.

use std::cell::RefCell;
use std::marker::PhantomData;

use crate::bindings::action::exports::anomalyzer::plugin::action as action_wit;
use crate::bindings::detector::anomalyzer::plugin::types;
use crate::bindings::detector::exports::anomalyzer::plugin::{
    detector as detector_wit, state as state_wit,
};
use crate::{
    About, Action, Detector, Error, Frame, Outcome, Run, StatefulDetector, Step, UnixMs, Verdict,
    Watch, parse,
};

/// Carrier of a plugin's exports.
pub struct Exported<T>(PhantomData<T>);

/// Exports a type that implements [`Detector`](crate::Detector). Call it once per plugin.
#[macro_export]
macro_rules! export_detector {
    ($detector:ty) => {
        #[cfg(target_arch = "wasm32")]
        #[allow(unsafe_code, missing_docs, unused_qualifications)]
        mod exported_to_the_host {
            type Plugin = $crate::Exported<super::Exporting>;
            $crate::stateless::export_detector_world!(
                Plugin with_types_in $crate::bindings::detector
            );
        }
        #[cfg(target_arch = "wasm32")]
        type Exporting = $detector;
    };
}

/// Exports a type that implements [`StatefulDetector`](crate::StatefulDetector). Call it once per
/// plugin, instead of [`export_detector!`].
#[macro_export]
macro_rules! export_stateful_detector {
    ($detector:ty) => {
        #[cfg(target_arch = "wasm32")]
        #[allow(unsafe_code, missing_docs, unused_qualifications)]
        mod exported_to_the_host {
            type Plugin = $crate::Exported<super::Exporting>;
            $crate::bindings::detector::export_stateful_detector_world!(
                Plugin with_types_in $crate::bindings::detector
            );
        }
        #[cfg(target_arch = "wasm32")]
        type Exporting = $detector;
    };
}

/// Exports a type that implements [`Action`](crate::Action). Call it once per plugin.
#[macro_export]
macro_rules! export_action {
    ($action:ty) => {
        #[cfg(target_arch = "wasm32")]
        #[allow(unsafe_code, missing_docs, unused_qualifications)]
        mod exported_to_the_host {
            type Plugin = $crate::Exported<super::Exporting>;
            $crate::bindings::action::export_action_world!(
                Plugin with_types_in $crate::bindings::action
            );
        }
        #[cfg(target_arch = "wasm32")]
        type Exporting = $action;
    };
}

fn about(about: About, settings: String) -> types::About {
    types::About {
        name: about.name.to_owned(),
        version: about.version.to_owned(),
        summary: about.summary.to_owned(),
        settings,
    }
}

/// Returns the error for a call while another call is under way. The host never calls a guest that
/// is calling it, so a borrow can't be taken twice. If the host did, it would get this error.
fn entered_twice() -> Error {
    Error::Failed("called while a call was under way".to_owned())
}

impl<D: Detector> detector_wit::Guest for Exported<D> {
    type Monitor = Monitor<D>;

    fn describe() -> detector_wit::Description {
        detector_wit::Description {
            about: about(D::about(), parse::schema::<D::Settings>()),
            history_ms: D::HISTORY_MS,
        }
    }
}

#[doc(hidden)]
pub struct Monitor<D: Detector>(RefCell<Watch<D>>);

impl<D: Detector> detector_wit::GuestMonitor for Monitor<D> {
    fn open(settings: String) -> Result<detector_wit::Monitor, Error> {
        Ok(detector_wit::Monitor::new(Self(RefCell::new(Watch::open(
            &settings,
        )?))))
    }

    fn observe(&self, frame: Frame, want_scores: bool) -> Result<Verdict, Error> {
        self.0
            .try_borrow_mut()
            .map_err(|_| entered_twice())?
            .observe(&frame, want_scores)
    }
}

impl<D: StatefulDetector> state_wit::Guest for Exported<D> {
    fn save(monitor: detector_wit::MonitorBorrow<'_>, of: Option<u32>) -> Result<Vec<u8>, Error> {
        monitor
            .get::<Monitor<D>>()
            .0
            .try_borrow()
            .map_err(|_| entered_twice())?
            .save(of)
    }

    fn restore(
        monitor: detector_wit::MonitorBorrow<'_>,
        of: Option<detector_wit::Series>,
        from_version: String,
        saved: Vec<u8>,
    ) -> Result<(), Error> {
        let monitor = monitor.get::<Monitor<D>>();
        monitor
            .0
            .try_borrow_mut()
            .map_err(|_| entered_twice())?
            .restore(of, &from_version, &saved)
    }
}

impl<A: Action> action_wit::Guest for Exported<A> {
    type Run = ExportedRun<A>;

    fn describe() -> action_wit::Description {
        action_wit::Description {
            about: about(A::about(), parse::schema::<A::Parameters>()),
            needs: A::NEEDS
                .iter()
                .map(|need| action_wit::Need {
                    operation: need.operation.to_owned(),
                    scope: need.scope.to_owned(),
                })
                .collect(),
        }
    }
}

#[doc(hidden)]
pub struct ExportedRun<A>(RefCell<Run>, PhantomData<A>);

impl<A: Action> action_wit::GuestRun for ExportedRun<A> {
    fn open(incident: action_wit::Incident, parameters: String) -> Result<action_wit::Run, Error> {
        let run = Run::open::<A>(&incident, &parameters)?;
        Ok(action_wit::Run::new(Self(RefCell::new(run), PhantomData)))
    }

    fn next(&self, now: UnixMs, last: Outcome) -> Result<Step, Error> {
        self.0
            .try_borrow_mut()
            .map_err(|_| entered_twice())?
            .next(now, last)
    }
}
