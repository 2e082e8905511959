//! Tests of `anomalyzer score`.

use std::fs;
use std::path::{Path, PathBuf};

use anomalyzer::cli::score::{ScoreArgs, run};
use anomalyzer_evaluate::csv::CsvOptions;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::{detectors, put, spiky};

async fn score(files: Vec<PathBuf>, output: &Path) -> Result<String, String> {
    let args = ScoreArgs {
        files,
        detector: "zscore".to_owned(),
        output: output.to_owned(),
        csv: CsvOptions::default(),
        detectors: detectors(),
    };
    let mut out = Vec::new();
    let result = run(args, &mut out, CancellationToken::new()).await;
    let said = String::from_utf8(out).unwrap();
    match result {
        Ok(()) => Ok(said),
        Err(error) => Err(format!("{said}{error}")),
    }
}

#[tokio::test]
async fn each_row_gets_its_line_and_an_anomaly_its_range() {
    let folder = TempDir::new().unwrap();
    let input = put(folder.path(), "cpu.csv", &spiky());
    let output = folder.path().join("made/for/it");
    let said = score(vec![input], &output).await.unwrap();
    assert!(
        said.contains("cpu.csv: 100 rows, anomalies: 1\n100 rows of 1 files in "),
        "{said}"
    );
    let lines: Vec<String> = fs::read_to_string(output.join("cpu.csv"))
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect();
    assert_eq!(lines.len(), 101);
    assert_eq!(
        lines[0],
        "timestamp,value,score,severity,expected_low,expected_high,phase"
    );
    assert_eq!(lines[1], "2014-04-01 00:00:00,10.0,0,0,,,");
    let fields: Vec<&str> = lines[91].split(',').collect();
    let number = |index: usize| fields[index].parse::<f64>().unwrap();
    assert_eq!(
        (fields[0], fields[1], fields[6]),
        ("2014-04-01 01:30:00", "99.0", "onset"),
        "{fields:?}"
    );
    assert!(
        number(2) > 1.0
            && number(3) == number(2)
            && number(4) < 10.0
            && (12.0..99.0).contains(&number(5))
    );
    assert_eq!(
        lines.iter().filter(|line| line.ends_with(",clear")).count(),
        1
    );
}

#[tokio::test]
async fn rows_that_a_detector_is_not_shown_change_nothing_for_the_others() {
    let folder = TempDir::new().unwrap();
    let clean = spiky();
    let mut dirty = String::new();
    for (index, line) in clean.lines().enumerate() {
        dirty.push_str(line);
        dirty.push_str("\r\n");
        if index % 20 == 7 {
            // Add a repeated line, a sample without a value, a line without a time, and a value
            // that is not a number.
            dirty.push_str(&format!(
                "{line}\r\n2014-05-01 00:00:00,NaN\r\nsoon,5\r\n2014-05-01 00:00:00,much\r\n"
            ));
        }
    }
    let inputs = vec![
        put(folder.path(), "clean.csv", &clean),
        put(folder.path(), "dirty.csv", &dirty),
    ];
    let output = folder.path().join("out");
    let said = score(inputs, &output).await.unwrap_err();
    for what in [
        "dirty.csv: 120 rows (20 not shown to the detector), anomalies: 1\n",
        "    10 of 120 rows are unreadable; the first is line 11: `soon` is no time\n",
        "    5 rows without a finite value\n",
        "    5 rows with the time of another row; the first of them counts\n",
        "dirty.csv: not all of it: 10 of 120 rows are unreadable; the first is line 11",
    ] {
        assert!(said.contains(what), "{what}: {said}");
    }
    let [clean, dirty] =
        ["clean.csv", "dirty.csv"].map(|name| fs::read_to_string(output.join(name)).unwrap());
    let (left_out, shown): (Vec<&str>, Vec<&str>) =
        dirty.lines().partition(|line| line.ends_with(",,,,,"));
    assert_eq!(shown, clean.lines().collect::<Vec<_>>());
    assert_eq!(
        (left_out.len(), left_out[1], left_out[2]),
        (20, "2014-05-01 00:00:00,NaN,,,,,", "soon,5,,,,,")
    );
}

