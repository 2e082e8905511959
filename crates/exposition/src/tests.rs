use std::fmt::Write as _;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

fn read(text: &str, format: Format) -> Exposition {
    parse(text.as_bytes(), format, |_| true).unwrap()
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
fn the_format_is_that_of_the_content_type() {
    for (content_type, format) in [
        ("", Format::Text),
        ("text/plain; version=0.0.4; charset=utf-8", Format::Text),
        ("application/json", Format::Text),
        ("application/openmetrics-text", Format::OpenMetrics),
        (
            "Application/OpenMetrics-Text ; version=1.0.0; charset=utf-8; escaping=allow-utf-8",
            Format::OpenMetrics,
        ),
    ] {
        assert_eq!(Format::of(content_type), format, "{content_type}");
    }
}

#[test]
fn the_example_of_the_text_format_is_read() {
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
    let post = |code, value| {
        let labels = [("method", "post"), ("code", code)];
        exposed("http_requests_total", &labels, value, at)
    };
    let weird = [("problem", "division by zero")];
    assert_eq!(
        read(text, Format::Text),
        Exposition {
            samples: vec![
                post("200", 1027.0),
                post("400", 3.0),
                exposed("msdos_file_access_time_seconds", &path, 1.458255915e9, None),
                exposed("metric_without_timestamp_and_labels", &[], 12.47, None),
                exposed("something_weird", &weird, f64::INFINITY, Some(-3982045)),
                exposed(
                    "rpc_duration_seconds",
                    &[("quantile", "0.01")],
                    3102.0,
                    None
                ),
            ],
            unusable: 0,
            first_unusable: None,
        }
    );
}

#[test]
fn the_example_of_openmetrics_is_read() {
    let text = "# TYPE acme_http_router_request_seconds summary
# UNIT acme_http_router_request_seconds seconds
# HELP acme_http_router_request_seconds Latency though all of ACME's HTTP request router.
acme_http_router_request_seconds_sum{path=\"/api/v1\",method=\"GET\"} 9036.32
acme_http_router_request_seconds_created{path=\"/api/v1\",method=\"GET\"} 1605281325.0
# TYPE go_goroutines gauge
go_goroutines 69 1605301325.0625
# TYPE foo counter
foo_total 17.0 1520879607.789 # {trace_id=\"KOO5S4vxi0o\"} 0.67
foo_total{a=\"b\"} 8 # {} 1 1520879607.789
# TYPE bar histogram
bar_bucket{le=\"1\"} 5 # {trace_id=\"a # {\"} 0.67
bar_bucket{le=\"+Inf\"} 6
# TYPE state stateset
state{state=\"a\"} 1
# EOF";
    let route = [("path", "/api/v1"), ("method", "GET")];
    let expected = [
        exposed(
            "acme_http_router_request_seconds_sum",
            &route,
            9036.32,
            None,
        ),
        exposed(
            "acme_http_router_request_seconds_created",
            &route,
            1605281325.0,
            None,
        ),
        exposed("go_goroutines", &[], 69.0, Some(1605301325062)),
        exposed("foo_total", &[], 17.0, Some(1520879607789)),
        exposed("foo_total", &[("a", "b")], 8.0, None),
        exposed("bar_bucket", &[("le", "1.0")], 5.0, None),
        exposed("bar_bucket", &[("le", "+Inf")], 6.0, None),
        exposed("state", &[("state", "a")], 1.0, None),
    ];
    for end in ["", "\n"] {
        let found = read(&format!("{text}{end}"), Format::OpenMetrics);
        assert_eq!(
            (found.samples.as_slice(), found.unusable),
            (&expected[..], 0)
        );
    }
}

#[test]
fn every_form_of_a_line_is_read_as_by_prometheus() {
    use Format::{OpenMetrics, Text};
    let m = |labels: &[(&str, &str)], value| exposed("m", labels, value, None);
    for (format, line, sample) in [
        (Text, "m 3", m(&[], 3.0)),
        (Text, "m\t3\t", m(&[], 3.0)),
        (Text, "m{}3", m(&[], 3.0)),
        (Text, "m { a = \"b\" } 3", m(&[("a", "b")], 3.0)),
        (
            Text,
            "m{a=\"b\" c=\"d\"} 3",
            m(&[("a", "b"), ("c", "d")], 3.0),
        ),
        (
            Text,
            "m{a=\"b\",} 3 5",
            exposed("m", &[("a", "b")], 3.0, Some(5)),
        ),
        (Text, "{\"m\"} 3", m(&[], 3.0)),
        (Text, "{\"m\",a=\"b\"} 3", m(&[("a", "b")], 3.0)),
        (Text, "{a=\"b\",\"m\"} 3", m(&[("a", "b")], 3.0)),
        (
            Text,
            "{\"http.server.duration\", \"service.name\"=\"shop\"} 1.5",
            exposed(
                "http.server.duration",
                &[("service.name", "shop")],
                1.5,
                None,
            ),
        ),
        (
            Text,
            r#"{"a\"b\\c\nd"} 1"#,
            exposed("a\"b\\c\nd", &[], 1.0, None),
        ),
        (
            Text,
            r#"m{"größe"="\ä\t"} 1"#,
            m(&[("größe", r"\ä\t")], 1.0),
        ),
        (Text, "m{a=\"x\ny\"} 1", m(&[("a", "x\ny")], 1.0)),
        (Text, "m{a=\"x\0y\"} 1", m(&[("a", "x\0y")], 1.0)),
        (Text, "m{a=\"} 7 # {\"} 1", m(&[("a", "} 7 # {")], 1.0)),
        (
            Text,
            "a:b:c1 -Inf",
            exposed("a:b:c1", &[], f64::NEG_INFINITY, None),
        ),
        (OpenMetrics, "m 3", m(&[], 3.0)),
        (OpenMetrics, "m{a=\"b\",} 3", m(&[("a", "b")], 3.0)),
        (
            OpenMetrics,
            "{\"m\",\"a.b\"=\"c\"} 3",
            m(&[("a.b", "c")], 3.0),
        ),
        (OpenMetrics, "m 3 1.5", exposed("m", &[], 3.0, Some(1500))),
        (
            OpenMetrics,
            "m 3 -1.0009",
            exposed("m", &[], 3.0, Some(-1000)),
        ),
        (
            OpenMetrics,
            "m 3 1e3",
            exposed("m", &[], 3.0, Some(1_000_000)),
        ),
    ] {
        let end = if format == OpenMetrics {
            "\n# EOF\n"
        } else {
            ""
        };
        let found = read(&format!("{line}{end}"), format);
        assert_eq!((found.samples, found.unusable), (vec![sample], 0), "{line}");
    }
}

#[test]
fn a_line_that_can_not_be_used_costs_that_line_and_is_counted_and_quoted() {
    use Format::{OpenMetrics, Text};
    for (format, line, reason) in [
        (
            Text,
            "b{x=\"1} 2",
            "the name of a label is expected where `3\"} 4` stands",
        ),
        (Text, "b", "it has no value"),
        (Text, "b one", "`one` is not a number"),
        (Text, "b 1e400", "`1e400` is not a number"),
        (Text, "b 0x1p4", "`0x1p4` is not a number"),
        (Text, "b 1_000", "`1_000` is not a number"),
        (Text, "b 1 2.5", "`2.5` is not a time in milliseconds"),
        (Text, "b 1 +2", "`+2` is not a time in milliseconds"),
        (
            Text,
            "b 1 99999999999999999999",
            "is not a time in milliseconds",
        ),
        (Text, "b 1 2 3", "`3` stands behind the sample"),
        (
            Text,
            "b 1 # {t=\"x\"} 1",
            "`#` is not a time in milliseconds",
        ),
        (Text, "b 1\r", "a carriage return"),
        (Text, "b 1 2\r", "a carriage return"),
        (Text, "b{b} 1", "`=` is expected where `} 1` stands"),
        (Text, "b{,} 1", "the name of a label is expected"),
        (Text, "b{a=\"b\",,} 1", "the name of a label is expected"),
        (
            Text,
            "b{a=b} 1",
            "a text in quotes is expected where `b} 1` stands",
        ),
        (Text, "b{1=\"b\"} 1", "the name of a label is expected"),
        (Text, "b{a=\"1\",a=\"2\"} 1", "the label `a` occurs twice"),
        (
            Text,
            "b{__name__=\"m\"} 1",
            "`__name__` is no name of a label",
        ),
        (Text, "b{\"\"=\"m\"} 1", "`` is no name of a label"),
        (Text, "b{\"c\"} 1", "the sample has two names"),
        (Text, "{\"\"} 1", "the name of the metric is empty"),
        (Text, "{a=\"b\"} 1", "a name is expected"),
        (
            Text,
            "{\"status\":\"ok\"}",
            "`=` is expected where `:\"ok\"}` stands",
        ),
        (Text, "my.metric 1", "`.metric` is not a number"),
        (Text, "1b 1", "a name is expected where `1b 1` stands"),
        (Text, "b {count:1,sum:2} 1", "`=` is expected"),
        (OpenMetrics, "b  1", "it has no value"),
        (OpenMetrics, "b\t1", "a blank and a value are expected"),
        (
            OpenMetrics,
            "b{a=\"b\" c=\"d\"} 1",
            "`,` or `}` is expected",
        ),
        (
            OpenMetrics,
            "b{ a=\"b\"} 1",
            "the name of a label is expected",
        ),
        (OpenMetrics, "b 1 NaN", "`NaN` is not a time in seconds"),
        (OpenMetrics, "b 1 2 3", "`2 3` is not a time in seconds"),
        (OpenMetrics, "b 1\r", "a carriage return"),
        (OpenMetrics, "b {count:1,sum:2}", "is not a number"),
    ] {
        let text = format!("a 1\n{line}\nc{{y=\"3\"}} 4\n# EOF\n");
        let found = read(&text, format);
        let error = found.first_unusable.unwrap();
        assert_eq!((found.unusable, error.line), (1, 2), "{line}");
        assert!(error.reason.contains(reason), "{line}: {error}");
        let quoted = error
            .to_string()
            .contains(&format!("line 2 (`{}", &line[..1]));
        assert!(quoted, "{error}");
        let others: Vec<&Exposed> = found.samples.iter().filter(|one| one.name != "b").collect();
        let (a, c) = (
            exposed("a", &[], 1.0, None),
            exposed("c", &[("y", "3")], 4.0, None),
        );
        assert_eq!(others, [&a, &c], "{line}");
    }
}

#[test]
fn bytes_that_are_no_utf8_cost_their_line() {
    let body = b"a 1\nb{x=\"\xff\"} 2\n\xff 3\n# HELP c \xff\nc 4\n";
    let found = parse(body, Format::Text, |_| true).unwrap();
    let names: Vec<&str> = found.samples.iter().map(|one| one.name.as_str()).collect();
    assert_eq!((names, found.unusable), (vec!["a", "c"], 2));
}

#[test]
fn a_series_without_a_readable_value_is_there_and_its_value_is_unknown() {
    let found = read("m{a=\"1\"} 5\nm{a=\"2\"} N/A\n", Format::Text);
    assert_eq!(found.samples[0], exposed("m", &[("a", "1")], 5.0, None));
    assert_eq!(found.samples[1].labels[0].1, "2");
    assert!(found.samples[1].value.is_nan());
}

#[test]
fn nan_is_a_value_and_never_the_stale_marker() {
    let value = read("a NaN\n", Format::Text).samples[0].value;
    assert!(value.is_nan());
    assert!(!anomalyzer_domain::Sample { at: 0, value }.is_stale_marker());
}

#[test]
fn a_body_without_a_usable_line_or_without_its_end_is_none() {
    for (format, body, reason) in [
        (Format::Text, "{\"status\":\"ok\"}\n", "line 1"),
        (Format::Text, "a 1\r\nb 2\r\n", "a carriage return"),
        (
            Format::OpenMetrics,
            "a 1\nb 2\n",
            "line 2 (`b 2`): the text ends without the line `# EOF`",
        ),
        (
            Format::OpenMetrics,
            "a 1\n# EO",
            "the text ends without the line `# EOF`",
        ),
    ] {
        // The values of metrics that nobody wants are not parsed.
        for wanted in [true, false] {
            let error = parse(body.as_bytes(), format, |_| wanted).unwrap_err();
            assert!(error.to_string().contains(reason), "{body}: {error}");
        }
    }
    for (format, body) in [
        (Format::Text, ""),
        (Format::Text, "\n# x\n"),
        (Format::OpenMetrics, "# EOF\n"),
    ] {
        assert_eq!(read(body, format), Exposition::default());
    }
    let found = read("a 1\n# EOF\nb 2\n", Format::OpenMetrics);
    assert_eq!((found.samples.len(), found.unusable), (1, 1));
}

#[test]
fn the_text_of_a_label_is_never_read_as_a_sample() {
    for wanted in ["m", "evil"] {
        let text = "evil{x=\"a\nm 5\n\"} 1\nevil{x=\"\nm 6\n\"} oops\nm 7\n";
        let found = parse(text.as_bytes(), Format::Text, |name| name == wanted).unwrap();
        let values: Vec<f64> = found.samples.iter().map(|one| one.value).collect();
        match wanted {
            "m" => assert_eq!(values, [7.0]),
            _ => assert!(values[0] == 1.0 && values[1].is_nan() && values.len() == 2),
        }
    }
}

#[test]
fn buckets_and_quantiles_are_written_in_one_way() {
    let text = "# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"x\"} 1\n\
                # TYPE \"s s\" summary\n{\"s s\",quantile=\"0.50\",le=\"1\"} 1\n\
                # TYPE g gauge\ng{le=\"1\"} 1\n#TYPE g histogram\n# TYPEg histogram\ng{le=\"2\"} 1\n";
    let found = read(text, Format::Text);
    let values: Vec<&str> = found
        .samples
        .iter()
        .map(|one| one.labels[0].1.as_str())
        .collect();
    assert_eq!(values, ["1.0", "x", "0.5", "1", "2"]);
}

#[test]
fn reading_takes_linear_time_whatever_the_quotes_do() {
    let lines = 100_000;
    for line in [
        "a{x=\"\n",
        "a{x=\"\",y=\"\n",
        "{\"b\",\"\n",
        "a{x=\"\\\n",
        "a{x=\"y\" z=\"\n",
        "a 1\r\n",
        "a{\"b\n",
        "\"\n",
    ] {
        let body = line.repeat(lines);
        let begun = Instant::now();
        let _ = parse(body.as_bytes(), Format::Text, |_| true);
        // Quadratic time would take many minutes.
        assert!(begun.elapsed() < Duration::from_secs(20), "{line:?}");
    }
    let begun = Instant::now();
    let body = format!("a{{x=\"\n{}", "b 1\n".repeat(lines));
    let found = parse(body.as_bytes(), Format::Text, |_| true).unwrap();
    assert_eq!((found.samples.len(), found.unusable), (lines, 1));
    let many: String = (0..lines)
        .map(|number| format!("l{number}=\"\","))
        .collect();
    let found = read(&format!("m{{{many}}} 1\n"), Format::Text);
    assert_eq!(found.samples[0].labels.len(), lines);
    assert!(begun.elapsed() < Duration::from_secs(20));
}

fn escaped(text: &str) -> String {
    text.replace('\\', r"\\")
        .replace('"', "\\\"")
        .replace('\n', r"\n")
}

fn is_plain(name: &str) -> bool {
    name.chars()
        .enumerate()
        .all(|(index, c)| c.is_ascii_alphabetic() || c == '_' || (index > 0 && c.is_ascii_digit()))
}

/// Writes a sample in any form that the format allows.
fn write(text: &mut String, sample: &Exposed, format: Format, commas: bool) {
    let mut parts = Vec::new();
    if !is_plain(&sample.name) {
        parts.push(format!("\"{}\"", escaped(&sample.name)));
    } else {
        text.push_str(&sample.name);
    }
    for (name, value) in &sample.labels {
        let name = if is_plain(name) {
            name.clone()
        } else {
            format!("\"{}\"", escaped(name))
        };
        parts.push(format!("{name}=\"{}\"", escaped(value)));
    }
    let more = if commas && !parts.is_empty() { "," } else { "" };
    if !parts.is_empty() || commas {
        write!(text, "{{{}{more}}}", parts.join(",")).unwrap();
    }
    write!(text, " {}", sample.value).unwrap();
    match (format, sample.at) {
        (_, None) => {}
        (Format::Text, Some(at)) => write!(text, " {at}").unwrap(),
        (Format::OpenMetrics, Some(at)) => {
            let sign = if at < 0 { "-" } else { "" };
            let at = at.unsigned_abs();
            write!(text, " {sign}{}.{:03}5", at / 1000, at % 1000).unwrap();
        }
    }
    if format == Format::OpenMetrics && commas {
        text.push_str(" # {trace_id=\"x\"} 1");
    }
    text.push('\n');
}

fn a_sample() -> impl Strategy<Value = Exposed> {
    let labels = prop::collection::btree_map("[a-z_][a-z0-9_]{0,5}|.{1,6}", ".{0,9}", 0..4)
        .prop_map(|mut labels| {
            labels.remove("__name__");
            labels.into_iter().collect()
        });
    let value = prop::num::f64::ANY.prop_filter("NaN is not equal to itself", |v| !v.is_nan());
    let at = proptest::option::of(-1_000_000_000_000i64..10_000_000_000_000);
    ("[a-z_][a-z0-9_]{0,9}|.{1,9}", labels, value, at).prop_map(|(name, labels, value, at)| {
        Exposed {
            name,
            labels,
            value,
            at,
        }
    })
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(body in prop::collection::vec(any::<u8>(), 0..300)) {
        for format in [Format::Text, Format::OpenMetrics] {
            let _ = parse(&body, format, |_| true);
            let _ = parse(&body, format, |name| name == "a");
        }
    }

    #[test]
    fn text_that_nearly_is_an_exposition_never_panics_and_each_line_is_read_or_counted(
        text in r##"([a-z_:{}=",\\ 0-9.\nNaIinf+-]|"|\n|# TYPE a histogram\n|ä){0,200}"##,
    ) {
        for format in [Format::Text, Format::OpenMetrics] {
            let _ = parse(text.as_bytes(), format, |_| true);
        }
        if let Ok(found) = parse(text.as_bytes(), Format::Text, |_| true) {
            prop_assert!(found.samples.len() + found.unusable <= 2 * text.lines().count());
            prop_assert_eq!(found.unusable > 0, found.first_unusable.is_some());
        }
    }

    #[test]
    fn samples_that_are_written_are_read_back(
        samples in prop::collection::vec((a_sample(), any::<bool>()), 0..8), open in any::<bool>(),
    ) {
        let format = if open { Format::OpenMetrics } else { Format::Text };
        let mut text = String::new();
        for (sample, commas) in &samples {
            write(&mut text, sample, format, *commas);
        }
        if open {
            text.push_str("# EOF\n");
        }
        let expected: Vec<Exposed> = samples.into_iter().map(|(sample, _)| sample).collect();
        let found = parse(text.as_bytes(), format, |_| true).unwrap();
        prop_assert_eq!((found.unusable, found.samples), (0, expected));
    }

    #[test]
    fn a_broken_line_leaves_its_neighbours(
        before in prop::collection::vec(a_sample(), 0..4), after in prop::collection::vec(a_sample(), 1..4),
        broken in "[^\"\n#]{1,20}",
    ) {
        let mut text = String::new();
        before.iter().for_each(|sample| write(&mut text, sample, Format::Text, false));
        text += &format!("{broken}\n");
        after.iter().for_each(|sample| write(&mut text, sample, Format::Text, false));
        let found = parse(text.as_bytes(), Format::Text, |_| true).unwrap();
        let count = found.samples.len();
        prop_assert!(count >= before.len() + after.len());
        prop_assert_eq!(&found.samples[..before.len()], &before);
        prop_assert_eq!(&found.samples[count - after.len()..], &after);
    }
}
