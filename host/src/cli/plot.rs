//! `anomalyzer plot`: draws a series from a file or from the history.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::detector_args::{DetectorArgs, blocking, refusal, unless_closed};
use anomalyzer_domain::{DecisionId, UnixMs};
use anomalyzer_evaluate::csv::{self, CsvOptions, ReadReport, parse_time};
use anomalyzer_evaluate::quality::{Judged, QualityError, judge, panel_of_samples};
use anomalyzer_history::FILE_NAME;
use anomalyzer_plot::{Panel, svg};

/// Draw a series with its expected ranges, findings and labels, or the series behind a decision
///
/// From a file (in the format of `score`), the picture shows the samples, the range that the
/// detector expected during an anomaly, the start and the end of each anomaly, and the times named
/// by the labels. From the history (--decision), the picture shows the samples around the onset of
/// each series of the decision's incident, and the range expected at that time. The picture is an
/// SVG.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "It exits 2 if the file cannot be read, or if more than 1 % of its rows (at least three) are unreadable."
)]
pub struct PlotArgs {
    /// A CSV file
    #[arg(
        value_name = "FILE.csv",
        required_unless_present = "decision",
        conflicts_with = "decision"
    )]
    pub file: Option<PathBuf>,
    /// The detector by name, or the file of a plugin; without it only samples and labels are drawn
    #[arg(long, value_name = "NAME|FILE.wasm", conflicts_with = "decision")]
    pub detector: Option<String>,
    /// Times of real anomalies: a JSON list of [from, to], or an object with such a list under each
    /// file's name, as in the benchmark
    #[arg(long, value_name = "FILE.json", conflicts_with = "decision")]
    pub labels: Option<PathBuf>,
    /// A decision of the history
    #[arg(long, value_name = "ID")]
    pub decision: Option<String>,
    /// The folder in which the service keeps its data
    #[arg(long, value_name = "DIR", default_value = "anomalyzer-data")]
    pub data_dir: PathBuf,
    /// File for the picture
    #[arg(long, short, value_name = "FILE.svg")]
    pub output: PathBuf,
    /// Width in pixels
    #[arg(long, default_value_t = 1200, value_parser = clap::value_parser!(u32).range(200..=20_000))]
    pub width: u32,
    /// Height of each series in pixels
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u32).range(100..=20_000))]
    pub height: u32,
    /// Meaning of ambiguous fields
    #[command(flatten)]
    pub csv: CsvOptions,
    /// Folder, settings and compiler of the detectors
    #[command(flatten)]
    pub detectors: DetectorArgs,
}

/// Draws the picture, and prints its path with the counts of rows that are not drawn.
///
/// # Errors
/// Returns an error if the file, labels, detector or decision can't be loaded, if there is nothing
/// to draw, if the picture can't be written, or if too many rows are unreadable.
pub async fn run<W: Write>(
    args: PlotArgs,
    out: &mut W,
    shutdown: CancellationToken,
) -> Result<(), QualityError> {
    let (output, width, height) = (args.output.clone(), args.width, args.height);
    if output
        .extension()
        .is_none_or(|extension| extension != "svg")
    {
        return Err(QualityError::unwritable(
            &output,
            "a picture is an SVG: give --output a name that ends in .svg",
        ));
    }
    let file = args.file.clone().unwrap_or_default();
    let (panels, input) = match args.decision.clone() {
        Some(id) => {
            let panels = of_decision(&args.data_dir, &id).await?;
            (panels, ReadReport::default())
        }
        None => {
            let (panel, input) = blocking(&shutdown, move || of_file(args)).await?;
            (vec![panel], input)
        }
    };
    let height = height.saturating_mul(u32::try_from(panels.len()).unwrap_or(u32::MAX));
    let drawn = svg(&panels, (width, height)).map_err(QualityError::Wrong)?;
    fs::write(&output, drawn).map_err(|error| QualityError::unwritable(&output, &error))?;
    unless_closed(tell(&output, &input, out).map_err(QualityError::from))?;
    refusal(&file, &input).map_or(Ok(()), |error| Err(error.into()))
}

