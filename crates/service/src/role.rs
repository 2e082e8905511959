//! The halves of the service.

/// The half of the service that a process runs. The command line shows the variants' docs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Role {
    /// Collect, guard, act, verify, record, answer.
    Server,
    /// Detect and diagnose.
    Engine,
    /// Everything in one process.
    #[value(skip)]
    Both,
}

impl Role {
    /// Returns the names of the locks of the data folder. Server and engine may share a folder.
    pub(super) fn locks(self) -> &'static [&'static str] {
        match self {
            Self::Both => &["server", "engine"],
            Self::Server => &["server"],
            Self::Engine => &["engine"],
        }
    }

    /// Returns true if the role collects, acts and answers the whole API.
    pub(super) fn serves(self) -> bool {
        matches!(self, Self::Server | Self::Both)
    }

    /// Returns true if the role detects and diagnoses.
    pub(super) fn detects(self) -> bool {
        matches!(self, Self::Engine | Self::Both)
    }
}
