//! Tests of the whole reader: variants of files, and the property that a table survives every
//! layout, encoding and form.

use std::time::{Duration, Instant};

use encoding_rs::WINDOWS_1252;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::file::decode;
use super::*;
use anomalyzer_domain::Sample;

fn with(
    text: &str,
    time_format: Option<&str>,
    decimal: Option<Decimal>,
) -> Result<Vec<Sample>, String> {
    let options = CsvOptions {
        time_format: time_format.map(|format| format.parse().unwrap()),
        decimal,
    };
    parse(text, &options).map(|table| table.samples)
}

fn read(text: &str) -> Vec<(i64, f64)> {
    let samples = with(text, None, None).unwrap_or_else(|error| panic!("{text}: {error}"));
    samples
        .iter()
        .map(|sample| (sample.at, sample.value))
        .collect()
}

fn report(text: &str) -> ReadReport {
    parse(text, &CsvOptions::default()).unwrap().report
}

fn error(text: &str) -> String {
    parse(text, &CsvOptions::default()).unwrap_err()
}

#[test]
fn a_row_is_kept_as_it_was_written_and_counted() {
    let text = "timestamp,value\r\n1970-01-01 00:00:01,20.0\r\n\r\noops,1\n2, 7e-1\n3,\n4,NaN\n5\n6,1,2\n2,0.8\n1,20\n";
    let table = parse(text, &CsvOptions::default()).unwrap();
    let said: Vec<_> = table
        .rows
        .iter()
        .map(|row| {
            (
                row.line,
                &*row.time,
                row.number,
                row.at,
                row.value.to_string(),
            )
        })
        .collect();
    let expected = [
        (2, "1970-01-01 00:00:01", "20.0", Some(1000), "20"),
        (4, "oops", "1", None, "NaN"),
        (5, "2", " 7e-1", Some(2000), "0.7"),
        (6, "3", "", Some(3000), "NaN"),
        (7, "4", "NaN", Some(4000), "NaN"),
        (8, "5", "", None, "NaN"),
        (9, "6", "1", None, "NaN"),
        (10, "2", "0.8", Some(2000), "0.8"),
        (11, "1", "20", Some(1000), "20"),
    ];
    let expected =
        expected.map(|(line, time, number, at, value)| (line, time, number, at, value.to_owned()));
    assert_eq!(said, expected);
    assert_eq!(table.row_indices, [0, 2]);
    let counts = ReadReport {
        rows: 9,
        read: 4,
        unreadable: 3,
        unclear: 1,
        first_unreadable: Some("line 4: `oops` is no time".to_owned()),
        without_value: 2,
        repeated: 2,
        contradicting: 1,
        out_of_order: 1,
        column: "value".to_owned(),
        other_columns: 0,
    };
    assert_eq!(table.report, counts);
}

#[test]
fn the_first_row_is_a_header_if_nothing_in_it_is_a_time_or_a_number() {
    for (text, rows) in [
        ("1,5\n2,6\n", 2),
        ("oops,5\n2,6\n", 2),
        ("1,oops\n2,6", 2),
        ("when,what\n2,6", 1),
        ("when,NaN\n2,6", 2),
        ("timestamp,95\n2,6", 1),
        ("host,2024-03-30 00:00:00,5\nhost,2024-03-30 00:00:01,6", 2),
    ] {
        assert_eq!(report(text).rows, rows, "{text}");
    }
}

