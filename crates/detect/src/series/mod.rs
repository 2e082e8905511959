//! The series of one signal: interned labels, watermarks, and the frames that reach a guest.

mod feed;
mod past;
mod table;

pub(crate) use feed::MAX_RECENT;
pub use feed::held_back;
pub(crate) use table::SeriesTable;

#[cfg(test)]
mod tests;
