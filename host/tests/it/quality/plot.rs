//! Tests of `anomalyzer plot`.

use std::fs;
use std::path::Path;

use anomalyzer::cli::plot::{PlotArgs, run};
use anomalyzer_domain::{IncidentEvent, IncidentEventKind, Labels, Range, Sample, Series};
use anomalyzer_evaluate::csv::CsvOptions;
use anomalyzer_history::DecisionEventKind::Proposed;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::{detectors, put, spiky};
use crate::fixture::{NOON, Place, incident, proposed};

fn args(output: &Path) -> PlotArgs {
    PlotArgs {
        file: None,
        detector: None,
        labels: None,
        decision: None,
        data_dir: "/nowhere".into(),
        output: output.to_owned(),
        width: 1000,
        height: 300,
        csv: CsvOptions::default(),
        detectors: detectors(),
    }
}

async fn plot(args: PlotArgs) -> Result<String, String> {
    let output = args.output.clone();
    let done = run(args, &mut Vec::new(), CancellationToken::new()).await;
    done.map(|()| fs::read_to_string(output).unwrap())
        .map_err(|error| error.to_string())
}

#[tokio::test]
async fn a_file_is_drawn_with_what_was_expected_found_and_labelled() {
    let folder = TempDir::new().unwrap();
    let file = put(folder.path(), "web/cpu.csv", &spiky());
    let labels = put(
        folder.path(),
        "labels.json",
        r#"{"db/cpu.csv": [], "web/cpu.csv": [["2014-04-01 01:29:00.000000", "2014-04-01 01:35:00.000000"]]}"#,
    );
    let output = folder.path().join("cpu.svg");
    let args = || PlotArgs {
        file: Some(file.clone()),
        ..args(&output)
    };
    let whole = PlotArgs {
        detector: Some("zscore".to_owned()),
        labels: Some(labels.clone()),
        ..args()
    };
    let drawn = plot(whole.clone()).await.unwrap();
    for what in [
        "cpu, zscore ",
        ">\nonset",
        ">\nover",
        ">\nexpected",
        ">\nlabelled",
        "04-01 01:00",
    ] {
        assert!(drawn.contains(what), "{what}: {drawn}");
    }
    let plain = plot(args()).await.unwrap();
    assert!(plain.contains("<polyline") && !plain.contains("onset") && !plain.contains("labelled"));

    let other = PlotArgs {
        file: Some(put(folder.path(), "x/mem.csv", &spiky())),
        ..whole.clone()
    };
    assert!(
        plot(other)
            .await
            .unwrap_err()
            .contains("there is nothing about ")
    );
    // The picture is drawn, and the missing rows are reported.
    let text = format!("{}soon,1\nsoon,2\nsoon,3\n", spiky());
    let gappy = PlotArgs {
        file: Some(put(folder.path(), "gappy.csv", &text)),
        ..args()
    };
    let mut out = Vec::new();
    fs::remove_file(&output).unwrap();
    let error = run(gappy, &mut out, CancellationToken::new())
        .await
        .unwrap_err();
    let said = String::from_utf8(out).unwrap();
    assert!(
        said.contains("3 of 103 rows are unreadable; the first is line 102: `soon` is no time"),
        "{said}"
    );
    assert_eq!(anomalyzer::cli::exit_code(&error.into()), 2);
    assert!(output.is_file());

    let png = PlotArgs {
        output: folder.path().join("cpu.png"),
        ..whole
    };
    assert!(plot(png).await.unwrap_err().contains("ends in .svg"));
}

#[tokio::test]
async fn a_decision_is_drawn_from_the_samples_of_its_incident() {
    let place = Place::new().await;
    let mut incident = incident(1);
    incident.id = proposed(1).incident.unwrap();
    incident.findings[0].expected = Some(Range {
        low: None,
        high: Some(0.5),
    });
    let event = |incident| IncidentEvent::new(IncidentEventKind::Opened, NOON, incident);
    place.record(Proposed, proposed(1)).await;
    place
        .history
        .record_incident(&event(incident.clone()))
        .await
        .unwrap();
    let output = place.folder.path().join("a.svg");
    let args = |id: &str| PlotArgs {
        decision: Some(id.to_owned()),
        data_dir: place.folder.path().to_owned(),
        ..args(&output)
    };
    let id = proposed(1).id.to_string();
    assert!(
        plot(args(&id))
            .await
            .unwrap_err()
            .contains("the history holds no samples")
    );
    assert!(
        plot(args("dec-1"))
            .await
            .unwrap_err()
            .contains("there is no decision `dec-1`")
    );

    let samples = (0..60).map(|n| Sample {
        at: NOON + n * 1000,
        value: if n < 59 { 0.2 } else { 1.25 },
    });
    incident.samples = vec![Series {
        labels: Labels::default(),
        samples: samples.collect(),
    }];
    incident.findings[0].onset_at = NOON + 59_000;
    incident.changed_at += 1000;
    place
        .history
        .record_incident(&event(incident))
        .await
        .unwrap();
    let drawn = plot(args(&id)).await.unwrap();
    for what in [
        "web_latency{pod=&quot;web-1&quot;}: far above",
        ">\nexpected",
        ">\nonset",
        "<circle",
        "12:00:30",
    ] {
        assert!(drawn.contains(what), "{what}: {drawn}");
    }
}