#[test]
fn columns_are_found_by_their_names_else_by_their_fields() {
    for text in [
        "host,Value,\"TIME\"\na,5,1",
        "host,v,ts\na,5,1",
        "\u{feff}x,value,date\na,5,1",
        "when,cpu,host\n1,5,a",
        "timestamp,cpu,x\n1,5,9",
        "cpu_of_web,load,time_of_day\n1,5,9",
        "value,when\n5,1",
        "cpu,timestamp\n5,1",
        "host,when,cpu\na,1970-01-01 00:00:01,5",
        "_time,_value,host\n1,5,a",
        "@timestamp,host,Value (ms)\n1,a,5",
        "host,Time (UTC),cpu\na,1,5",
        ",timestamp,cpu\n0,1,5",
        "# time, value\n1,5",
        "# host, v, time\na,5,1",
        "x,1970-01-01 00:00:01 UTC,5\n",
        "host,1970-01-01 00:00:01,5",
        "Date,Time,Value\n1970-01-01,00:00:01,5",
        "Time;Date;Value\n00:00:01;01.01.1970;5",
        "sep=;\ntime;value\n1;5",
        "CPU of all hosts\n\ntime,value\n1,5",
        "time,value\n1,5\n,\n,,",
        "time,value,\n1,5,\n",
        "time,value\n1,5,,\n",
        "time,note,value\n1,\"a, \"\"b\"\"\n# c\",5",
        "time,value\n1,5\ntime,value\n1,5",
        "time,value,x\n1,5,\nx,value,time\n,5,1\n",
        "time|value\n1|5",
        "time\tvalue\n1\t5",
        "#group,false,false,true,true,false,false\n#datatype,string,long,dateTime:RFC3339,dateTime:RFC3339,dateTime:RFC3339,double\n\
         #default,_result,,,,,\n,result,table,_start,_stop,_time,_value\n,,0,1970-01-01T00:00:00Z,1970-01-02T00:00:00Z,1970-01-01T00:00:01Z,5\n",
        "#datatype,string,long,dateTime:RFC3339,double\n,result,table,_time,cpu\n,,0,1970-01-01T00:00:01Z,5\n",
    ] {
        assert_eq!(read(text), [(1000, 5.0)], "{text}");
    }
}

#[test]
fn groups_of_thousands_are_no_columns() {
    let number = 1_000_000.0;
    for text in [
        "1970-01-01 00:00:01;1,000,000.00",
        "1;1,000,000.00",
        "1711756800;1,000,000.00\n1711756801;-1,000,000.00",
        "time;value\n1711756800;1,000,000\n",
        "1711756800\t1,000,000\t,\n",
        "1711756800|1.000.000,00|,,",
        "time,value\n1711756800,\"1,000,000\"\n",
    ] {
        assert_eq!(read(text)[0].1, number, "{text}");
    }
}

#[test]
fn a_file_that_has_two_meanings_is_asked_about() {
    use Decimal::{Comma, Point};
    let at = |text: &str| parse_time(text).unwrap();
    let [march, april] = ["2024-03-04", "2024-04-03"].map(at);
    for (text, says, time_format, decimal, sample) in [
        (
            "time,value\n03/04/2024,5\n",
            "line 2: the time `03/04/2024`",
            Some("mdy"),
            None,
            (march, 5.0),
        ),
        (
            "time,value\n03/04/2024,5\n",
            "--time-format dmy",
            Some("dmy"),
            None,
            (april, 5.0),
        ),
        (
            "time,value\n45355,5\n45356,6",
            "--time-format excel",
            Some("excel"),
            None,
            (march, 5.0),
        ),
        (
            "time,value\n45355,5\n45356,6",
            "--time-format s",
            Some("s"),
            None,
            (45_355_000, 5.0),
        ),
        (
            "time;value\n1;1,500",
            "--decimal point",
            None,
            Some(Point),
            (1000, 1500.0),
        ),
        (
            "time;value\n1;1,500",
            "the value `1,500` may be 1500 or 1.5",
            None,
            Some(Comma),
            (1000, 1.5),
        ),
        (
            "time,value\n1,1.500\n2,999",
            "--decimal comma",
            None,
            Some(Comma),
            (1000, 1500.0),
        ),
        (
            "time,value\n1,\"1,500\"\n2,0.1\n3,\"0,1\"\n",
            "--decimal comma",
            None,
            Some(Comma),
            (1000, 1.5),
        ),
    ] {
        let error = error(text);
        assert!(error.contains(says), "{error}");
        let samples = with(text, time_format, decimal).unwrap();
        assert_eq!((samples[0].at, samples[0].value), sample, "{text}");
    }
}