fn tell<W: Write>(output: &Path, input: &ReadReport, out: &mut W) -> io::Result<()> {
    writeln!(out, "{}", output.display())?;
    for note in input.notes() {
        writeln!(out, "    {note}")?;
    }
    Ok(())
}

async fn of_decision(data_dir: &Path, id: &str) -> Result<Vec<Panel>, QualityError> {
    let history = anomalyzer_history::open_any_version(&data_dir.join(FILE_NAME)).await?;
    let decision = history.decision(&DecisionId::from(id)).await?.ok_or_else(|| {
        QualityError::Wrong(format!(
            "there is no decision `{id}`; `anomalyzer decisions list` shows those that there are"
        ))
    })?;
    let incident = match &decision.incident {
        Some(incident) => history.incident(incident).await?,
        None => None,
    };
    let panels = incident
        .map(|incident| Panel::of_decision(&decision, &incident))
        .unwrap_or_default();
    if panels.is_empty() {
        let why = "the history holds no samples of what it is about: nothing was measured, or a person or another program asked for it";
        return Err(QualityError::Wrong(format!(
            "decision `{id}` can't be drawn: {why}"
        )));
    }
    Ok(panels)
}

fn of_file(args: PlotArgs) -> Result<(Panel, ReadReport), QualityError> {
    let PlotArgs {
        file,
        detector,
        labels,
        csv: options,
        detectors,
        ..
    } = args;
    let path = file.ok_or_else(|| QualityError::Wrong("name a file or a decision".to_owned()))?;
    let (samples, input) = csv::load(&path, &options, |table| (table.samples, table.report))?;
    let labels = labels.map_or_else(|| Ok(Vec::new()), |labels| windows(&labels, &path))?;
    let name = path
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let Some(detector) = detector else {
        let panel = panel_of_samples(name, &samples, &Judged::calm(&samples), labels);
        return Ok((panel, input));
    };
    let detectors = detectors.load(&[detector])?;
    let [detector] = detectors.all() else {
        return Err(QualityError::Wrong(
            "more than one detector was loaded".to_owned(),
        ));
    };
    let mut monitor = detectors.open(detector)?;
    let judged = judge(&mut monitor, &name, &samples).map_err(|error| {
        QualityError::plugin(format!("{} on {}", detector.name, path.display()), error)
    })?;
    let title = format!("{name}, {} {}", detector.name, detector.version);
    Ok((panel_of_samples(title, &samples, &judged, labels), input))
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Labels {
    Windows(Vec<(String, String)>),
    ByFile(BTreeMap<String, Vec<(String, String)>>),
}

/// Reads the labelled windows of `file`. In an object of lists, the entry counts whose name is the
/// end of the file's path.
fn windows(labels: &Path, file: &Path) -> Result<Vec<(UnixMs, UnixMs)>, QualityError> {
    let text =
        fs::read_to_string(labels).map_err(|error| QualityError::unreadable(labels, &error))?;
    let wrong = |reason: &str| QualityError::unreadable(labels, &reason);
    let read: Labels = serde_json::from_str(&text).map_err(|_| {
        wrong("it is neither a JSON list of [from, to] nor an object with such lists under files' names")
    })?;
    let windows = match read {
        Labels::Windows(windows) => windows,
        Labels::ByFile(files) => {
            let file = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
            let found = files.into_iter().find(|(name, _)| file.ends_with(name));
            found
                .ok_or_else(|| wrong(&format!("there is nothing about {} in it", file.display())))?
                .1
        }
    };
    let times = windows
        .iter()
        .map(|(from, to)| parse_time(from).zip(parse_time(to)));
    times
        .collect::<Option<_>>()
        .ok_or_else(|| wrong("a window has no time from and to"))
}
