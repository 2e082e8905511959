//! Pins the scores on the benchmark to the last digit, so that no change of the scores goes
//! unnoticed.

use anomalyzer::cli::Output;
use anomalyzer::cli::nab::{NabArgs, run as run_nab};
use anomalyzer_evaluate::csv::CsvOptions;
use anomalyzer_evaluate::quality::nab::{Corpus, PROFILES, Series, Tally, best};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{benchmark, put, spiky};

/// Scores of each detector in the profiles standard, few false alarms and few misses. The first
/// three are at the threshold that the detector ships with, and the last three at the best
/// threshold. Each detector that comes with the host has one entry, in the order of the names.
const PINS: &[(&str, [&str; 3], [&str; 3])] = &[
    (
        "drop",
        ["5.8870", "-8.1772", "11.3959"],
        ["9.4693", "4.2385", "12.9135"],
    ),
    (
        "error-rate",
        ["-130.7270", "-286.0771", "-78.8180"],
        ["0.9254", "0.7226", "2.9510"],
    ),
    (
        "flatline",
        ["2.3942", "1.1319", "3.0329"],
        ["2.3942", "1.1597", "3.0329"],
    ),
    (
        "forecast-breach",
        ["-12.1723", "-43.1257", "-1.7931"],
        ["0.0000", "0.0000", "0.0000"],
    ),
    (
        "forest",
        ["37.0298", "18.8839", "44.8015"],
        ["38.8555", "29.9025", "45.2419"],
    ),
    (
        "latency",
        ["-361.1400", "-792.4243", "-216.3347"],
        ["15.1026", "1.7170", "23.2868"],
    ),
    (
        "level-shift",
        ["21.8142", "-10.2671", "33.7956"],
        ["22.4226", "0.0000", "34.2013"],
    ),
    (
        "novelty",
        ["73.1499", "64.2090", "78.3643"],
        ["73.1499", "64.7421", "78.3643"],
    ),
    (
        "peers",
        ["0.0000", "0.0000", "0.0000"],
        ["0.0000", "0.0000", "0.0000"],
    ),
    (
        "seasonal",
        ["27.8138", "-17.1935", "44.4046"],
        ["35.2499", "8.3747", "47.6244"],
    ),
    (
        "slo-burn",
        ["3.1385", "-2.6034", "5.2533"],
        ["3.4230", "0.0000", "5.4429"],
    ),
    (
        "spike",
        ["-515.6584", "-1125.0724", "-311.8757"],
        ["23.5826", "4.5643", "32.2767"],
    ),
    (
        "zscore",
        ["-4476.3287", "-9050.8524", "-2951.1731"],
        ["0.0000", "0.0000", "0.0000"],
    ),
];

async fn nab(detectors: &[&str], output: Output) -> String {
    let detector = detectors.iter().map(|name| (*name).to_owned()).collect();
    let args = NabArgs {
        data: benchmark(),
        detector,
        csv: CsvOptions::default(),
        detectors: super::detectors(),
        output,
    };
    let mut out = Vec::new();
    run_nab(args, &mut out, CancellationToken::new())
        .await
        .unwrap();
    String::from_utf8(out).unwrap()
}

fn scores(at: &Value) -> Vec<String> {
    at.as_array()
        .unwrap()
        .iter()
        .map(|at| format!("{:.4}", at["score"].as_f64().unwrap()))
        .collect()
}