#[test]
fn a_file_without_a_sample_is_refused_with_the_reason() {
    for (text, says) in [
        ("", "it is empty; a line wants"),
        ("\n \n", "it is empty"),
        ("# only a remark\n", "it is empty"),
        ("20\n21\n", "one column"),
        ("timestamp,value\n", "a header and no rows"),
        (
            "timestamp,value\n1,\n2,NaN\n",
            "none of its rows has a value",
        ),
        (
            "timestamp,value\nsoon,5\nlater,6\n",
            "2 of 2 rows are unreadable; the first is line 2: `soon` is no time",
        ),
        ("timestamp,value\n1,much\n", "line 2: `much` is no number"),
        (
            "timestamp,value\n1,1,500.25\n",
            "it has more fields than the header",
        ),
        ("time,value,x\n1\n2\n", "it has too few fields"),
        ("{\"a\": 1,\n \"b\": 2}", "no row can be read"),
        (
            ",result,table,_time,_value\n,,0,1,5\n,,1,1,6\n",
            "several series",
        ),
    ] {
        let error = error(text);
        assert!(error.contains(says), "{text}: {error}");
    }
}

#[test]
fn rows_are_sorted_and_the_first_of_a_time_counts() {
    let text = "time,value\n3,30\n2,20\n2,21\n1,10\n";
    assert_eq!(read(text), [(1000, 10.0), (2000, 20.0), (3000, 30.0)]);
    let table = parse(text, &CsvOptions::default()).unwrap();
    assert_eq!(table.row_indices, [3, 1, 0]);
    let sorted = table.in_time_order();
    let times: Vec<_> = sorted
        .rows
        .iter()
        .map(|row| (&*row.time, row.number))
        .collect();
    assert_eq!(times, [("1", "10"), ("2", "20"), ("2", "21"), ("3", "30")]);
    assert_eq!(sorted.row_indices, [0, 1, 3]);
}

#[test]
fn two_series_in_one_file_contradict_each_other() {
    let rows = |host: &str| {
        (0..50)
            .map(|n| format!("{n},{host},{n}\n"))
            .collect::<String>()
    };
    let text = format!("time,host,value\n{}", rows("a"));
    assert_eq!(report(&text).refusal(), None);
    let both: String = (0..50).map(|n| format!("{n},a,1\n{n},b,2\n")).collect();
    let refusal = report(&format!("time,host,value\n{both}"))
        .refusal()
        .unwrap();
    assert!(refusal.contains("several series"), "{refusal}");
}

#[test]
fn numbers_of_another_form_refuse_a_file_however_few_they_are() {
    let ordinary: String = (0..10_000).map(|n| format!("{n},5\n")).collect();
    for (odd, refused) in [
        ("1.5k", true),
        ("1,500.25", true),
        ("1.5 GiB", true),
        ("1 500 25", true),
        ("much", false),
        ("", false),
    ] {
        let text = format!(
            "time,value\n{ordinary}{}",
            format!("20000,{odd}\n").repeat(3)
        );
        assert_eq!(report(&text).refusal().is_some(), refused, "{odd}");
    }
}

#[test]
fn the_column_is_named_if_there_are_others() {
    let notes = report("time,healthy,cpu,host\n1,1,5,a\n2,1,6,b\n").notes();
    assert!(notes[0].contains("column `healthy`; 1 other"), "{notes:?}");
    let notes = report("1,5,6\n").notes();
    assert!(notes[0].contains("column `2`; 1 other"), "{notes:?}");
    assert_eq!(report("time,healthy,value\n1,1,5\n").notes(), [""; 0]);
}

#[test]
fn reading_takes_no_quadratic_time() {
    let many = 100_000;
    for text in [
        ",".repeat(many * 10),
        format!("1,2{}", ",".repeat(many * 10)),
        "1,2\n".repeat(many),
        "1,\"2\n".repeat(many),
        format!("time,value\n1,{}", "1".repeat(many * 10)),
        format!("time,value\n{},1", "2024-".repeat(many)),
        "# x\n".repeat(many),
        "time,value\n".repeat(many),
        "(".repeat(many * 10),
    ] {
        let start = Instant::now();
        let _ = parse(&text, &CsvOptions::default());
        assert!(start.elapsed() < Duration::from_secs(10), "{}", &text[..10]);
    }
}

