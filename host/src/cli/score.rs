//! `anomalyzer score`: runs a detector over files of samples.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use tokio_util::sync::CancellationToken;

use super::detector_args::{DetectorArgs, blocking, count, progress, refusal, unless_closed};
use anomalyzer_domain::Phase;
use anomalyzer_evaluate::csv::{self, CsvOptions, ReadReport};
use anomalyzer_evaluate::quality::{Detectors, QualityError, judge, over, write};

/// Run a detector over CSV files, and write its result for each sample
///
/// An input row has a time and a value, in the columns called `timestamp` and `value` (also time,
/// datetime, date, ts; val, v), or else in the first columns that hold times and numbers. The
/// delimiter is a comma, a semicolon, a tab or `|`. Times, numbers and encodings are read as most
/// programs write them; a time without a zone is UTC. If they have two meanings, the command asks
/// for `--time-format` or `--decimal`. The detector sees the rows in the order of their time, the
/// first row of each time.
///
/// For each input, DIR gets a file of the same name with one row for each row of the input, in the
/// order of the input. `timestamp` and `value` are as written in the input. `score` is the score of
/// the sample; 1 is the detector's threshold. `severity` is the severity of the newest finding,
/// from the onset on, and 0 between anomalies and in the row where one is over. `expected_low` and
/// `expected_high` are the newest range given by the anomaly's findings, from the onset to the row
/// where the anomaly is over; an open end is empty. `phase` is onset, then ongoing, then clear, and
/// empty between anomalies. A row that is not shown to the detector has nothing but its time and
/// value: a row with an unreadable time or value, without a finite value, or with the time of
/// another row.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "It exits 2 if a file cannot be read, or if more than 1 % of its rows (at least three) are unreadable."
)]
pub struct ScoreArgs {
    /// CSV files, no two of the same name
    #[arg(value_name = "FILE.csv", required = true)]
    pub files: Vec<PathBuf>,
    /// The detector by name, or the file of a plugin
    #[arg(long, value_name = "NAME|FILE.wasm")]
    pub detector: String,
    /// The folder for the results, made if it does not exist
    #[arg(long, value_name = "DIR")]
    pub output: PathBuf,
    /// Meaning of ambiguous fields
    #[command(flatten)]
    pub csv: CsvOptions,
    /// Folder, settings and compiler of the detectors
    #[command(flatten)]
    pub detectors: DetectorArgs,
}

/// Result of one scored file.
struct Done {
    from: PathBuf,
    path: PathBuf,
    input: ReadReport,
    /// Number of rows that the detector was not shown.
    left_out: usize,
    onsets: usize,
}

/// Scores all files, and writes one line for each. A failed file does not stop the others.
///
/// # Errors
/// Returns an error if the arguments do not fit together, if the run was interrupted, if the output
/// can't be written, if a file failed, or if too many of its rows are unreadable. The error names
/// every failed file.
pub async fn run<W: Write>(
    args: ScoreArgs,
    out: &mut W,
    shutdown: CancellationToken,
) -> Result<(), QualityError> {
    let (start, stop) = (Instant::now(), shutdown.clone());
    let results = blocking(&shutdown, move || score(args, &stop)).await?;
    let mut done: Vec<Done> = Vec::new();
    let mut failed: Vec<QualityError> = Vec::new();
    for result in results {
        match result {
            Ok(one) => {
                failed.extend(refusal(&one.from, &one.input).map(QualityError::from));
                done.push(one);
            }
            Err(error) => failed.push(error),
        }
    }
    unless_closed(tell(&done, start, out))?;
    QualityError::all(failed)
}

fn tell<W: Write>(done: &[Done], start: Instant, out: &mut W) -> Result<(), QualityError> {
    for Done {
        path,
        input,
        left_out,
        onsets,
        ..
    } in done
    {
        let left_out = match left_out {
            0 => String::new(),
            some => format!(" ({} not shown to the detector)", count(*some)),
        };
        writeln!(
            out,
            "{}: {} rows{left_out}, anomalies: {}",
            path.display(),
            count(input.rows),
            count(*onsets)
        )?;
        for note in input.notes() {
            writeln!(out, "    {note}")?;
        }
    }
    let rows = count(done.iter().map(|done| done.input.rows).sum());
    writeln!(
        out,
        "{rows} rows of {} files in {:.2} s",
        done.len(),
        start.elapsed().as_secs_f64()
    )?;
    Ok(out.flush()?)
}

fn score(
    args: ScoreArgs,
    stop: &CancellationToken,
) -> Result<Vec<Result<Done, QualityError>>, QualityError> {
    let ScoreArgs {
        files,
        detector,
        output,
        csv,
        detectors,
    } = args;
    let pairs = pairs(&files, &output)?;
    let detectors = detectors.load(&[detector])?;
    let done = over(
        &pairs,
        stop,
        progress("score", pairs.len()),
        |(from, to)| one(&detectors, &csv, from, to),
    );
    done.ok_or(QualityError::Interrupted)
}

/// Pairs each input with its output file. Makes the folder of the outputs.
fn pairs(files: &[PathBuf], folder: &Path) -> Result<Vec<(PathBuf, PathBuf)>, QualityError> {
    let mut names: BTreeMap<&OsStr, &Path> = BTreeMap::new();
    for file in files {
        let name = file
            .file_name()
            .ok_or_else(|| QualityError::unreadable(file, "it names no file"))?;
        if let Some(other) = names.insert(name, file) {
            let (other, file) = (other.display(), file.display());
            return Err(QualityError::Wrong(format!(
                "{other} and {file} have the same name, and would be written to the same file: score them into two folders"
            )));
        }
    }
    fs::create_dir_all(folder).map_err(|error| QualityError::unwritable(folder, &error))?;
    let pairs = files
        .iter()
        .filter_map(|file| Some((file.clone(), folder.join(file.file_name()?))));
    let pairs: Vec<_> = pairs.collect();
    for (from, to) in &pairs {
        let same = fs::canonicalize(to)
            .is_ok_and(|to| fs::canonicalize(from).is_ok_and(|from| from == to));
        if same {
            return Err(QualityError::unwritable(
                to,
                "it is an input as well: give another folder with --output",
            ));
        }
    }
    Ok(pairs)
}

fn one(
    detectors: &Detectors,
    options: &CsvOptions,
    from: &Path,
    to: &Path,
) -> Result<Done, QualityError> {
    let name = from.file_stem().unwrap_or_default().to_string_lossy();
    let [detector] = detectors.all() else {
        return Err(QualityError::Wrong(
            "more than one detector was loaded".to_owned(),
        ));
    };
    csv::load(from, options, |table| {
        let mut monitor = detectors.open(detector)?;
        let judged = judge(&mut monitor, &name, &table.samples).map_err(|error| {
            QualityError::plugin(format!("{} on {}", detector.name, from.display()), error)
        })?;
        let written =
            File::create(to).and_then(|file| write(&mut BufWriter::new(file), &table, &judged));
        written.map_err(|error| QualityError::unwritable(to, &error))?;
        let onsets = judged.findings.iter();
        Ok(Done {
            from: from.to_owned(),
            path: to.to_owned(),
            left_out: table.rows.len() - table.samples.len(),
            input: table.report,
            onsets: onsets
                .filter(|(_, finding)| finding.phase == Phase::Onset)
                .count(),
        })
    })?
}
