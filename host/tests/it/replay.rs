//! Tests of `anomalyzer replay`, which makes recorded decisions again, and of `anomalyzer
//! backtest`, which shows the decisions that would have been made.

use std::fs;
use std::path::{Path, PathBuf};

use anomalyzer::cli::backtest::BacktestArgs;
use anomalyzer::cli::replay::ReplayArgs;
use anomalyzer::cli::{Output, backtest, replay};
use anomalyzer_common::clock::now_ms;
use anomalyzer_common::http_client;
use anomalyzer_domain::{Decision, solutions};
use anomalyzer_evaluate::backtest::TrialLimits;
use anomalyzer_evaluate::csv::CsvOptions;
use anomalyzer_history::{Exported, FILE_NAME, HistoryError, HistoryReader};
use anomalyzer_service::Service;
use serde_json::Value;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::serve::{MINUTE, configured, ended, show, show_ordinary, start};

fn plugins() -> PathBuf {
    concat!(env!("CARGO_MANIFEST_DIR"), "/../target/plugins").into()
}

/// Runs a service until it has scaled up, and stops it. Returns its data folder and the decision.
async fn scaled_up() -> (TempDir, Decision) {
    let folder = tempfile::tempdir().unwrap();
    let at_once = "[incidents]\nconfirm_after = '0s'\nquiet_for = '500ms'\n";
    let shutdown = CancellationToken::new();
    let running = start(configured(folder.path(), at_once), &shutdown).await;
    show_ordinary(running.bus().as_ref(), &running).await;
    show(running.bus().as_ref(), now_ms(), 6.0, 6.0).await;
    let decision = ended(&running, solutions::SCALE_UP, MINUTE).await;
    shutdown.cancel();
    running.ended().await;
    (folder, decision)
}

fn args(decision: &Decision, data_dir: &Path) -> ReplayArgs {
    ReplayArgs {
        decision: decision.id.to_string(),
        data_dir: data_dir.to_owned(),
        from: None,
        plugins: plugins(),
        detectors: vec![],
        model: None,
        ollama: String::new(),
        config: None,
        output: Output::Text,
        compiler: None,
    }
}

async fn replayed(args: ReplayArgs) -> (bool, String) {
    let mut out = Vec::new();
    let same = replay::run(args, &|_| None, &mut out).await.unwrap();
    (same, String::from_utf8(out).unwrap())
}

#[tokio::test]
async fn a_decision_comes_out_the_same_from_its_record_and_otherwise_with_another_policy() {
    let (folder, decision) = scaled_up().await;
    let (same, text) = replayed(args(&decision, folder.path())).await;
    assert!(same, "{text}");
    for part in [
        "latency{__name__=\"latency\"} by zscore: the same",
        "the rules: the same",
        "scale, event",
    ] {
        assert!(text.contains(part), "{text}");
    }
    assert!(!text.contains("not decided again"), "{text}");

    let strict = folder.path().join("strict.toml");
    fs::write(&strict, "[guard]\nmax_replicas = 1\n").unwrap();
    let (same, text) = replayed(ReplayArgs {
        config: Some(strict),
        ..args(&decision, folder.path())
    })
    .await;
    assert!(!same);
    assert!(
        text.contains("is  deny by replica_bounds (2 replicas are outside of 1 to 1)"),
        "{text}"
    );

    // The findings are taken from the record. The recorded result is not trusted, and the decision
    // is made again.
    let (same, text) = replayed(ReplayArgs {
        detectors: vec![plugins().join("zscore.wasm")],
        ..args(&decision, folder.path())
    })
    .await;
    assert!(same, "{text}");
}

