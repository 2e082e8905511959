//! Tests of `anomalyzer nab|score|plot`, and of the scores of the detectors that come with the
//! host.

mod nab;
mod plot;
mod score;

use std::fs;
use std::path::{Path, PathBuf};

use anomalyzer::cli::DetectorArgs;

fn detectors() -> DetectorArgs {
    DetectorArgs {
        settings: serde_json::json!({}),
        plugins: concat!(env!("CARGO_MANIFEST_DIR"), "/../target/plugins").into(),
        compiler: None,
    }
}

/// Returns the folder with the benchmark's data, which lies beside the checkout.
fn benchmark() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/nab");
    assert!(
        folder.join("labels").is_dir(),
        "the benchmark's data is not there: put it into {}",
        folder.display()
    );
    folder
}

/// Returns a CSV file with a hundred samples near 10, one minute apart. Sample 90, counted from 0,
/// is 99.
fn spiky() -> String {
    let mut text = "timestamp,value\n".to_owned();
    for n in 0..100 {
        let value = if n == 90 {
            99.0
        } else {
            10.0 + f64::from(n % 3)
        };
        text.push_str(&format!(
            "2014-04-01 {:02}:{:02}:00,{value:.1}\n",
            n / 60,
            n % 60
        ));
    }
    text
}

fn put(folder: &Path, name: &str, text: &str) -> PathBuf {
    let file = folder.join(name);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, text).unwrap();
    file
}
