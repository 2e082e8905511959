//! Text from outside, made safe to show.

/// Shortens a text to at most `longest` bytes at a character boundary, and marks the cut. Replaces
/// control characters with spaces, so that a log line can't imitate a fence.
pub fn truncate(text: &str, longest: usize) -> String {
    let clean: String = text
        .chars()
        .map(|c| if c.is_control() && c != '\n' { ' ' } else { c })
        .collect();
    if clean.len() <= longest {
        return clean;
    }
    let end = (0..=longest)
        .rev()
        .find(|at| clean.is_char_boundary(*at))
        .unwrap_or(0);
    format!("{}… [cut]", &clean[..end])
}
