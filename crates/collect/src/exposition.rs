//! Parses Prometheus's text exposition format, version 0.0.4.
//! <https://prometheus.io/docs/instrumenting/exposition_formats/#text-format-details>

use anomalyzer_domain::UnixMs;

use super::cursor::Cursor;

/// One sample line of an exposition.
#[derive(Clone, Debug, PartialEq)]
pub struct Exposed {
    /// The metric.
    pub name: String,
    /// Names and values, in the order of the line.
    pub labels: Vec<(String, String)>,
    /// Value, which may be NaN or infinite.
    pub value: f64,
    /// Timestamp of the sample, if the source gives one. Otherwise the time of the scrape counts.
    pub at: Option<UnixMs>,
}

/// Error in an exposition, and its line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct ExpositionError {
    /// Line number, counted from 1.
    pub line: usize,
    /// The unexpected text, and the expected one.
    pub reason: String,
}

/// Parses the samples of the wanted metrics. One broken line invalidates the whole exposition,
/// because a truncated or garbled text can't be trusted. Lines of other metrics are not parsed
/// beyond the metric's name.
pub fn parse(body: &[u8], wanted: impl Fn(&str) -> bool) -> Result<Vec<Exposed>, ExpositionError> {
    let text = std::str::from_utf8(body).map_err(|error| ExpositionError {
        line: 1 + body[..error.valid_up_to()]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count(),
        reason: "this is not UTF-8".to_owned(),
    })?;
    let mut samples = Vec::new();
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let error = |reason| ExpositionError {
            line: index + 1,
            reason,
        };
        let line = line
            .strip_suffix('\n')
            .ok_or_else(|| error("the text ends in the middle of a line".to_owned()))?;
        samples.extend(parse_line(line, &wanted).map_err(error)?);
    }
    Ok(samples)
}

fn parse_line(line: &str, wanted: impl Fn(&str) -> bool) -> Result<Option<Exposed>, String> {
    let mut cursor = Cursor::new(line);
    cursor.skip_blanks();
    if cursor.rest().is_empty() || cursor.rest().starts_with('#') {
        return Ok(None);
    }
    let name = cursor.name()?;
    if !wanted(name) {
        return Ok(None);
    }
    cursor.skip_blanks();
    let labels = if cursor.take("{") {
        labels(&mut cursor)?
    } else {
        Vec::new()
    };
    let mut words = cursor
        .rest()
        .split([' ', '\t'])
        .filter(|word| !word.is_empty());
    let value = words
        .next()
        .ok_or_else(|| format!("`{name}` has no value"))?;
    let value: f64 = value
        .parse()
        .map_err(|_| format!("`{value}` is not a number"))?;
    let at = words.next().map(|at| {
        at.parse()
            .map_err(|_| format!("`{at}` is not a time in milliseconds"))
    });
    let at = at.transpose()?;
    if let Some(more) = words.next() {
        return Err(format!("`{more}` stands behind the sample"));
    }
    Ok(Some(Exposed {
        name: name.to_owned(),
        labels,
        value,
        at,
    }))
}

