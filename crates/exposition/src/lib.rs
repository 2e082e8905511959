//! Reads the text formats in which a process exposes its metrics, with the values that Prometheus 3
//! reads: the text format, versions 0.0.4 and 1.0.0, and OpenMetrics 1.0.
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>
//! <https://prometheus.io/docs/specs/om/open_metrics_spec/>
//!
//! Prometheus gives up a whole scrape for one line that it can't read. Here such a line costs
//! itself only, and is counted.

mod cursor;
mod format;
mod number;
mod selector;
mod series;

use anomalyzer_domain::{UnixMs, excerpt};

use number::{format_bound, parse_float};
use series::{Line, Series};

pub use format::Format;
pub use selector::{ParseSelectorError, Selector};

/// One sample of an exposition.
#[derive(Clone, Debug, PartialEq)]
pub struct Exposed {
    /// The metric.
    pub name: String,
    /// Names and values, in the order of the line. Each name occurs once.
    pub labels: Vec<(String, String)>,
    /// Value, which may be NaN or infinite. It is NaN if the line has no readable value.
    pub value: f64,
    /// Timestamp of the sample, if the source gives one. Otherwise the time of the scrape counts.
    pub at: Option<UnixMs>,
}

/// Content of a body.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Exposition {
    /// Samples of the wanted metrics, in the order of the body.
    pub samples: Vec<Exposed>,
    /// Number of lines that can't be used.
    pub unusable: usize,
    /// The first line that can't be used.
    pub first_unusable: Option<ExpositionError>,
}

/// A line that can't be used, or a body without any usable line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} (`{text}`): {reason}")]
pub struct ExpositionError {
    /// Line number, counted from 1.
    pub line: usize,
    /// Beginning of the line.
    pub text: String,
    /// The unexpected text, and the expected one.
    pub reason: String,
}

/// Kind of the metric that the last `# TYPE` line names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Histogram,
    Summary,
    Other,
}

/// Reads the samples of the wanted metrics. The values of other metrics are not parsed.
///
/// # Errors
/// Returns the first unusable line if no line is usable: the body is no exposition. Returns the
/// last line of an OpenMetrics body that does not end with `# EOF`, because it was cut.
pub fn parse(
    body: &[u8],
    format: Format,
    wanted: impl Fn(&str) -> bool,
) -> Result<Exposition, ExpositionError> {
    let mut reader = Reader {
        body,
        format,
        kind: Kind::Other,
        at: 0,
        line: 1,
        single_until: 0,
        usable: 0,
        ended: false,
        found: Exposition::default(),
    };
    let mut series = Series::default();
    while reader.at < body.len() && !reader.ended {
        reader.read_next(&mut series, &wanted);
    }
    if format == Format::OpenMetrics && !reader.ended && !body.is_empty() {
        let reason = "the text ends without the line `# EOF`, so a part of it may be missing";
        let lines = body.trim_ascii_end().split(|byte| *byte == b'\n');
        let last = lines.clone().next_back().unwrap_or_default();
        return Err(ExpositionError {
            line: lines.count(),
            text: excerpt(last),
            reason: reason.to_owned(),
        });
    }
    match reader.found {
        Exposition {
            first_unusable: Some(error),
            ..
        } if reader.usable == 0 => Err(error),
        found => Ok(found),
    }
}

struct Reader<'a> {
    body: &'a [u8],
    format: Format,
    kind: Kind,
    /// Start of the next line.
    at: usize,
    /// Number of the next line.
    line: usize,
    /// Quoted texts of lines before this place must end on their line. A line whose quoted text
    /// spans several lines and leads to nothing is given up. The text up to that place is then read
    /// again line by line, and no byte is read a third time.
    single_until: usize,
    usable: usize,
    /// True after `# EOF` of OpenMetrics.
    ended: bool,
    found: Exposition,
}

