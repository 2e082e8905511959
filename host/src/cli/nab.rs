//! `anomalyzer nab`: scores detectors on the Numenta Anomaly Benchmark.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use tokio_util::sync::CancellationToken;

use super::Output;
use super::detector_args::{DetectorArgs, blocking, count, progress, refusal, unless_closed};
use anomalyzer_evaluate::csv::CsvOptions;
use anomalyzer_evaluate::quality::QualityError;
use anomalyzer_evaluate::quality::nab::{At, Corpus, FileReport, Report};

/// Score detectors on the Numenta Anomaly Benchmark, at their own threshold and at the best one
///
/// Scores are those of the benchmark: no alarm at all is 0, perfect is 100, and many false alarms
/// are below 0. SHIPPED is at the detector's own threshold: an alarm is a sample with a score of 1
/// or more. BEST is at the threshold that would have been best. It is chosen with knowledge of the
/// labels, so it is an upper bound that the detector does not reach in practice. POINTS are a
/// file's share in the standard score. The first sample of each time is shown to a detector, in the
/// order of time. Other rows count as calm, and the report counts unreadable ones.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "It exits 2 if a file cannot be read, or if more than 1 % of its rows (at least three) are unreadable."
)]
pub struct NabArgs {
    /// The benchmark's folder, which contains `data` and `labels`
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// Detectors by name, or the files of plugins; by default all detectors of the plugin folder
    #[arg(long, value_name = "NAME|FILE.wasm", value_delimiter = ',')]
    pub detector: Vec<String>,
    /// Meaning of ambiguous fields
    #[command(flatten)]
    pub csv: CsvOptions,
    /// Folder, settings and compiler of the detectors
    #[command(flatten)]
    pub detectors: DetectorArgs,
    /// Text for people, or JSON (a list with one object per detector)
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

/// Runs the benchmark, and writes the scores.
///
/// # Errors
/// Returns an error if the data or a detector can't be loaded, if a detector failed, if the run was
/// interrupted, if the output can't be written, or if too many rows of a file are unreadable.
pub async fn run<W: Write>(
    args: NabArgs,
    out: &mut W,
    shutdown: CancellationToken,
) -> Result<(), QualityError> {
    let (output, stop, data) = (args.output, shutdown.clone(), args.data.join("data"));
    let reports = blocking(&shutdown, move || reports(args, &stop)).await?;
    unless_closed(write(&reports, output, out).map_err(QualityError::from))?;
    // Every detector reads the same files.
    let files = reports.first().map(|report| report.per_file.as_slice());
    let refused = files
        .unwrap_or_default()
        .iter()
        .filter_map(|file| refusal(&data.join(&file.file), &file.input).map(QualityError::from));
    QualityError::all(refused.collect())
}

fn reports(args: NabArgs, stop: &CancellationToken) -> Result<Vec<Report>, QualityError> {
    let corpus = Corpus::load(&args.data, args.csv)?;
    let detectors = args.detectors.load(&args.detector)?;
    let report = |detector| {
        let start = Instant::now();
        let scored = corpus.run(
            &detectors,
            detector,
            stop,
            progress(&detector.name, corpus.files.len()),
        )?;
        let report = Report::new(detector, &corpus, scored);
        Ok(Report {
            seconds: start.elapsed().as_secs_f64(),
            ..report
        })
    };
    detectors.all().iter().map(report).collect()
}

fn write<W: Write>(reports: &[Report], output: Output, out: &mut W) -> io::Result<()> {
    match output {
        Output::Json => {
            serde_json::to_writer_pretty(&mut *out, reports)?;
            writeln!(out)?;
        }
        Output::Text => {
            for (index, report) in reports.iter().enumerate() {
                if index > 0 {
                    writeln!(out)?;
                }
                text(report, out)?;
            }
        }
    }
    out.flush()
}

fn text<W: Write>(report: &Report, out: &mut W) -> io::Result<()> {
    let Report {
        detector,
        version,
        files,
        rows,
        windows,
        seconds,
        ..
    } = report;
    let rows = count(*rows);
    writeln!(
        out,
        "{detector} {version}: {rows} rows of {files} files with {windows} windows in {seconds:.2} s\n"
    )?;
    for FileReport { file, input, .. } in &report.per_file {
        if input.unreadable > 0 {
            let notes = input.notes().join("; ");
            writeln!(out, "{file}: {notes}")?;
        }
    }
    writeln!(out, "{:<54}  {:^26}  {:^37}", "", "SHIPPED", "BEST")?;
    let head = "    SCORE  FOUND     FALSE";
    writeln!(out, "{:<54}  {head}  {head}  THRESHOLD", "PROFILE")?;
    for (shipped, best) in report.shipped.iter().zip(&report.best) {
        let threshold = best
            .threshold
            .map_or_else(|| "none".to_owned(), |threshold| format!("{threshold:.4}"));
        writeln!(
            out,
            "{:<54}  {}  {}  {threshold:>9}",
            shipped.profile,
            figures(shipped),
            figures(best)
        )?;
    }
    let head = "   POINTS  FOUND     FALSE";
    writeln!(out, "\n{:<54}  {head}  {head}  WINDOWS", "FILE")?;
    for FileReport {
        file,
        windows,
        shipped,
        best,
        ..
    } in &report.per_file
    {
        // The standard profile is the first.
        if let (Some(shipped), Some(best)) = (shipped.first(), best.first()) {
            writeln!(
                out,
                "{file:<54}  {}  {}  {windows:>7}",
                figures(shipped),
                figures(best)
            )?;
        }
    }
    Ok(())
}

fn figures(
    At {
        score,
        found,
        false_alarms,
        ..
    }: &At,
) -> String {
    format!("{score:>9.2}  {found:>5}  {false_alarms:>8}")
}
