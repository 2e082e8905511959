//! A mistake in a configuration: the path of the setting, and the message.
//!
//! Each part checks its own settings and states a path below its own table. The code that reads the
//! whole file puts the tables above in front and looks the position up.

/// One step down into a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A key of a table.
    Key(String),
    /// An entry of an array, counted from 0.
    Index(usize),
}

impl From<&str> for Step {
    fn from(key: &str) -> Self {
        Self::Key(key.to_owned())
    }
}

impl From<&String> for Step {
    fn from(key: &String) -> Self {
        Self::Key(key.clone())
    }
}

impl From<usize> for Step {
    fn from(index: usize) -> Self {
        Self::Index(index)
    }
}

/// A setting that cannot work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ConfigIssue {
    /// Path of the setting, from the part that checked it.
    pub path: Vec<Step>,
    /// The mistake and the remedy.
    pub message: String,
}

impl ConfigIssue {
    /// An issue of the part as a whole.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            path: Vec::new(),
            message: message.into(),
        }
    }

    /// An issue of the setting at `step`.
    pub fn at(step: impl Into<Step>, message: impl Into<String>) -> Self {
        Self::new(message).within(step)
    }

    /// Puts `step` in front of the path: the issue as seen one level further up.
    #[must_use]
    pub fn within(mut self, step: impl Into<Step>) -> Self {
        self.path.insert(0, step.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_grows_at_its_front_on_the_way_up() {
        let issue = ConfigIssue::at("url", "is no URL").within(1).within("http");
        assert_eq!(issue.path, ["http".into(), 1.into(), "url".into()]);
        assert_eq!(issue.to_string(), "is no URL");
    }
}
