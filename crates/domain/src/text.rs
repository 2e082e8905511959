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

/// Returns the beginning of bytes from outside on one line, short enough for a message.
pub fn excerpt(body: &[u8]) -> String {
    const MAX_CHARS: usize = 80;
    let start = String::from_utf8_lossy(&body[..body.len().min(4 * MAX_CHARS)]);
    one_line(&start, MAX_CHARS)
}

/// Returns the first `max` characters of a text from outside on one line.
pub fn one_line(text: &str, max: usize) -> String {
    let mut line = String::new();
    let words = text.split(|c: char| c.is_whitespace() || c.is_control());
    let mut count = 0;
    for word in words.filter(|word| !word.is_empty()) {
        let blank = if line.is_empty() { "" } else { " " };
        for c in blank.chars().chain(word.chars()) {
            if count == max {
                return line + "…";
            }
            line.push(c);
            count += 1;
        }
    }
    line
}
