//! Text from outside, made safe to show.

/// Returns at most `longest` bytes of `text`, cut between characters, and marks the cut. Control
/// characters become spaces, because a log line must not be able to draw a fence of its own.
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