#[tokio::test]
async fn a_file_in_another_layout_has_the_same_scores() {
    let folder = TempDir::new().unwrap();
    let clean = spiky();
    let lines: Vec<(&str, &str)> = clean
        .lines()
        .filter_map(|line| line.split_once(','))
        .collect();
    let (head, rows) = lines.split_first().unwrap();
    let newest_first: String = [head]
        .into_iter()
        .chain(rows.iter().rev())
        .map(|(time, value)| format!("{time},{value}\n"))
        .collect();
    let german: String = rows
        .iter()
        .map(|(time, value)| format!("{time};\"in der\nKüche\";{}\r\n", value.replace('.', ",")))
        .collect();
    let german = format!("Zeit;Gerät;Wert\r\n{german}");
    let utf_16: Vec<u8> = german.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let inputs = vec![
        put(folder.path(), "clean.csv", &clean),
        put(folder.path(), "newest.csv", &newest_first),
        put(folder.path(), "german.csv", ""),
    ];
    fs::write(&inputs[2], utf_16).unwrap();
    let output = folder.path().join("out");
    let said = score(inputs, &output).await.unwrap();
    assert_eq!(
        said.matches(": 100 rows, anomalies: 1\n").count(),
        3,
        "{said}"
    );
    assert!(
        said.contains("    99 rows before the row above; the rows are sorted by time\n"),
        "{said}"
    );
    let [clean, newest, german] = ["clean.csv", "newest.csv", "german.csv"].map(|name| {
        let text = fs::read_to_string(output.join(name)).unwrap();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines[1..].sort_unstable();
        lines
    });
    assert_eq!(newest, clean);
    assert_eq!(german[91], clean[91].replace("99.0", "\"99,0\""));
}

#[tokio::test]
async fn a_time_may_be_in_seconds_or_milliseconds_and_the_header_missing() {
    let folder = TempDir::new().unwrap();
    let outputs = ["{at}", "{at}000"].map(|form| {
        let rows = |n: i64| {
            format!(
                "{},{}\n",
                form.replace("{at}", &(1_396_310_400 + 60 * n).to_string()),
                10 + n % 3
            )
        };
        (0..90).map(rows).collect::<String>()
    });
    let output = folder.path().join("out");
    let inputs = vec![
        put(folder.path(), "s.csv", &outputs[0]),
        put(folder.path(), "ms.csv", &outputs[1]),
    ];
    score(inputs, &output).await.unwrap();
    let rest = |name: &str| {
        let text = fs::read_to_string(output.join(name)).unwrap();
        text.lines()
            .map(|line| line.split_once(',').unwrap().1.to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(rest("s.csv").len(), 91);
    assert_eq!(rest("s.csv"), rest("ms.csv"));
}

#[tokio::test]
async fn what_cannot_be_done_is_said_and_the_other_files_are() {
    let folder = TempDir::new().unwrap();
    let input = put(folder.path(), "a/cpu.csv", &spiky());
    let output = folder.path().join("out");

    let error = score(
        vec![input.clone(), put(folder.path(), "b/cpu.csv", "")],
        &output,
    )
    .await
    .unwrap_err();
    assert!(error.contains("have the same name"), "{error}");
    let error = score(vec![input.clone()], input.parent().unwrap())
        .await
        .unwrap_err();
    assert!(error.contains("it is an input as well"), "{error}");
    assert_eq!(
        fs::read_to_string(&input).unwrap(),
        spiky(),
        "it is as it was"
    );

    let (gone, empty) = (
        folder.path().join("gone.csv"),
        put(folder.path(), "empty.csv", "\n"),
    );
    let error = score(vec![gone, input.clone(), empty], &output)
        .await
        .unwrap_err();
    assert!(
        error.contains("2 files failed:\ncannot read ") && error.contains("gone.csv: No such file"),
        "{error}"
    );
    assert!(error.contains("empty.csv: it is empty"), "{error}");
    assert_eq!(
        fs::read_to_string(output.join("cpu.csv"))
            .unwrap()
            .lines()
            .count(),
        101
    );

    let args = |detector: &str, settings| {
        let detectors = anomalyzer::cli::DetectorArgs {
            settings,
            ..detectors()
        };
        ScoreArgs {
            files: vec![input.clone()],
            detector: detector.to_owned(),
            output: output.clone(),
            csv: CsvOptions::default(),
            detectors,
        }
    };
    for (detector, settings, says) in [
        ("zscroe", "{}", "there is no detector `zscroe` in "),
        ("alarm", "{}", "`alarm` is no detector"),
        (
            "/nowhere/x.wasm",
            "{}",
            "cannot read /nowhere/x.wasm: there is no such file",
        ),
        ("zscore", r#"{"spiek": 2}"#, "spiek"),
    ] {
        let args = args(detector, serde_json::from_str(settings).unwrap());
        let error = run(args, &mut Vec::new(), CancellationToken::new())
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains(says), "{error}");
    }
}