/// Way to write a table.
#[derive(Clone, Debug)]
struct Style {
    delimiter: char,
    ending: &'static str,
    encoding: usize,
    time: usize,
    number: usize,
    header: Option<&'static [&'static str; 3]>,
    note: Option<&'static str>,
    quote_all: bool,
    trailing: bool,
    newest_first: bool,
    comment: bool,
}

const ENCODINGS: usize = 6;
const TIMES: usize = 20;
const NUMBERS: usize = 7;

fn write_time(at: i64, form: usize) -> String {
    let zoned = Timestamp::from_millisecond(at)
        .unwrap()
        .to_zoned(TimeZone::UTC);
    let pattern = match form {
        0 => "%Y-%m-%d %H:%M:%S",
        1 => "%Y-%m-%dT%H:%M:%SZ",
        2 => "%Y-%m-%d %H:%M:%S UTC",
        3 => "%Y-%m-%d %H:%M:%S +0000",
        4 => "%Y-%m-%d %H:%M:%S.000000123 +0000 UTC m=+0.5",
        5 => "%Y/%m/%d %H:%M:%S",
        6 => "%m/%d/%Y %H:%M",
        7 => "%d/%m/%Y %H:%M",
        8 => "%m/%d/%Y %I:%M:%S %p",
        9 => "%d.%m.%Y %H:%M:%S",
        10 => "%d-%b-%Y %H:%M:%S",
        11 => "%b %d, %Y @ %H:%M:%S.000",
        12 => "%a, %d %b %Y %H:%M:%S GMT",
        13 => "%d/%b/%Y:%H:%M:%S +0000",
        14 => "%Y%m%d%H%M%S",
        15 => "%s",
        16 => return at.to_string(),
        17 => return (at * 1000).to_string(),
        18 => return (at * 1_000_000).to_string(),
        _ => return format!("{:.10}", at as f64 / 86_400_000.0 + 25_569.0),
    };
    zoned.strftime(pattern).to_string()
}

fn write_number(cents: i64, form: usize) -> String {
    let (group, mark) = match form {
        0 => ("", "."),
        1 => ("", ","),
        2 => (",", "."),
        3 => (".", ","),
        4 => (" ", ","),
        5 => ("\u{a0}", ","),
        _ => ("'", "."),
    };
    let digits = (cents.abs() / 100).to_string();
    let mut whole = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            whole.push_str(group);
        }
        whole.push(digit);
    }
    let sign = if cents < 0 { "-" } else { "" };
    format!("{sign}{whole}{mark}{:02}", cents.abs() % 100)
}

fn write(rows: &[(i64, i64)], style: &Style) -> Vec<u8> {
    let field = |text: &str| {
        let quotes = style.quote_all || text.contains([style.delimiter, '\n', '\r', '"']);
        match quotes {
            true => format!("\"{}\"", text.replace('"', "\"\"")),
            false => text.to_owned(),
        }
    };
    let line = |time: &str, note: &str, value: &str| {
        let mut fields = vec![field(time)];
        fields.extend(style.note.map(|_| field(note)));
        fields.push(field(value));
        fields.extend(style.trailing.then(String::new));
        fields.join(&style.delimiter.to_string())
    };
    let mut lines = Vec::new();
    lines.extend(style.comment.then(|| "# exported, by hand".to_owned()));
    lines.extend(
        style
            .header
            .map(|[time, note, value]| line(time, note, value)),
    );
    let mut rows: Vec<String> = rows
        .iter()
        .map(|(at, cents)| {
            let (time, number) = (
                write_time(*at, style.time),
                write_number(*cents, style.number),
            );
            line(&time, style.note.unwrap_or_default(), &number)
        })
        .collect();
    if style.newest_first {
        rows.reverse();
    }
    lines.extend(rows);
    let text = lines.join(style.ending) + style.ending;
    let utf_16 = |order: fn(u16) -> [u8; 2]| {
        let marked = "\u{feff}".encode_utf16().chain(text.encode_utf16());
        marked.flat_map(order).collect()
    };
    match style.encoding {
        0 => text.into_bytes(),
        1 => format!("\u{feff}{text}").into_bytes(),
        2 => utf_16(u16::to_le_bytes),
        3 => utf_16(u16::to_be_bytes),
        4 => text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        _ => WINDOWS_1252.encode(&text).0.into_owned(),
    }
}