/// Parses the labels after the opening brace.
fn labels(cursor: &mut Cursor<'_>) -> Result<Vec<(String, String)>, String> {
    let mut labels = Vec::new();
    loop {
        cursor.skip_blanks();
        if cursor.take("}") {
            return Ok(labels);
        }
        let name = cursor.name()?;
        cursor.skip_blanks();
        if !cursor.take("=") {
            return Err(format!("`=` is expected where {} stands", cursor.here()));
        }
        cursor.skip_blanks();
        labels.push((name.to_owned(), cursor.quoted()?));
        cursor.skip_blanks();
        if !cursor.take(",") && !cursor.rest().starts_with('}') {
            return Err(format!(
                "`,` or `}}` is expected where {} stands",
                cursor.here()
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(text: &str) -> Result<Vec<Exposed>, ExpositionError> {
        parse(text.as_bytes(), |_| true)
    }

    fn exposed(name: &str, labels: &[(&str, &str)], value: f64, at: Option<UnixMs>) -> Exposed {
        let labels = labels
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Exposed {
            name: name.to_owned(),
            labels,
            value,
            at,
        }
    }

    #[test]
    fn the_example_of_the_format_is_read() {
        // Example from the specification of the format.
        let text = r##"
# HELP http_requests_total The total number of HTTP requests.
# TYPE http_requests_total counter
http_requests_total{method="post",code="200"} 1027 1395066363000
http_requests_total{method="post",code="400"}    3 1395066363000

# Escaping in label values:
msdos_file_access_time_seconds{path="C:\\DIR\\FILE.TXT",error="Cannot find file:\n\"FILE.TXT\""} 1.458255915e9

# Minimalistic line:
metric_without_timestamp_and_labels 12.47

# A weird metric from before the epoch:
something_weird{problem="division by zero"} +Inf -3982045
rpc_duration_seconds{ quantile = "0.01" , } 3102
"##;
        let at = Some(1395066363000);
        let path = [
            ("path", r"C:\DIR\FILE.TXT"),
            ("error", "Cannot find file:\n\"FILE.TXT\""),
        ];
        assert_eq!(
            all(text).unwrap(),
            [
                exposed(
                    "http_requests_total",
                    &[("method", "post"), ("code", "200")],
                    1027.0,
                    at
                ),
                exposed(
                    "http_requests_total",
                    &[("method", "post"), ("code", "400")],
                    3.0,
                    at
                ),
                exposed("msdos_file_access_time_seconds", &path, 1.458255915e9, None),
                exposed("metric_without_timestamp_and_labels", &[], 12.47, None),
                exposed(
                    "something_weird",
                    &[("problem", "division by zero")],
                    f64::INFINITY,
                    Some(-3982045)
                ),
                exposed(
                    "rpc_duration_seconds",
                    &[("quantile", "0.01")],
                    3102.0,
                    None
                ),
            ]
        );
    }

    #[test]
    fn nan_is_a_value_and_never_the_stale_marker() {
        let samples = all("a NaN\n").unwrap();
        assert!(samples[0].value.is_nan());
        assert!(
            !anomalyzer_domain::Sample {
                at: 0,
                value: samples[0].value
            }
            .is_stale_marker()
        );
    }

    #[test]
    fn a_broken_line_is_named() {
        for (text, says) in [
            ("a 1\nb{x=\"1} 2\n", "line 2: a value in quotes has no end"),
            ("a 1\nb 2", "line 2: the text ends in the middle of a line"),
            ("a\n", "line 1: `a` has no value"),
            ("a one\n", "line 1: `one` is not a number"),
            ("a 1 2.5\n", "line 1: `2.5` is not a time in milliseconds"),
            ("a 1 2 3\n", "line 1: `3` stands behind the sample"),
            ("a{b} 1\n", "line 1: `=` is expected where `} 1` stands"),
            (
                "a{b=\"c\" d=\"e\"} 1\n",
                "line 1: `,` or `}` is expected where `d=\"e\"} 1` stands",
            ),
            (
                "{\"status\":\"ok\"}\n",
                "line 1: a name is expected where `{\"status\":\"ok\"}` stands",
            ),
        ] {
            assert_eq!(all(text).unwrap_err().to_string(), says);
        }
        assert_eq!(
            parse(b"a 1\n\xff 2\n", |_| true).unwrap_err().to_string(),
            "line 2: this is not UTF-8"
        );
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(body in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&body, |_| true);
        }

        #[test]
        fn text_that_nearly_is_an_exposition_never_panics(text in r#"([a-z_:#{}=",\\ 0-9.\nNaIinf+-]|ä){0,200}"#) {
            let _ = parse(text.as_bytes(), |_| true);
        }

        #[test]
        fn what_is_written_is_read_back(
            samples in prop::collection::vec(
                ("[a-z_:][a-z0-9_:]{0,9}", prop::collection::vec(("[a-z_][a-z0-9_]{0,5}", ".{0,9}"), 0..4),
                 prop::num::f64::ANY.prop_filter("NaN is not equal to itself", |v| !v.is_nan()),
                 proptest::option::of(any::<i64>())),
                0..8,
            )
        ) {
            let mut text = String::new();
            for (name, labels, value, at) in &samples {
                let escape = |v: &str| v.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
                let labels: Vec<String> = labels.iter().map(|(n, v)| format!("{n}=\"{}\"", escape(v))).collect();
                let at = at.map_or(String::new(), |at| format!(" {at}"));
                text += &format!("{name}{{{}}} {value}{at}\n", labels.join(","));
            }
            let expected: Vec<Exposed> = samples
                .into_iter()
                .map(|(name, labels, value, at)| Exposed { name, labels, value, at })
                .collect();
            prop_assert_eq!(all(&text).unwrap(), expected);
        }
    }
}
