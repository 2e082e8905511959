//! Metrics of each live plugin.

use anomalyzer_common::metrics::Metrics;
use anomalyzer_plugin_host::{CALL_SECONDS, LivePlugin};

const CALLS: &str = "anomalyzer_plugin_calls_total";
const FAULTS: &str = "anomalyzer_plugin_faults_total";
const SECONDS: &str = "anomalyzer_plugin_call_seconds";
const INSTANCES: &str = "anomalyzer_plugin_instances";
const MEMORY: &str = "anomalyzer_plugin_memory_bytes";

/// Shows the live plugins and no others: the labels of a replaced version or of a removed plugin
/// would otherwise never go away.
pub(super) fn show(metrics: &Metrics, live: &[LivePlugin]) {
    for name in [CALLS, FAULTS, SECONDS, INSTANCES, MEMORY] {
        metrics.retain(name, |labels| {
            live.iter().any(|plugin| {
                labels
                    .iter()
                    .map(|(_, value)| value)
                    .eq([&plugin.name, &plugin.version])
            })
        });
    }
    for LivePlugin {
        name,
        version,
        stats,
        times,
    } in live
    {
        let labels = [("plugin", name.as_str()), ("version", version.as_str())];
        let counter = |name, help, count| metrics.counter(name, help, &labels).follow(count);
        counter(CALLS, "Calls of a plugin, opening included.", stats.calls);
        counter(
            FAULTS,
            "Instances lost to a trap, a deadline, a limit or a broken contract.",
            stats.faults,
        );
        let gauge = |name, help, value: u64| metrics.gauge(name, help, &labels).set(value as f64);
        gauge(INSTANCES, "Open instances of a plugin.", stats.instances);
        gauge(
            MEMORY,
            "Linear memory of the open instances of a plugin.",
            stats.memory_bytes,
        );
        let took = metrics.histogram(
            SECONDS,
            "Duration of a call of a plugin.",
            &labels,
            &CALL_SECONDS,
        );
        took.follow(&times.counts, times.seconds);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anomalyzer_plugin_host::{CallTimes, PluginStats};

    fn plugin(name: &str, version: &str, calls: u64) -> LivePlugin {
        let mut counts = vec![0; CALL_SECONDS.len() + 1];
        counts[3] = calls;
        LivePlugin {
            name: name.to_owned(),
            version: version.to_owned(),
            stats: PluginStats {
                calls,
                faults: 1,
                instances: 2,
                memory_bytes: 3 << 20,
                ..PluginStats::default()
            },
            times: CallTimes {
                counts,
                seconds: 0.5,
            },
        }
    }

    #[test]
    fn each_plugin_that_is_live_is_shown_by_name_and_version() {
        let metrics = Metrics::default();
        show(
            &metrics,
            &[plugin("drain", "0.2.0", 7), plugin("zscore", "0.1.0", 9)],
        );
        let text = metrics.render();
        let drain: Vec<&str> = text
            .lines()
            .filter(|line| {
                line.contains("\"drain\"") && (!line.contains("_bucket") || line.contains("+Inf"))
            })
            .collect();
        insta::assert_snapshot!(drain.join("\n"), @r#"
        anomalyzer_plugin_call_seconds_sum{plugin="drain",version="0.2.0"} 0.5
        anomalyzer_plugin_call_seconds_count{plugin="drain",version="0.2.0"} 7
        anomalyzer_plugin_call_seconds_bucket{le="+Inf",plugin="drain",version="0.2.0"} 7
        anomalyzer_plugin_calls_total{plugin="drain",version="0.2.0"} 7
        anomalyzer_plugin_faults_total{plugin="drain",version="0.2.0"} 1
        anomalyzer_plugin_instances{plugin="drain",version="0.2.0"} 2.0
        anomalyzer_plugin_memory_bytes{plugin="drain",version="0.2.0"} 3145728.0
        "#);
        let below = |bound: &str| {
            let start = format!(
                "anomalyzer_plugin_call_seconds_bucket{{le=\"{bound}\",plugin=\"drain\",version=\"0.2.0\"}} "
            );
            text.lines()
                .find_map(|line| line.strip_prefix(&start))
                .map(str::to_owned)
        };
        assert_eq!(
            (below("0.000032768"), below("0.000065536")),
            (Some("0".to_owned()), Some("7".to_owned()))
        );
    }

    #[test]
    fn what_is_no_longer_live_is_no_longer_shown() {
        let metrics = Metrics::default();
        metrics
            .counter(
                "anomalyzer_other_total",
                "Something else.",
                &[("plugin", "drain")],
            )
            .increment();
        show(
            &metrics,
            &[plugin("drain", "0.1.0", 7), plugin("zscore", "0.1.0", 9)],
        );
        show(&metrics, &[plugin("drain", "0.2.0", 1)]);
        let text = metrics.render();
        assert!(
            !text.contains("zscore") && !text.contains("0.1.0"),
            "{text}"
        );
        assert!(
            text.contains("anomalyzer_plugin_calls_total{plugin=\"drain\",version=\"0.2.0\"} 1\n"),
            "{text}"
        );
        assert!(
            text.contains("anomalyzer_other_total{plugin=\"drain\"} 1\n"),
            "{text}"
        );
    }
}
