//! Malicious detector for the tests of the host. Each file has one attack. The settings choose it.
//!
//! The crate uses the contract's bindings and not the SDK's `Detector`, which would prevent most of
//! these attacks. The host's own tests contain other attacks as WAT: those that take a single wrong
//! instruction, or code that no compiler would write.

mod brim;
mod flood;
mod handles;
mod hoard;
mod long_words;
mod many_findings;
mod nth;
mod save_much;
mod spin_in_drop;
mod spin_in_open;
mod spin_in_restore;
mod spin_in_save;
mod trap_in_restore;
mod well_behaved;

use std::cell::RefCell;

use anomalyzer_plugin_sdk::bindings::detector::anomalyzer::plugin::types::About;
use anomalyzer_plugin_sdk::bindings::detector::exports::anomalyzer::plugin::{
    detector as wit, state,
};
use anomalyzer_plugin_sdk::{Error, Frame, Verdict};

/// One attack.
trait Attack {
    /// Handles a frame.
    fn observe(&mut self, frame: &Frame) -> Verdict;

    /// Returns the state of a series.
    fn save(&self) -> Result<Vec<u8>, Error> {
        Err(Error::Unsupported("it keeps nothing".to_owned()))
    }

    /// Receives the state that it saved.
    fn restore(&mut self, _saved: &[u8]) -> Result<(), Error> {
        Err(Error::Unsupported("it takes nothing back".to_owned()))
    }
}

fn nothing() -> Verdict {
    Verdict {
        scores: vec![],
        findings: vec![],
    }
}

fn begin(attack: &str) -> Option<Box<dyn Attack>> {
    Some(match attack {
        "brim" => Box::<brim::Brim>::default(),
        "flood" => Box::new(flood::Flood),
        "handles" => Box::new(handles::Handles),
        "hoard" => Box::<hoard::Hoard>::default(),
        "long-words" => Box::new(long_words::LongWords),
        "many-findings" => Box::new(many_findings::ManyFindings),
        "nth" => Box::<nth::Nth>::default(),
        "save-a-gigabyte" => Box::new(save_much::SaveMuch(1 << 30)),
        "save-over-the-bound" => Box::new(save_much::SaveMuch((1 << 20) + 1)),
        "spin-in-drop" => Box::new(spin_in_drop::SpinInDrop),
        "spin-in-open" => spin_in_open::begin(),
        "spin-in-restore" => Box::new(spin_in_restore::SpinInRestore),
        "spin-in-save" => Box::new(spin_in_save::SpinInSave),
        "trap-in-restore" => Box::new(trap_in_restore::TrapInRestore),
        "well-behaved" => Box::<well_behaved::WellBehaved>::default(),
        _ => return None,
    })
}

/// Never returns. It is not `loop {}`, which tells the reader of a backtrace nothing.
fn spin() -> ! {
    let mut turns = 0_u64;
    loop {
        turns = std::hint::black_box(turns.wrapping_add(1));
    }
}

/// The plugin.
pub struct Plugin;

impl wit::Guest for Plugin {
    type Monitor = Monitor;

    fn describe() -> wit::Description {
        wit::Description {
            about: About {
                name: "evil-detector".to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                summary: "means harm".to_owned(),
                settings: r#"{"type": "string"}"#.to_owned(),
            },
            history_ms: 0,
        }
    }
}

/// The contract's `monitor`.
pub struct Monitor(RefCell<Box<dyn Attack>>);

impl Monitor {
    fn of(attack: impl Attack + 'static) -> Self {
        Self(RefCell::new(Box::new(attack)))
    }
}

impl wit::GuestMonitor for Monitor {
    fn open(settings: String) -> Result<wit::Monitor, Error> {
        // The attack is the last string in the settings. The settings are that string alone, or an
        // object that contains it.
        let attack = settings.rsplit('"').nth(1).unwrap_or_default();
        let begun = begin(attack)
            .ok_or_else(|| Error::Invalid(format!("there is no attack `{attack}`")))?;
        Ok(wit::Monitor::new(Self(RefCell::new(begun))))
    }

    fn observe(&self, frame: Frame, _: bool) -> Result<Verdict, Error> {
        Ok(self.0.borrow_mut().observe(&frame))
    }
}

impl state::Guest for Plugin {
    fn save(monitor: wit::MonitorBorrow<'_>, of: Option<u32>) -> Result<Vec<u8>, Error> {
        match of {
            Some(_) => monitor.get::<Monitor>().0.borrow().save(),
            None => Err(Error::Unsupported("its series share nothing".to_owned())),
        }
    }

    fn restore(
        monitor: wit::MonitorBorrow<'_>,
        _: Option<wit::Series>,
        _: String,
        saved: Vec<u8>,
    ) -> Result<(), Error> {
        monitor.get::<Monitor>().0.borrow_mut().restore(&saved)
    }
}

#[cfg(target_arch = "wasm32")]
#[allow(unsafe_code, missing_docs, unused_qualifications)]
mod exported_to_the_host {
    type Plugin = super::Plugin;
    anomalyzer_plugin_sdk::bindings::detector::export_stateful_detector_world!(
        Plugin with_types_in anomalyzer_plugin_sdk::bindings::detector
    );
}
