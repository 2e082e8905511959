//! Reader of the history, with connections that cannot write.

mod counts;
mod decisions;
mod events;
mod incidents;
mod limits;
mod operations;
mod reader;

pub use events::RecordedEvent;
pub use limits::SearchLimits;
pub use operations::PastOperation;
pub use reader::HistoryReader;