#[tokio::test]
async fn on_another_machine_the_export_is_enough_and_what_was_changed_in_it_comes_out_otherwise() {
    let (folder, decision) = scaled_up().await;
    let history = HistoryReader::open(&folder.path().join(FILE_NAME))
        .await
        .unwrap();
    let mut lines = Vec::new();
    let write = |event: &Exported<'_>| {
        lines.push(serde_json::to_string(event).unwrap());
        Ok::<_, HistoryError>(())
    };
    history.export(write).await.unwrap();
    let export = folder.path().join("export.jsonl");
    fs::write(&export, lines.join("\n")).unwrap();
    let elsewhere = ReplayArgs {
        from: Some(export.clone()),
        ..args(&decision, Path::new("nowhere"))
    };
    let (same, text) = replayed(elsewhere.clone()).await;
    assert!(same, "{text}");

    // Find a sample that the detector was shown. It is in the body, which is text within text.
    let value = |text: &str| {
        let at = text.find(r#"\"samples\":[{\"at\":"#).unwrap();
        let at = at + text[at..].find(r#"\"value\":"#).unwrap() + r#"\"value\":"#.len();
        (at, text[at..].find('}').unwrap())
    };
    let whole = fs::read_to_string(&export).unwrap();
    let witnesses = whole.find(r#"\"witnesses\""#).unwrap();
    let (at, length) = value(&whole[witnesses..]);
    let forged = format!(
        "{}0.5{}",
        &whole[..witnesses + at],
        &whole[witnesses + at + length..]
    );
    fs::write(&export, forged).unwrap();
    let (same, text) = replayed(elsewhere).await;
    assert!(!same && text.contains("DIFFERENT"), "{text}");
}

#[tokio::test]
async fn what_is_missing_is_said() {
    let (folder, decision) = scaled_up().await;
    let mut unknown = args(&decision, folder.path());
    unknown.decision = "dec-unknown".to_owned();
    let error = replay::run(unknown, &|_| None, &mut Vec::new())
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("there is no decision `dec-unknown`"),
        "{error}"
    );
    fs::remove_dir_all(folder.path().join("plugin-store")).unwrap();
    let bare = ReplayArgs {
        plugins: folder.path().join("none"),
        ..args(&decision, folder.path())
    };
    let (same, text) = replayed(bare).await;
    assert!(
        same && text.contains("there is no component with SHA-256"),
        "{text}"
    );
}

fn backtest(from: &Path, config: &Path) -> BacktestArgs {
    BacktestArgs {
        from: from.display().to_string(),
        config: Some(config.to_owned()),
        start: None,
        end: None,
        step: None,
        data_dir: None,
        plot: None,
        csv: CsvOptions::default(),
        limits: TrialLimits::default(),
        output: Output::Json,
        compiler: None,
    }
}

async fn tested(args: BacktestArgs) -> (bool, String) {
    let mut out = Vec::new();
    let good = backtest::run(args, &|_| None, &mut out, CancellationToken::new())
        .await
        .unwrap();
    (good, String::from_utf8(out).unwrap())
}

/// Returns a CSV file with ten hours of one sample per minute. It contains `bursts` bursts.
fn recorded(bursts: usize) -> String {
    let mut csv = "timestamp,value\n".to_owned();
    for minute in 0..600_usize {
        let bad = minute >= 300 && (minute - 300) % 150 < 20 && (minute - 300) / 150 < bursts;
        let value = if bad {
            9.0
        } else {
            1.0 + (minute % 5) as f64 / 10.0
        };
        csv.push_str(&format!("{},{value}\n", 1_700_000_000 + minute * 60));
    }
    csv
}

#[tokio::test]
async fn a_configuration_and_each_new_version_of_a_detector_must_pass_the_trial() {
    let folder = tempfile::tempdir().unwrap();
    let (data, data_dir) = (
        folder.path().join("latency.csv"),
        folder.path().join("data"),
    );
    fs::write(&data, recorded(1)).unwrap();
    let try_start = async |most: f64| {
        let trial = format!(
            "[trial]\nfrom = '{}'\nmost_incidents = {most}\n",
            data.display()
        );
        let shutdown = CancellationToken::new();
        let running = Service::builder(configured(&data_dir, &trial))
            .start(shutdown.clone())
            .await;
        running.map(|running| (running.unwrap(), shutdown))
    };
    let refused = try_start(1.0).await.map(drop).unwrap_err().to_string();
    assert!(
        refused.contains("is not passed: 2.4") && refused.contains("at most 1 may be"),
        "{refused}"
    );

    let (running, shutdown) = try_start(3.0).await.unwrap();
    // The code is the same, but a remark at its end changes the bytes.
    let version = |remark: u8| {
        let mut bytes = fs::read(plugins().join("zscore.wasm")).unwrap();
        bytes.extend([0, 3, 1, b'r', remark]);
        bytes
    };
    let client = http_client::client(MINUTE).unwrap();
    let plugins_of = format!("http://{}/api/v1/plugins", running.address());
    let upload = async |remark| {
        let answer = client
            .post(&plugins_of)
            .header("content-type", "application/wasm")
            .body(version(remark))
            .send()
            .await
            .unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let live = async || {
        let answer = client
            .get(format!("{plugins_of}/zscore"))
            .send()
            .await
            .unwrap();
        answer.json::<Value>().await.unwrap()["digest"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let (status, answer) = upload(1).await;
    assert_eq!(status, 201, "{answer}");
    let passed = live().await;
    fs::write(&data, recorded(2)).unwrap();
    let (status, answer) = upload(2).await;
    assert!(
        status == 422 && answer.contains("is not passed: 4.8"),
        "{status} {answer}"
    );
    assert_eq!(live().await, passed);
    shutdown.cancel();
    running.ended().await;

    // The history is empty. The service starts, and the trial takes place once there is data.
    let trial = "[trial]\nfrom = 'history'\nmost_incidents = 1\n";
    let (empty, stop) = (tempfile::tempdir().unwrap(), CancellationToken::new());
    for _ in 0..2 {
        let stop = stop.child_token();
        let running = start(configured(empty.path(), trial), &stop).await;
        stop.cancel();
        running.ended().await;
        assert!(!empty.path().join("trial.passed").exists());
    }

    // A configuration that has passed the trial is not tried again.
    let (running, shutdown) = try_start(3.0)
        .await
        .map_err(|error| error.to_string())
        .unwrap();
    shutdown.cancel();
    running.ended().await;
    let refused = try_start(3.5).await.map(drop).unwrap_err().to_string();
    assert!(refused.contains("is not passed: 4.8"), "{refused}");
}

#[tokio::test]
async fn recorded_metrics_show_what_would_have_been_done_and_what_the_policy_would_have_refused() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("a.toml");
    let text = |guard: &str| {
        format!(
            "[plugins]\nfolder = '{}'\n[collect]\ninterval = '15s'\n[[collect.scrape]]\njob = 'none'\n\
             targets = {{ group = 'web' }}\n[local.groups.web]\ncommand = ['sleep', '600']\nfirst_port = 9\n\
             [[signal]]\nname = 'latency'\nmeaning = 'latency'\nunit = ''\n\
             target = {{ kind = 'Process', name = 'web' }}\nsource = {{ gauge = {{ of = 'nothing' }} }}\n\
             detectors = [{{ name = 'zscore', settings = {{ spike = 8.0, drop = 1000.0 }} }}]\n{guard}",
            plugins().display()
        )
    };
    fs::write(&config, text("")).unwrap();
    let data = folder.path().join("latency.csv");
    fs::write(&data, recorded(1)).unwrap();

    let picture = folder.path().join("a.svg");
    let (good, json) = tested(BacktestArgs {
        plot: Some(picture.clone()),
        ..backtest(&data, &config)
    })
    .await;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert!(good);
    assert_eq!(json["report"]["samples"], 600);
    let file = &json["files"][0];
    assert_eq!(
        (&file["rows"], &file["unreadable"]),
        (&600.into(), &0.into()),
        "{json}"
    );
    assert_eq!(
        json["report"]["incidents"].as_array().unwrap().len(),
        1,
        "{json}"
    );
    let tried = &json["report"]["incidents"][0]["tried"];
    assert_eq!(
        (&tried[0]["solution"], &tried[0]["outcome"]),
        (&"restart_service".into(), &"done".into()),
        "{json}"
    );
    assert_eq!(
        tried[1]["solution"], "alarm",
        "it goes on, so that it did not help: {json}"
    );
    assert!(
        fs::read_to_string(picture)
            .unwrap()
            .contains("restart_service")
    );

    let rule = "[[guard.policy]]\nname = 'never'\nwhen = \"operation.kind == 'restart'\"\nverdict = 'deny'\nreason = 'no'\n";
    fs::write(&config, text(rule)).unwrap();
    let (_, json) = tested(backtest(&data, &config)).await;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        json["report"]["incidents"][0]["tried"][0]["rule"], "policy:never",
        "{json}"
    );
    assert_eq!(json["report"]["refused_by"]["policy:never"], 1);

    let strict = BacktestArgs {
        limits: TrialLimits {
            most_incidents: Some(1.0),
            ..TrialLimits::default()
        },
        output: Output::Text,
        ..backtest(&data, &config)
    };
    let (good, text) = tested(strict).await;
    assert!(!good && text.contains("TOO MANY: 2.4"), "{text}");
}

#[tokio::test]
async fn data_of_no_use_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("a.toml");
    fs::write(&config, "").unwrap();
    for (from, why) in [
        ("nothing.csv", "nothing.csv"),
        (".", "there is no file that ends in .csv"),
    ] {
        let args = backtest(&folder.path().join(from), &config);
        let error = backtest::run(args, &|_| None, &mut Vec::new(), CancellationToken::new())
            .await
            .unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
    }
    // A limit must not pass because rows are missing, or because they mean something else.
    let rows = |form: &str| {
        (1..300)
            .map(|n| form.replace("{}", &n.to_string()))
            .collect::<String>()
    };
    for (name, text, why) in [
        (
            "late.csv",
            format!("timestamp,value\n{}", rows("line {},5\n")),
            "no row can be read: 299 of 299 rows",
        ),
        (
            "few.csv",
            format!("{}oops,1\noops,1\noops,1\noops,1\n", rows("{},5\n")),
            "4 of 303 rows are unreadable; the first is line 300: `oops` is no time",
        ),
        (
            "order.csv",
            "time,value\n03/04/2024,5\n03/05/2024,5\n".to_owned(),
            "--time-format dmy",
        ),
        (
            "mark.csv",
            "time,value\n1,5\n2,\"1,500\"\n".to_owned(),
            "--decimal comma",
        ),
        ("hosts.csv", rows("{},5\n{},6\n"), "several series"),
        ("empty.csv", String::new(), "it is empty"),
    ] {
        let file = folder.path().join(name);
        fs::write(&file, text).unwrap();
        let mut args = backtest(&file, &config);
        args.limits.most_incidents = Some(0.0);
        let error = backtest::run(args, &|_| None, &mut Vec::new(), CancellationToken::new())
            .await
            .unwrap_err();
        assert!(error.to_string().contains(why), "{name}: {error}");
        assert_eq!(anomalyzer::cli::exit_code(&error), 2, "{name}");
    }
    fs::write(folder.path().join("one.csv"), "time,value\n1,5\n").unwrap();
    let mut one = backtest(&folder.path().join("one.csv"), &config);
    one.limits.most_incidents = Some(5.0);
    let (good, text) = tested(one).await;
    assert!(!good && text.contains("cover no time"), "{text}");

    let mut prometheus = backtest(folder.path(), &config);
    prometheus.from = "http://127.0.0.1:9".to_owned();
    let error = backtest::run(
        prometheus,
        &|_| None,
        &mut Vec::new(),
        CancellationToken::new(),
    )
    .await
    .unwrap_err();
    assert!(error.to_string().contains("--start"), "{error}");
}
