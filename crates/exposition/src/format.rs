//! The formats of an exposition.

/// Format of an exposition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus's text format. Times are in milliseconds.
    Text,
    /// OpenMetrics. Times are in seconds, a sample may have an exemplar, and the last line is
    /// `# EOF`.
    OpenMetrics,
}

impl Format {
    /// Returns the format that a content type names. A type that is not known counts as text.
    pub fn of(content_type: &str) -> Self {
        let kind = content_type.split(';').next().unwrap_or_default();
        if kind
            .trim()
            .eq_ignore_ascii_case("application/openmetrics-text")
        {
            Self::OpenMetrics
        } else {
            Self::Text
        }
    }
}
