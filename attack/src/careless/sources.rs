//! A collector that trusts its targets.

use std::collections::HashMap;
use std::time::Duration;

use crate::Settings;

/// Factor between two values of a series that the program takes for an anomaly.
const SPIKE: f64 = 10.0;

/// Scrapes the target of the configuration each second.
pub fn watch(settings: &Settings) {
    let Some(url) = settings.value("urls = ").map(str::to_owned) else {
        return;
    };
    let people = settings.value("default = true\nurl = ").map(str::to_owned);
    tokio::spawn(async move {
        let mut last = HashMap::new();
        loop {
            let Ok(answer) = reqwest::get(&url).await else {
                continue;
            };
            let Ok(bytes) = answer.bytes().await else {
                continue;
            };
            // Fault for `sources`: an answer that is no text ends the watch.
            let text = std::str::from_utf8(&bytes).expect("the answer is text");
            let wrong = spikes(text, &mut last);
            // Fault for `storm`: a notice for each target. Fault for `series`: nobody is told, and
            // every series ever seen is kept.
            for _ in 0..wrong.min(200) {
                if let Some(people) = &people {
                    let _ = reqwest::get(people).await;
                }
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
}

/// Returns the number of series whose value has grown much.
fn spikes(text: &str, last: &mut HashMap<String, f64>) -> usize {
    let mut count = 0;
    for line in text.lines() {
        let Some((series, value)) = line.rsplit_once(' ') else {
            continue;
        };
        let value: f64 = value.parse().unwrap_or(0.0);
        let before = last.insert(series.to_owned(), value);
        count += usize::from(before.is_some_and(|before| value > SPIKE * before.max(1.0)));
    }
    count
}