fn style() -> impl Strategy<Value = Style> {
    const ENGLISH: &[&str; 3] = &["timestamp", "note", "value"];
    const GERMAN: &[&str; 3] = &["Zeit", "Gerät", "Wert"];
    let layout = (
        prop::sample::select(vec![',', ';', '\t', '|']),
        prop::sample::select(vec!["\n", "\r\n", "\r"]),
        prop::sample::select(vec![None, Some(ENGLISH), Some(GERMAN)]),
        prop::sample::select(vec![
            None,
            Some("Küche"),
            Some("one\ntwo; \"three\", #4\t|"),
            Some(""),
        ]),
        any::<[bool; 4]>(),
    );
    (layout, 0..ENCODINGS, 0..TIMES, 0..NUMBERS).prop_map(|(layout, encoding, time, number)| {
        let (delimiter, ending, header, note, flags) = layout;
        let [quote_all, trailing, newest_first, comment] = flags;
        Style {
            delimiter,
            ending,
            encoding,
            time,
            number,
            header,
            note,
            quote_all,
            trailing,
            newest_first,
            comment,
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_table_is_read_back_from_any_layout_encoding_and_form(
        cents in prop::collection::vec(-1_000_000_000_i64..1_000_000_000, 2..40),
        // The days 20 to 28 of a month, which show the order of a date.
        (month, day, minute) in (0..600_i64, 20..28_i64, 0..1440_i64),
        style in style(),
    ) {
        let date = jiff::civil::date(1975, 1, 1);
        let date = date.saturating_add(jiff::Span::new().months(month).days(day - 1));
        let first = date.to_zoned(TimeZone::UTC).unwrap().timestamp().as_millisecond();
        let rows: Vec<(i64, i64)> = (0..).map(|n| first + (minute + 7 * n) * 60_000).zip(cents).collect();
        let text = decode(write(&rows, &style)).unwrap();
        let expected: Vec<(i64, f64)> = rows.iter().map(|(at, cents)| (*at, *cents as f64 / 100.0)).collect();
        let table = parse(&text, &CsvOptions::default());
        let table = table.map_err(|error| TestCaseError::fail(format!("{error}: {text}")))?;
        let read: Vec<(i64, f64)> = table.samples.iter().map(|sample| (sample.at, sample.value)).collect();
        prop_assert_eq!(read, expected, "{}", text);
        prop_assert_eq!((table.report.rows, table.report.unreadable), (rows.len(), 0), "{}", text);
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>) {
        if let Ok(text) = decode(bytes) {
            let _ = parse(&text, &CsvOptions::default());
        }
    }

    #[test]
    fn anything_like_a_table_is_read_without_a_panic_and_counted(
        text in "([-0-9:/.TZ ]{0,12}|[\",;\n\r#a-z|]{1,3}){0,60}",
    ) {
        if let Ok(table) = parse(&text, &CsvOptions::default()) {
            let ReadReport { rows, read, unreadable, without_value, repeated, .. } = table.report;
            prop_assert_eq!(rows, read + unreadable + without_value);
            prop_assert_eq!(rows, table.rows.len());
            prop_assert_eq!(table.samples.len() + repeated, read);
            prop_assert!(table.samples.is_sorted_by(|a, b| a.at < b.at));
            prop_assert_eq!(table.row_indices.len(), table.samples.len());
        }
    }
}
