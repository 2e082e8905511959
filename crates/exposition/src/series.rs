//! Splits one sample of an exposition into its parts.

use std::borrow::Cow;

use anomalyzer_domain::UnixMs;

use super::format::Format;
use super::number::parse_float;

/// Reason for a line that ends as on Windows.
const CARRIAGE_RETURN: &str =
    "the line ends with a carriage return, and the formats allow only a line feed";

/// The text from the start of a sample, and a place in it.
pub struct Line<'a> {
    text: &'a [u8],
    at: usize,
    format: Format,
}

/// Name and labels of a sample, with their escapes.
#[derive(Default)]
pub struct Series<'a> {
    name: &'a [u8],
    labels: Vec<(&'a [u8], &'a [u8])>,
}

impl<'a> Line<'a> {
    /// Creates a reader of the sample at the start of `text`. The sample ends at a newline, which
    /// need not be the first one, or at the end of `text`.
    pub fn new(text: &'a [u8], format: Format) -> Self {
        Self {
            text,
            at: 0,
            format,
        }
    }

    /// Returns the number of bytes that were read.
    pub fn at(&self) -> usize {
        self.at
    }

    /// Skips the rest of the line, up to its newline.
    pub fn skip_line(&mut self) {
        self.word(|byte| byte == b'\n');
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    /// Skips blanks and tabs. OpenMetrics allows none.
    fn skip_blanks(&mut self) {
        if self.format == Format::Text {
            self.word(|byte| !is_blank(byte));
        }
    }

    /// Reads up to the first byte that `ends` accepts.
    fn word(&mut self, ends: impl Fn(u8) -> bool) -> &'a [u8] {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let length = rest.iter().position(|byte| ends(*byte));
        let word = &rest[..length.unwrap_or(rest.len())];
        self.at += word.len();
        word
    }

