//! Splits text into records and fields (RFC 4180).
//!
//! Libraries accept a stray quote and take everything up to the next quote as one field, so rows
//! vanish without a sign. Here a quoted field must end at a delimiter or at the end of a line.
//! Otherwise its line is split as if it had no quotes, and no other line is lost.

/// Maximum number of fields of a record. Further fields are ignored.
const MAX_FIELDS: usize = 4096;

/// Records of a text, each with the number of its first line.
pub(super) struct Records<'a> {
    text: &'a str,
    delimiter: char,
    at: usize,
    line: usize,
    comment: Option<&'a str>,
}

impl<'a> Records<'a> {
    /// Starts at the first record. Skips the line `sep=;`, which spreadsheets write.
    pub(super) fn new(text: &'a str, delimiter: char) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut records = Self {
            text,
            delimiter,
            at: 0,
            line: 1,
            comment: None,
        };
        let hint = text.get(..4).unwrap_or_default();
        if hint.eq_ignore_ascii_case("sep=") {
            let end = records.end_of_line(0);
            records.pass(end);
        }
        records
    }

    /// Returns the last comment before the current record, without its mark.
    pub(super) fn comment(&self) -> Option<&'a str> {
        self.comment
    }

    /// Puts the fields of the next record, as written, into `fields`, and returns the number of its
    /// first line. Skips blank lines, records of empty fields, and comments.
    pub(super) fn next(&mut self, fields: &mut Vec<&'a str>) -> Option<usize> {
        while self.at < self.text.len() {
            let line = self.line;
            fields.clear();
            let first = self.text[self.at..].trim_start_matches([' ', '\t']);
            let end = if let Some(comment) = first.strip_prefix('#') {
                let end = self.end_of_line(self.at);
                let length = end.saturating_sub(self.text.len() - comment.len());
                self.comment = comment.get(..length);
                end
            } else if let Some(end) = self.quoted_record(fields) {
                end
            } else {
                fields.clear();
                let end = self.end_of_line(self.at);
                let plain = self.text[self.at..end].split(self.delimiter);
                fields.extend(plain.take(MAX_FIELDS));
                end
            };
            self.pass(end);
            if fields
                .iter()
                .any(|field| !super::field::bare(field).is_empty())
            {
                return Some(line);
            }
        }
        None
    }

    /// Splits the record at the current place. Returns its end, or `None` if a quote is misplaced.
    fn quoted_record(&self, fields: &mut Vec<&'a str>) -> Option<usize> {
        let mut from = self.at;
        loop {
            let rest = &self.text[from..];
            let end = match self.unblank(from) {
                quote if self.text[quote..].starts_with('"') => self.end_of_quoted(quote)?,
                _ => rest
                    .find([self.delimiter, '\n', '\r'])
                    .map_or(self.text.len(), |length| from + length),
            };
            if fields.len() < MAX_FIELDS {
                fields.push(&self.text[from..end]);
            }
            if !self.text[end..].starts_with(self.delimiter) {
                return Some(end);
            }
            from = end + self.delimiter.len_utf8();
        }
    }

    /// Returns the end of the field whose first quote is at `quote`, or `None` if anything but a
    /// delimiter or the end of a line follows the last quote.
    fn end_of_quoted(&self, quote: usize) -> Option<usize> {
        let mut from = quote + 1;
        loop {
            let end = from + self.text[from..].find('"')? + 1;
            if self.text[end..].starts_with('"') {
                from = end + 1;
                continue;
            }
            let end = self.unblank(end);
            let next = self.text[end..].chars().next();
            let good = next.is_none_or(|next| [self.delimiter, '\n', '\r'].contains(&next));
            return good.then_some(end);
        }
    }

    /// Returns the place behind the spaces at `at`. A delimiter is no space.
    fn unblank(&self, at: usize) -> usize {
        let rest = &self.text[at..];
        let blank = |c: char| c != self.delimiter && (c == ' ' || c == '\t');
        at + rest.len() - rest.trim_start_matches(blank).len()
    }

    fn end_of_line(&self, at: usize) -> usize {
        let length = self.text[at..].find(['\n', '\r']);
        length.map_or(self.text.len(), |length| at + length)
    }

    /// Goes on behind the line break at `end`, and counts the lines.
    fn pass(&mut self, end: usize) {
        let rest = &self.text[end..];
        let ending = ["\r\n", "\n", "\r"]
            .into_iter()
            .find(|ending| rest.starts_with(ending));
        let next = end + ending.map_or(0, str::len);
        let passed = &self.text.as_bytes()[self.at..next];
        let breaks = |(index, byte): (usize, &u8)| match byte {
            b'\n' => true,
            b'\r' => passed.get(index + 1) != Some(&b'\n'),
            _ => false,
        };
        self.line += passed.iter().enumerate().filter(|at| breaks(*at)).count();
        self.at = next;
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn records(text: &str, delimiter: char) -> Vec<(usize, Vec<&str>)> {
        let (mut records, mut fields) = (Records::new(text, delimiter), Vec::new());
        let mut all = Vec::new();
        while let Some(line) = records.next(&mut fields) {
            all.push((line, fields.clone()));
        }
        all
    }

    #[test]
    fn records_are_split_as_in_rfc_4180() {
        for ending in ["\n", "\r\n", "\r"] {
            let text = ["a,\"b,\"\"c\"\"", "d\",e", "", "# no", " ,", "f, \"g,h\" ,"].join(ending);
            let second = format!("\"b,\"\"c\"\"{ending}d\"");
            let said = [
                (1, vec!["a", &second, "e"]),
                (6, vec!["f", " \"g,h\" ", ""]),
            ];
            assert_eq!(records(&text, ','), said, "{ending:?}");
        }
        assert_eq!(records("sep=;\n1;2", ';'), [(2, vec!["1", "2"])]);
        assert_eq!(records("1\t\"2\t3\"", '\t'), [(1, vec!["1", "\"2\t3\""])]);
    }

    #[test]
    fn a_stray_quote_costs_no_other_line() {
        for stray in ["\"x", "\"x\" y", "5\" pipe", "x\"", "\"\"\"x"] {
            let text = format!("1,2,{stray}\n3,4,\n5,6,{stray}\n7,8,y\n");
            let all = records(&text, ',');
            assert_eq!(all.len(), 4, "{stray}: {all:?}");
            assert_eq!(all[2].1[..2], ["5", "6"], "{stray}");
        }
    }

    #[test]
    fn quotes_take_no_quadratic_time() {
        let many = 200_000;
        for text in [
            "\"".repeat(many),
            ",\"x\n".repeat(many),
            "\"\"\"\n".repeat(many),
            "\"x\"\"\n".repeat(many),
            format!("\"{}", "\"\"x\n".repeat(many)),
            ",".repeat(many),
            "\n".repeat(many),
        ] {
            let start = Instant::now();
            records(&text, ',');
            assert!(start.elapsed() < Duration::from_secs(5), "{}", &text[..9]);
        }
    }
}
