//! What is reached on the benchmark, to the last digit, so that nobody changes it unseen.

use anomalyzer::cli::Output;
use anomalyzer::cli::nab::{NabArgs, run};
use anomalyzer::quality::nab::{Corpus, PROFILES, Series, Tally, best};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::benchmark;

/// Standard, few false alarms, few misses; at the threshold that the detector ships with, and at the best one.
/// A detector that comes with the host is one line here, in the order of the names.
const PINS: &[(&str, [&str; 3], [&str; 3])] = &[
    ("drop", ["-27.7587", "-75.4686", "-11.0345"], ["5.8290", "1.7340", "8.2455"]),
    ("error-rate", ["-11632.3928", "-23363.6054", "-7721.8826"], ["1.3674", "1.2254", "1.4863"]),
    ("flatline", ["-48.2629", "-101.9064", "-30.1638"], ["0.0000", "0.0000", "0.0000"]),
    ("forecast-breach", ["-10941.2460", "-21974.0518", "-7263.4169"], ["0.0000", "0.0000", "0.0000"]),
    ("forest", ["-15.0720", "-85.3197", "10.0670"], ["21.0126", "6.3306", "30.6751"]),
    ("latency", ["-2011.4472", "-4093.4385", "-1316.5395"], ["1.2605", "0.6129", "1.7024"]),
    ("level-shift", ["-899.5114", "-1854.6648", "-579.8467"], ["0.0000", "0.0000", "0.0000"]),
    ("novelty", ["73.1499", "64.2090", "78.3643"], ["73.1499", "64.7421", "78.3643"]),
    ("peers", ["0.0000", "0.0000", "0.0000"], ["0.0000", "0.0000", "0.0000"]),
    ("seasonal", ["-273.6966", "-634.7602", "-152.2920"], ["0.0000", "0.0000", "0.0000"]),
    ("slo-burn", ["-13389.5105", "-26877.9750", "-8893.2944"], ["0.0000", "0.0000", "0.0000"]),
    ("spike", ["-1176.8012", "-2447.5674", "-752.6376"], ["22.6004", "3.2004", "33.5561"]),
    ("zscore", ["-4476.3287", "-9050.8524", "-2951.1731"], ["0.0000", "0.0000", "0.0000"]),
];

async fn nab(detectors: &[&str], output: Output) -> String {
    let detector = detectors.iter().map(|name| (*name).to_owned()).collect();
    let args = NabArgs { data: benchmark(), detector, detectors: super::detectors(), output };
    let mut out = Vec::new();
    run(args, &mut out, CancellationToken::new()).await.unwrap();
    String::from_utf8(out).unwrap()
}

fn scores(at: &Value) -> Vec<String> {
    at.as_array().unwrap().iter().map(|at| format!("{:.4}", at["score"].as_f64().unwrap())).collect()
}

#[test]
fn every_detector_that_comes_with_the_host_is_pinned() {
    let sources = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../plugins/detectors")).unwrap();
    let mut sources: Vec<String> = sources.map(|source| source.unwrap().file_name().into_string().unwrap()).collect();
    sources.sort_unstable();
    assert_eq!(sources, PINS.iter().map(|(name, ..)| *name).collect::<Vec<_>>());
}

#[tokio::test]
async fn the_detectors_that_come_with_the_host_reach_what_they_reached() {
    let names: Vec<&str> = PINS.iter().map(|(name, ..)| *name).collect();
    let reports: Value = serde_json::from_str(&nab(&names, Output::Json).await).unwrap();
    for (report, (name, shipped, best)) in reports.as_array().unwrap().iter().zip(PINS) {
        let reached = (report["detector"].as_str().unwrap(), scores(&report["shipped"]), scores(&report["best"]));
        assert_eq!(reached, (*name, shipped.map(str::to_owned).to_vec(), best.map(str::to_owned).to_vec()));
    }
    assert_eq!(reports.as_array().unwrap().len(), PINS.len());
    for report in reports.as_array().unwrap() {
        assert_eq!((&report["rows"], &report["files"], &report["windows"]), (&365_558.into(), &58.into(), &116.into()));
        for which in ["shipped", "best"] {
            for (index, profile) in PROFILES.iter().enumerate() {
                let files = report["per_file"].as_array().unwrap().iter();
                let sum: f64 = files.map(|file| file[which][index]["score"].as_f64().unwrap()).sum();
                let whole = report[which][index]["score"].as_f64().unwrap();
                assert!((sum - whole).abs() < 1e-6, "{} {which}: {sum} of {whole}", profile.name);
            }
        }
    }
}

#[tokio::test]
async fn the_report_is_a_table() {
    let text = nab(&["zscore"], Output::Text).await;
    let heading = text.lines().next().unwrap();
    assert!(heading.starts_with("zscore ") && heading.contains(": 365,558 rows of 58 files with 116 windows in "));
    for word in ["SHIPPED", "BEST", "THRESHOLD", "standard", "low_fp", "low_fn", "realTraffic/speed_t4013.csv"] {
        assert!(text.contains(word), "{word}: {text}");
    }
}

/// |x − mean| / σ over the 60 samples before x; whatever differs from a constant is out without bound.
fn plain_z(values: &[f64]) -> Vec<f64> {
    let z = |row: usize| {
        let before = &values[row.saturating_sub(60)..row];
        if before.len() < 2 {
            return 0.0;
        }
        let count = before.len() as f64;
        let mean = before.iter().sum::<f64>() / count;
        let deviation = (before.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt();
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

/// A score only where it is above every one of the 100 before it.
fn record(scores: &[f64]) -> Vec<f64> {
    let emit = |(row, score): (usize, &f64)| {
        let before = &scores[usize::saturating_sub(row, 100)..row];
        if before.iter().all(|before| before < score) { *score } else { 0.0 }
    };
    scores.iter().enumerate().map(emit).collect()
}

#[test]
fn a_plain_z_score_scores_what_is_published() {
    let corpus = Corpus::load(&benchmark()).unwrap();
    let read = |file: &anomalyzer::quality::nab::Labelled| {
        let (windows, scores) =
            file.read(|rows| Ok(plain_z(&rows.iter().map(|row| row.value).collect::<Vec<_>>()))).unwrap();
        Series { scores, windows }
    };
    let files: Vec<Series> = corpus.files.iter().map(read).collect();
    let [standard, ..] = &PROFILES;
    let at = |files: &[Series], threshold: f64| {
        let tally = files.iter().map(|file| file.tally(threshold)).fold(Tally::default(), |sum, tally| sum + tally);
        format!("{:.1}", tally.score(standard))
    };
    let [Some(threshold), ..] = best(&files) else { panic!("there is a best threshold") };
    assert_eq!(
        (at(&files, 1.5), format!("{threshold:.1}"), at(&files, threshold)),
        ("-1844.2".to_owned(), "9.7".to_owned(), "23.8".to_owned())
    );
    let rows: usize = files.iter().map(|file| file.scores.len()).sum();
    let alarms = files.iter().flat_map(|file| &file.scores).filter(|score| **score >= 1.5).count();
    assert_eq!((rows, (alarms * 100 + rows / 2) / rows), (365_558, 14), "per cent of all rows");

    let records: Vec<Series> =
        files.iter().map(|file| Series { scores: record(&file.scores), ..file.clone() }).collect();
    let [Some(threshold), ..] = best(&records) else { panic!("there is a best threshold") };
    assert_eq!((format!("{threshold:.1}"), at(&records, threshold)), ("6.7".to_owned(), "31.8".to_owned()));
}
