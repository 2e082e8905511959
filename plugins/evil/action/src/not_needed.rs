//! Attack: asks for an operation that it did not declare as a need.

use anomalyzer_plugin_sdk::{HttpRequest, Operation, Outcome, Step, Target};

use crate::{Attack, once};

pub struct NotNeeded;

impl Attack for NotNeeded {
    fn next(&mut self, _: &Target, last: Outcome) -> Step {
        let metadata = HttpRequest {
            method: "GET".to_owned(),
            url: "http://169.254.169.254/latest/meta-data/".to_owned(),
            headers: vec![],
            body: None,
        };
        once(Operation::Http(metadata), last)
    }
}