#[test]
fn every_detector_that_comes_with_the_host_is_pinned() {
    let sources =
        std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../plugins/detectors")).unwrap();
    let mut sources: Vec<String> = sources
        .map(|source| source.unwrap().file_name().into_string().unwrap())
        .collect();
    sources.sort_unstable();
    assert_eq!(
        sources,
        PINS.iter().map(|(name, ..)| *name).collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn the_detectors_that_come_with_the_host_reach_what_they_reached() {
    let names: Vec<&str> = PINS.iter().map(|(name, ..)| *name).collect();
    let reports: Value = serde_json::from_str(&nab(&names, Output::Json).await).unwrap();
    for (report, (name, shipped, best)) in reports.as_array().unwrap().iter().zip(PINS) {
        let reached = (
            report["detector"].as_str().unwrap(),
            scores(&report["shipped"]),
            scores(&report["best"]),
        );
        assert_eq!(
            reached,
            (
                *name,
                shipped.map(str::to_owned).to_vec(),
                best.map(str::to_owned).to_vec()
            )
        );
    }
    assert_eq!(reports.as_array().unwrap().len(), PINS.len());
    for report in reports.as_array().unwrap() {
        assert_eq!(
            (
                &report["rows"],
                &report["files"],
                &report["windows"],
                &report["unreadable"]
            ),
            (&365_558.into(), &58.into(), &116.into(), &0.into())
        );
        for which in ["shipped", "best"] {
            for (index, profile) in PROFILES.iter().enumerate() {
                let files = report["per_file"].as_array().unwrap().iter();
                let sum: f64 = files
                    .map(|file| file[which][index]["score"].as_f64().unwrap())
                    .sum();
                let whole = report[which][index]["score"].as_f64().unwrap();
                assert!(
                    (sum - whole).abs() < 1e-6,
                    "{} {which}: {sum} of {whole}",
                    profile.name
                );
            }
        }
    }
}

#[tokio::test]
async fn the_report_is_a_table() {
    let text = nab(&["zscore"], Output::Text).await;
    let heading = text.lines().next().unwrap();
    assert!(
        heading.starts_with("zscore ")
            && heading.contains(": 365,558 rows of 58 files with 116 windows in ")
    );
    for word in [
        "SHIPPED",
        "BEST",
        "THRESHOLD",
        "standard",
        "low_fp",
        "low_fn",
        "realTraffic/speed_t4013.csv",
    ] {
        assert!(text.contains(word), "{word}: {text}");
    }
}

/// Returns |x − mean| / σ of each value x, over the 60 samples before x. A value that differs from
/// a constant gets a very large score.
fn plain_z(values: &[f64]) -> Vec<f64> {
    let z = |row: usize| {
        let before = &values[row.saturating_sub(60)..row];
        if before.len() < 2 {
            return 0.0;
        }
        let count = before.len() as f64;
        let mean = before.iter().sum::<f64>() / count;
        let deviation = (before
            .iter()
            .map(|value| (value - mean).powi(2))
            .sum::<f64>()
            / count)
            .sqrt();
        let distance = (values[row] - mean).abs();
        if distance == 0.0 {
            0.0
        } else if deviation > 1e-12 {
            distance / deviation
        } else {
            1e6
        }
    };
    (0..values.len()).map(z).collect()
}

/// Keeps each score that is above all of the 100 scores before it, and sets all other scores to 0.
fn record(scores: &[f64]) -> Vec<f64> {
    let emit = |(row, score): (usize, &f64)| {
        let before = &scores[usize::saturating_sub(row, 100)..row];
        if before.iter().all(|before| before < score) {
            *score
        } else {
            0.0
        }
    };
    scores.iter().enumerate().map(emit).collect()
}

#[test]
fn a_plain_z_score_scores_what_is_published() {
    let corpus = Corpus::load(&benchmark(), CsvOptions::default()).unwrap();
    let read = |file: &anomalyzer_evaluate::quality::nab::Labelled| {
        let (windows, scores) = corpus
            .read(file, |table| {
                Ok(plain_z(
                    &table.rows.iter().map(|row| row.value).collect::<Vec<_>>(),
                ))
            })
            .unwrap();
        Series { scores, windows }
    };
    let files: Vec<Series> = corpus.files.iter().map(read).collect();
    let [standard, ..] = &PROFILES;
    let at = |files: &[Series], threshold: f64| {
        let tally = files
            .iter()
            .map(|file| file.tally(threshold))
            .fold(Tally::default(), |sum, tally| sum + tally);
        format!("{:.1}", tally.score(standard))
    };
    let [Some(threshold), ..] = best(&files) else {
        panic!("there is a best threshold")
    };
    assert_eq!(
        (
            at(&files, 1.5),
            format!("{threshold:.1}"),
            at(&files, threshold)
        ),
        ("-1844.2".to_owned(), "9.7".to_owned(), "23.8".to_owned())
    );
    let rows: usize = files.iter().map(|file| file.scores.len()).sum();
    let alarms = files
        .iter()
        .flat_map(|file| &file.scores)
        .filter(|score| **score >= 1.5)
        .count();
    assert_eq!(
        (rows, (alarms * 100 + rows / 2) / rows),
        (365_558, 14),
        "per cent of all rows"
    );

    let records: Vec<Series> = files
        .iter()
        .map(|file| Series {
            scores: record(&file.scores),
            ..file.clone()
        })
        .collect();
    let [Some(threshold), ..] = best(&records) else {
        panic!("there is a best threshold")
    };
    assert_eq!(
        (format!("{threshold:.1}"), at(&records, threshold)),
        ("6.7".to_owned(), "31.8".to_owned())
    );
}

#[tokio::test]
async fn unreadable_rows_of_a_file_are_counted_and_a_file_may_begin_with_the_newest() {
    let rows = |ordinary: bool| {
        let mut rows: Vec<String> = spiky().lines().skip(1).map(str::to_owned).collect();
        if !ordinary {
            rows.reverse();
            rows.extend(["soon,1", "soon,2", "soon,3"].map(str::to_owned));
        }
        format!("timestamp,value\n{}\n", rows.join("\n"))
    };
    let run = async |ordinary: bool| {
        let folder = tempfile::TempDir::new().unwrap();
        put(folder.path(), "data/a.csv", &rows(ordinary));
        let labels = r#"{"a.csv": [["2014-04-01 01:28:00", "2014-04-01 01:32:00"]]}"#;
        put(folder.path(), "labels/combined_windows.json", labels);
        let args = NabArgs {
            data: folder.path().to_owned(),
            detector: vec!["zscore".to_owned()],
            csv: CsvOptions::default(),
            detectors: super::detectors(),
            output: Output::Json,
        };
        let mut out = Vec::new();
        let result = run_nab(args, &mut out, CancellationToken::new()).await;
        let reports: Value = serde_json::from_slice(&out).unwrap();
        (reports[0].clone(), result.map_err(anyhow::Error::from))
    };
    let (clean, result) = run(true).await;
    assert!(result.is_ok());
    let (reversed, result) = run(false).await;
    let error = result.unwrap_err();
    assert!(
        error.to_string().contains(
            "a.csv: not all of it: 3 of 103 rows are unreadable; the first is line 102: `soon`"
        ),
        "{error}"
    );
    assert_eq!(anomalyzer::cli::exit_code(&error), 2);
    assert_eq!(
        (&reversed["unreadable"], &clean["unreadable"]),
        (&3.into(), &0.into())
    );
    assert_eq!(reversed["per_file"][0]["input"]["out_of_order"], 99);
    let found = |report: &Value| report["shipped"][0]["found"].clone();
    assert_eq!((found(&reversed), found(&clean)), (1.into(), 1.into()));
}
