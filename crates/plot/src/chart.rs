//! Draws the panels.

use plotters::coord::ranged1d::{KeyPointHint, Ranged};
use plotters::prelude::*;

use super::axis::{Ticks, figure, heights};
use super::downsample::thin;
use super::{Expected, Mark, Panel};

const LINE: RGBColor = RGBColor(31, 78, 121);
const EXPECTED: RGBColor = RGBColor(46, 139, 87);
const OVER: RGBColor = RGBColor(20, 110, 60);
const ONSET: RGBColor = RGBColor(200, 30, 30);
const LABEL: RGBColor = RGBColor(240, 160, 30);
const EVENT: RGBColor = RGBColor(110, 60, 150);

/// Space to the right of a panel for the legend, in pixels.
const LEGEND: u32 = 110;

/// Number of ticks below a panel.
const TICKS: i64 = 8;

/// Draws panels one below the other. `width` and `height` are those of the whole picture in pixels.
///
/// # Errors
/// Returns an error if a panel cannot be drawn.
pub fn svg(panels: &[Panel], (width, height): (u32, u32)) -> Result<String, String> {
    let mut svg = String::new();
    let root = SVGBackend::with_string(&mut svg, (width, height)).into_drawing_area();
    let failed = |error: &dyn std::error::Error| format!("it can't be drawn: {error}");
    root.fill(&WHITE).map_err(|error| failed(&error))?;
    for (area, panel) in root.split_evenly((panels.len(), 1)).iter().zip(panels) {
        let points = thin(&panel.points, width as usize);
        let frame = Frame::around(panel, &points)?;
        draw(area, panel, &points, &frame).map_err(|error| failed(&error))?;
    }
    root.present().map_err(|error| failed(&error))?;
    drop(root);
    Ok(svg)
}

/// Visible range of a panel in time and value.
struct Frame {
    from: f64,
    to: f64,
    low: f64,
    high: f64,
    ticks: Ticks,
}

impl Frame {
    fn around(panel: &Panel, points: &[(i64, f64)]) -> Result<Self, String> {
        let (Some((from, _)), Some((to, _))) = (points.first(), points.last()) else {
            return Err(format!("{}: there is no sample to draw", panel.title));
        };
        let heights = heights(points.iter().map(|(_, value)| *value));
        let (mut low, mut high) = heights
            .ok_or_else(|| format!("{}: its values are too far apart to be drawn", panel.title))?;
        // The expected ranges extend the frame only as far as the samples stay readable.
        let (least, most) = (low - (high - low), high + (high - low));
        for Expected { range, .. } in &panel.expected {
            low = range
                .low
                .filter(|end| *end > least)
                .map_or(low, |end| low.min(end));
            high = range
                .high
                .filter(|end| *end < most)
                .map_or(high, |end| high.max(end));
        }
        let ticks = Ticks::new(*from, *to, TICKS);
        let (from, to) = if from == to {
            (from - 1000, to + 1000)
        } else {
            (*from, *to)
        };
        Ok(Self {
            from: from as f64,
            to: to as f64,
            low,
            high,
            ticks,
        })
    }

    /// Returns the times of a column over the full height, clipped to the frame. Returns `None`
    /// outside of the frame. The column is at least two pixels wide of about a thousand.
    fn column(&self, from: i64, to: i64) -> Option<(f64, f64)> {
        let (from, to) = (from as f64, to as f64);
        let to = to.max(from + (self.to - self.from) * 0.002);
        (from <= self.to && to >= self.from).then(|| (from.max(self.from), to.min(self.to)))
    }
}

/// Time axis in milliseconds, with ticks at round times.
struct Time<'a>(&'a Frame);

impl Ranged for Time<'_> {
    type FormatOption = plotters::coord::ranged1d::NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (first, last): (i32, i32)) -> i32 {
        let share = (value - self.0.from) / (self.0.to - self.0.from);
        first + (share * f64::from(last - first)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.0.ticks.at.clone()
    }

    fn range(&self) -> std::ops::Range<f64> {
        self.0.from..self.0.to
    }
}

impl plotters::coord::ranged1d::ValueFormatter<f64> for Time<'_> {
    fn format(value: &f64) -> String {
        value.to_string()
    }
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type DrawError<'a> = DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>;