    /// Reads a name without quotes. Returns `None` if there is none.
    fn name(&mut self, colons: bool) -> Option<&'a [u8]> {
        if self.peek()?.is_ascii_digit() {
            return None;
        }
        let name = self.word(|byte| {
            !(byte.is_ascii_alphanumeric() || byte == b'_' || (colons && byte == b':'))
        });
        (!name.is_empty()).then_some(name)
    }

    /// Reads a text in quotes, and returns it with its escapes.
    fn quoted(&mut self) -> Result<&'a [u8], String> {
        if !self.take(b'"') {
            return Err(format!(
                "a text in quotes is expected where {} stands",
                self.here()
            ));
        }
        let start = self.at;
        loop {
            self.word(|byte| matches!(byte, b'"' | b'\\' | b'\n'));
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(&self.text[start..self.at - 1]);
                }
                Some(b'\\') if !matches!(self.text.get(self.at + 1), None | Some(b'\n')) => {
                    self.at += 2;
                }
                // The text format allows a newline without an escape.
                Some(b'\n') if self.format == Format::Text => self.at += 1,
                _ => return Err("a text in quotes has no end".to_owned()),
            }
        }
    }

    /// Returns true if a blank or a brace separates the value from the series.
    pub fn is_apart(&self) -> bool {
        let before = self.at.checked_sub(1).map(|last| self.text[last]);
        before == Some(b'}') || before.into_iter().chain(self.peek()).any(is_blank)
    }

    /// Reads the rest of the line. Returns an error if it ends with a carriage return.
    pub fn without_carriage_return(&mut self) -> Result<(), String> {
        self.skip_line();
        match self.at.checked_sub(1).map(|last| self.text[last]) {
            Some(b'\r') => Err(CARRIAGE_RETURN.to_owned()),
            _ => Ok(()),
        }
    }

    /// Reads the value and the time of the sample. Leaves the place at the end of the line.
    pub fn value_and_time(&mut self) -> Result<(f64, Option<UnixMs>), String> {
        let start = self.at;
        self.skip_line();
        let rest = String::from_utf8_lossy(&self.text[start..self.at]);
        match self.format {
            Format::Text => in_text(&rest),
            Format::OpenMetrics => in_open_metrics(&rest),
        }
    }

    /// Returns the next few characters, for a message.
    fn here(&self) -> String {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let line = rest.split(|byte| *byte == b'\n').next().unwrap_or_default();
        match String::from_utf8_lossy(&line[..line.len().min(80)]) {
            here if here.is_empty() => "the line ends".to_owned(),
            here => format!("`{}`", shortened(&here)),
        }
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

fn number(text: &str) -> Result<f64, String> {
    parse_float(text).ok_or_else(|| match text.strip_suffix('\r') {
        Some(_) => CARRIAGE_RETURN.to_owned(),
        None if text.is_empty() => "it has no value".to_owned(),
        None => format!("`{}` is not a number", shortened(text)),
    })
}

/// Returns the first characters of a text, for a message.
fn shortened(text: &str) -> String {
    let visible = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().take(30).map(visible).collect()
}

/// Reads `3.5` or `3.5 1395066363000`, with blanks and tabs.
fn in_text(rest: &str) -> Result<(f64, Option<UnixMs>), String> {
    let mut words = rest.split([' ', '\t']).filter(|word| !word.is_empty());
    let value = number(words.next().unwrap_or_default())?;
    let at = words.next().map(|at| {
        let digits = at.strip_prefix('-').unwrap_or(at);
        let is_whole = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        at.parse()
            .ok()
            .filter(|_| is_whole)
            .ok_or_else(|| match at.strip_suffix('\r') {
                Some(_) => CARRIAGE_RETURN.to_owned(),
                None => format!("`{}` is not a time in milliseconds", shortened(at)),
            })
    });
    let at = at.transpose()?;
    match words.next() {
        Some(more) => Err(format!("`{}` stands behind the sample", shortened(more))),
        None => Ok((value, at)),
    }
}

/// Reads ` 3.5` or ` 3.5 1395066363.25`, and passes over an exemplar behind it.
fn in_open_metrics(rest: &str) -> Result<(f64, Option<UnixMs>), String> {
    let sample = rest.split_once(" # {").map_or(rest, |(sample, _)| sample);
    let Some(sample) = sample.strip_prefix(' ') else {
        return Err("a blank and a value are expected behind the name and the labels".to_owned());
    };
    let (value, at) = match sample.split_once(' ') {
        Some((value, at)) => (value, Some(at)),
        None => (sample, None),
    };
    let value = number(value)?;
    let at = at.map(|at| {
        let seconds = parse_float(at).filter(|seconds| seconds.is_finite());
        // The conversion saturates, and cuts the fraction of a millisecond off.
        seconds
            .map(|seconds| (seconds * 1000.0) as UnixMs)
            .ok_or_else(|| format!("`{}` is not a time in seconds", shortened(at)))
    });
    Ok((value, at.transpose()?))
}

impl<'a> Series<'a> {
    /// Reads the name and the labels of a sample: `name{label="value"}`, or with quoted names
    /// `{"name", "label"="value"}`.
    pub fn read(&mut self, line: &mut Line<'a>) -> Result<(), String> {
        self.labels.clear();
        line.skip_blanks();
        let mut name = line.name(true);
        line.skip_blanks();
        if line.take(b'{') {
            self.read_labels(line, &mut name)?;
        }
        self.name =
            name.ok_or_else(|| format!("a name is expected where {} stands", line.here()))?;
        Ok(())
    }

    fn read_labels(
        &mut self,
        line: &mut Line<'a>,
        name: &mut Option<&'a [u8]>,
    ) -> Result<(), String> {
        loop {
            line.skip_blanks();
            if line.take(b'}') {
                return Ok(());
            }
            let is_quoted = line.peek() == Some(b'"');
            let label = if is_quoted {
                line.quoted()?
            } else {
                line.name(false).ok_or_else(|| {
                    format!(
                        "the name of a label is expected where {} stands",
                        line.here()
                    )
                })?
            };
            line.skip_blanks();
            if is_quoted && matches!(line.peek(), Some(b',' | b'}')) {
                if name.replace(label).is_some() {
                    return Err("the sample has two names".to_owned());
                }
                line.take(b',');
                continue;
            }
            if !line.take(b'=') {
                return Err(format!("`=` is expected where {} stands", line.here()));
            }
            line.skip_blanks();
            self.labels.push((label, line.quoted()?));
            line.skip_blanks();
            // Prometheus does without a comma in the text format.
            let may_lack = line.format == Format::Text || line.peek() == Some(b'}');
            if !line.take(b',') && !may_lack {
                return Err(format!(
                    "`,` or `}}` is expected where {} stands",
                    line.here()
                ));
            }
        }
    }

    /// Returns the name of the metric.
    pub fn name(&self) -> Result<Cow<'a, str>, String> {
        match unescaped(self.name)? {
            name if name.is_empty() => Err("the name of the metric is empty".to_owned()),
            name => Ok(name),
        }
    }

    /// Returns the labels. Refuses an empty name, and a name that occurs twice.
    pub fn labels(&self) -> Result<Vec<(String, String)>, String> {
        let mut labels = Vec::with_capacity(self.labels.len());
        for (name, value) in &self.labels {
            let (name, value) = (
                unescaped(name)?.into_owned(),
                unescaped(value)?.into_owned(),
            );
            if name.is_empty() || name == "__name__" {
                return Err(format!("`{name}` is no name of a label"));
            }
            labels.push((name, value));
        }
        let mut names: Vec<&str> = labels.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        match names.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(format!("the label `{}` occurs twice", shortened(pair[0]))),
            None => Ok(labels),
        }
    }
}

/// Replaces `\\`, `\"` and `\n`. A backslash before another character stands for itself.
fn unescaped(text: &[u8]) -> Result<Cow<'_, str>, String> {
    let text = std::str::from_utf8(text).map_err(|_| "it is not UTF-8".to_owned())?;
    if !text.contains('\\') {
        return Ok(Cow::Borrowed(text));
    }
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            plain.push(character);
            continue;
        }
        match characters.next() {
            Some('n') => plain.push('\n'),
            Some(same @ ('\\' | '"')) => plain.push(same),
            Some(other) => plain.extend(['\\', other]),
            None => plain.push('\\'),
        }
    }
    Ok(Cow::Owned(plain))
}
