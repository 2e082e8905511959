//! Many targets that are wrong at once, and a source with ever new series.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::Arguments;
use crate::service::{Options, Service, until};
use crate::sources::{Target, ok};
use crate::tally::Tally;

/// Number of targets.
const TARGETS: usize = 10_000;
/// Most notices about one storm within the observed time.
const MAX_NOTICES: u64 = 25;
/// Most resident memory, in MiB.
const MAX_RESIDENT: u64 = 700;
/// New series in each scrape.
const NEW_SERIES: u64 = 20_000;

pub async fn run(arguments: &Arguments) -> Result<Tally> {
    let mut tally = Tally::default();
    let wrong = Arc::new(AtomicBool::new(false));
    let shared = wrong.clone();
    let target = Target::start(
        move |number| {
            let factor = if shared.load(Ordering::Relaxed) {
                100
            } else {
                1
            };
            let mut body = String::new();
            for one in 0..TARGETS {
                let value = factor * (100 + (number + one as u64) % 3);
                let _ = writeln!(body, "m{{t=\"t{one}\"}} {value}");
            }
            ok(&body)
        },
        vec![],
        0,
        Duration::ZERO,
    )
    .await?;
    let people = Target::start(|_| ok("ok"), vec![], 0, Duration::ZERO).await?;
    let options = Options {
        config: format!(
            "[incidents]\nconfirm_after = \"1s\"\n[notify.channels.people]\ntype = \"webhook\"\ndefault = true\n\
             url = \"http://{}/\"\n{}",
            people.address,
            scraping_many(&target)
        ),
        plugins: vec!["zscore", "alarm", "no-action"],
        ..Options::default()
    };
    let mut service = Service::start(arguments, options).await?;
    let learned = until(Duration::from_secs(60), async || {
        target.asked.load(Ordering::Relaxed) >= 24
    })
    .await;
    tally.check(learned, || {
        "the target is not scraped each second".to_owned()
    });
    wrong.store(true, Ordering::Relaxed);
    let begun = Instant::now();
    let told = until(Duration::from_secs(45), async || {
        people.asked.load(Ordering::Relaxed) > 0
    })
    .await;
    tally.attempts += TARGETS as u64;
    tally.note("seconds until people are told", &begun.elapsed().as_secs());
    tally.check(told, || "nobody is told within 45 s".to_owned());
    let mut most = 0;
    while begun.elapsed() < Duration::from_secs(60) {
        tokio::time::sleep(Duration::from_millis(500)).await;
        most = most.max(service.resident());
    }
    let notices = people.asked.load(Ordering::Relaxed);
    tally.note("notices, resident MiB", &format!("{notices}, {most}"));
    tally.check(notices <= MAX_NOTICES, || {
        format!("{notices} notices about one storm")
    });
    tally.check(most < MAX_RESIDENT, || format!("{most} MiB are resident"));
    let trouble = service.trouble().await;
    tally.check(trouble.is_none(), || trouble.unwrap_or_default());
    Ok(tally)
}

fn scraping_many(target: &Target) -> String {
    format!(
        "[collect]\ninterval = \"1s\"\n[[collect.scrape]]\njob = \"t\"\ntimeout = \"1s\"\n\
         targets = {{ urls = [\"http://{}/metrics\"] }}\n[[signal]]\nname = \"m\"\n\
         target = {{ kind = \"Service\", name = \"{{{{t}}}}\" }}\n\
         source = {{ gauge = {{ of = \"m\", by = [\"t\"] }} }}\n\
         detectors = [{{ name = \"zscore\", settings = {{ spike = 8.0, drop = 1000.0 }} }}]\n",
        target.address
    )
}

/// Scrapes a source whose label values are new each time, beside an honest target.
pub async fn series(arguments: &Arguments) -> Result<Tally> {
    let mut tally = Tally::default();
    let (spike, scraped) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let (shared, counter) = (spike.clone(), scraped.clone());
    let target = Target::start(
        move |number| {
            counter.fetch_add(NEW_SERIES, Ordering::Relaxed);
            let value = if shared.load(Ordering::Relaxed) {
                10_000
            } else {
                100 + number % 3
            };
            let mut body = format!("m{{t=\"honest\"}} {value}\n");
            for one in 0..NEW_SERIES {
                let _ = writeln!(body, "m{{t=\"n{number}-{one}\"}} 1");
            }
            ok(&body)
        },
        vec![],
        0,
        Duration::ZERO,
    )
    .await?;
    let options = Options {
        config: scraping_many(&target),
        plugins: vec!["zscore", "alarm", "no-action"],
        ..Options::default()
    };
    let mut service = Service::start(arguments, options).await?;
    let (begun, mut most) = (Instant::now(), 0);
    while begun.elapsed() < Duration::from_secs(60) {
        tokio::time::sleep(Duration::from_millis(500)).await;
        most = most.max(service.resident());
    }
    tally.attempts = scraped.load(Ordering::Relaxed);
    tally.note("resident MiB", &most);
    tally.check(most < MAX_RESIDENT, || format!("{most} MiB are resident"));
    spike.store(true, Ordering::Relaxed);
    let found = until(Duration::from_secs(25), async || {
        let page = service
            .client("viewer")
            .json("/api/v1/incidents?open=true")
            .await;
        page.is_ok_and(|page| page.to_string().contains("honest"))
    })
    .await;
    tally.check(found, || {
        "the spike of the honest target is not found in 25 s".to_owned()
    });
    let health = service.health().await?.to_string();
    tally.check(health.contains("left out"), || {
        "the health says nothing of the surplus of series".to_owned()
    });
    let trouble = service.trouble().await;
    tally.check(trouble.is_none(), || trouble.unwrap_or_default());
    Ok(tally)
}