fn draw<'a>(
    area: &Area<'a>,
    panel: &Panel,
    points: &[(i64, f64)],
    frame: &Frame,
) -> Result<(), DrawError<'a>> {
    let Frame {
        low, high, ticks, ..
    } = frame;
    let mut chart = ChartBuilder::on(area)
        .caption(&panel.title, ("sans-serif", 18))
        .margin(10)
        .margin_right(LEGEND)
        .x_label_area_size(28)
        .y_label_area_size(70)
        .build_cartesian_2d(Time(frame), *low..*high)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.1))
        .label_style(("sans-serif", 14))
        .x_label_formatter(&|at| ticks.write(*at))
        .y_label_formatter(&|value| figure(*value))
        .draw()?;
    let columns = panel
        .labels
        .iter()
        .filter_map(|(from, to)| frame.column(*from, *to));
    let labels = columns
        .map(|(from, to)| Rectangle::new([(from, *low), (to, *high)], LABEL.mix(0.25).filled()));
    chart.draw_series(labels)?;
    let ranges = panel
        .expected
        .iter()
        .filter_map(|Expected { from, to, range }| {
            let (from, to) = frame.column(*from, *to)?;
            let bottom = range.low.unwrap_or(*low).clamp(*low, *high);
            let top = range.high.unwrap_or(*high).clamp(*low, *high);
            Some(Rectangle::new(
                [(from, bottom), (to, top)],
                EXPECTED.mix(0.25).filled(),
            ))
        });
    chart.draw_series(ranges)?;
    chart.draw_series(LineSeries::new(
        points.iter().map(|(at, value)| (*at as f64, *value)),
        LINE,
    ))?;
    for (over, style) in [(false, ONSET.filled()), (true, OVER.stroke_width(2))] {
        let marks = panel.marks.iter().filter(|mark| mark.over == over);
        chart.draw_series(
            marks.map(|Mark { at, value, .. }| Circle::new((*at as f64, *value), 4, style)),
        )?;
    }
    for (at, what) in &panel.events {
        let at = *at as f64;
        chart.draw_series([PathElement::new(
            [(at, *low), (at, *high)],
            EVENT.stroke_width(2),
        )])?;
        chart.draw_series([Text::new(
            what.clone(),
            (at, *high),
            ("sans-serif", 14).into_font().color(&EVENT),
        )])?;
    }
    legend(area, panel)
}

/// Draws a legend of the colours that occur in the panel.
fn legend<'a>(area: &Area<'a>, panel: &Panel) -> Result<(), DrawError<'a>> {
    let marked = |over| panel.marks.iter().any(|mark| mark.over == over);
    let all = [
        ("labelled", LABEL.mix(0.5), !panel.labels.is_empty()),
        ("expected", EXPECTED.mix(0.5), !panel.expected.is_empty()),
        ("onset", ONSET.to_rgba(), marked(false)),
        ("over", OVER.to_rgba(), marked(true)),
    ];
    let left = i32::try_from(area.dim_in_pixel().0.saturating_sub(LEGEND)).unwrap_or(0) + 14;
    let mut y = 50;
    for (name, color, _) in all.into_iter().filter(|(.., is_there)| *is_there) {
        area.draw(&Rectangle::new(
            [(left, y - 5), (left + 14, y + 5)],
            color.filled(),
        ))?;
        area.draw(&Text::new(name, (left + 20, y - 5), ("sans-serif", 14)))?;
        y += 18;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use anomalyzer_domain::Range;

    fn panel(points: Vec<(i64, f64)>) -> Panel {
        Panel {
            title: "cpu{pod=\"<web>\"}".to_owned(),
            points,
            ..Panel::default()
        }
    }

    fn count(svg: &str, what: &str) -> usize {
        svg.matches(what).count()
    }

    #[test]
    fn everything_about_a_series_is_drawn() {
        let points: Vec<(i64, f64)> = (0..50_000).map(|n| (n * 1000, (n % 100) as f64)).collect();
        let plain = svg(&[panel(points.clone())], (1200, 400)).unwrap();
        let range = Range {
            low: Some(10.0),
            high: None,
        };
        let whole = Panel {
            expected: vec![Expected {
                from: 5_000_000,
                to: 6_000_000,
                range,
            }],
            marks: [(5_000_000, false), (6_000_000, true), (7_000_000, false)]
                .map(|(at, over)| Mark {
                    at,
                    value: 50.0,
                    over,
                })
                .into(),
            labels: vec![(0, 100_000), (-5000, -4000), (40_000_000, 90_000_000)],
            events: vec![(8_000_000, "scale".to_owned())],
            ..panel(points)
        };
        let svg = svg(&[whole], (1200, 400)).unwrap();
        let more = |what| count(&svg, what) - count(&plain, what);
        let words = [
            ">\nonset",
            ">\nover",
            ">\nlabelled",
            ">\nexpected",
            ">\nscale",
        ]
        .map(more);
        assert_eq!((more("<circle"), words), (3, [1; 5]));
        assert!(svg.contains("cpu{pod=&quot;&lt;web&gt;&quot;}") && !svg.contains("<web>"));
        assert!(
            svg.len() < 100_000,
            "50,000 points are thinned: {}",
            svg.len()
        );
        for colour in ["#F0A01E", "#2E8B57"] {
            assert!(count(&svg, colour) > count(&plain, colour), "{colour}");
        }
    }

    #[test]
    fn odd_series_are_drawn_or_refused_in_words() {
        for points in [
            vec![(0, 5.0)],
            vec![(0, 5.0); 2],
            vec![(0, 1e300), (1, -1e300)],
            vec![(i64::MIN / 2, 0.0), (1, 5e-324)],
        ] {
            assert!(
                svg(&[panel(points.clone())], (800, 300)).is_ok(),
                "{points:?}"
            );
        }
        assert!(
            svg(&[panel(vec![])], (800, 300))
                .unwrap_err()
                .contains("no sample")
        );
        assert!(
            svg(&[panel(vec![(0, f64::MAX), (1, f64::MIN)])], (800, 300))
                .unwrap_err()
                .contains("too far apart")
        );
    }
}