impl<'a> Reader<'a> {
    /// Reads one line, or one sample whose quoted texts span several lines.
    fn read_next(&mut self, series: &mut Series<'a>, wanted: &impl Fn(&str) -> bool) {
        let (body, start) = (self.body, self.at);
        let newline = body[start..].iter().position(|byte| *byte == b'\n');
        let line_end = newline.map_or(body.len(), |length| start + length);
        let line = &body[start..line_end];
        match line.trim_ascii_start().first() {
            // A blank line. A carriage return alone is no blank.
            None if !line.contains(&b'\r') => self.skip_to(line_end),
            Some(b'#') => {
                self.metadata(line, line_end);
                self.skip_to(line_end);
            }
            _ => {
                let spans = self.format == Format::Text && start >= self.single_until;
                let end = if spans { body.len() } else { line_end };
                let mut text = Line::new(&body[start..end], self.format);
                if let Err(reason) = series.read(&mut text) {
                    self.single_until = self.single_until.max(start + text.at());
                    self.unusable(line, reason);
                    self.skip_to(line_end);
                    return;
                }
                match self.sample(series, &mut text, wanted) {
                    Ok(()) => self.usable += 1,
                    Err(reason) => self.unusable(line, reason),
                }
                text.skip_line();
                self.skip_to(start + text.at());
            }
        }
    }

    /// Moves to the line behind the newline at `end`.
    fn skip_to(&mut self, end: usize) {
        let next = self.body.len().min(end + 1);
        let newlines = self.body[self.at..next].iter();
        self.line += newlines.filter(|byte| **byte == b'\n').count();
        self.at = next;
    }

    fn unusable(&mut self, line: &[u8], reason: String) {
        self.found.unusable += 1;
        let (number, text) = (self.line, line);
        self.found
            .first_unusable
            .get_or_insert_with(|| ExpositionError {
                line: number,
                text: excerpt(text),
                reason,
            });
    }

    /// Reads the rest of a wanted sample after its series.
    fn sample(
        &mut self,
        series: &Series<'a>,
        text: &mut Line<'a>,
        wanted: &impl Fn(&str) -> bool,
    ) -> Result<(), String> {
        let name = series.name()?;
        if !wanted(&name) {
            return text.without_carriage_return();
        }
        let histogram = self.kind == Kind::Histogram;
        let mut labels = series.labels()?;
        for (label, value) in &mut labels {
            // Prometheus 3 writes these numbers in one way, so that `1` and `1.0` are one bucket.
            let is_number =
                (histogram && label == "le") || (self.kind == Kind::Summary && label == "quantile");
            if is_number && let Some(number) = parse_float(value) {
                *value = format_bound(number);
            }
        }
        let is_apart = text.is_apart();
        // A series without a readable value exists, and its value is not known. Without a sample, a
        // sum would count the series as zero.
        let (value, at, outcome) = match text.value_and_time() {
            Ok((value, at)) => (value, at, Ok(())),
            Err(reason) if is_apart => (f64::NAN, None, Err(reason)),
            Err(reason) => return Err(reason),
        };
        self.found.samples.push(Exposed {
            name: name.into_owned(),
            labels,
            value,
            at,
        });
        outcome
    }

    /// Reads a line that begins with `#`. Notes the kind of the metric, and the end of OpenMetrics.
    fn metadata(&mut self, line: &[u8], line_end: usize) {
        if self.format == Format::OpenMetrics && line == b"# EOF" {
            self.ended = true;
            if line_end + 1 < self.body.len() {
                let reason = "there is text behind the line `# EOF`, which is not read";
                self.unusable(line, reason.to_owned());
            }
            return;
        }
        let line = String::from_utf8_lossy(line);
        let after = |text: &str, prefix| {
            let rest = text.strip_prefix(prefix)?;
            let trimmed = rest.trim_start_matches([' ', '\t']);
            (trimmed.len() < rest.len()).then(|| trimmed.to_owned())
        };
        let comment = after(line.trim_start_matches([' ', '\t']), "#");
        let Some(definition) = comment.and_then(|comment| after(&comment, "TYPE")) else {
            return;
        };
        // The name may be a quoted text with blanks.
        self.kind = match definition.rsplit([' ', '\t']).find(|word| !word.is_empty()) {
            Some("histogram") => Kind::Histogram,
            Some("summary") => Kind::Summary,
            _ => Kind::Other,
        };
    }
}

#[cfg(test)]
mod tests;
