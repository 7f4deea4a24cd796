use plotters::prelude::*;

const SIZE: (u32, u32) = (460, 280);

/// Curves over epochs.
pub(super) struct Chart<'a> {
    title: &'a str,
    curves: Vec<Curve<'a>>,
}

/// A name, and values at epochs.
type Curve<'a> = (&'a str, Vec<(f64, f64)>);

const COLORS: [RGBColor; 6] = [
    RGBColor(42, 90, 160),
    RGBColor(200, 90, 30),
    RGBColor(42, 120, 80),
    RGBColor(150, 60, 140),
    RGBColor(120, 100, 40),
    RGBColor(90, 90, 90),
];

impl<'a> Chart<'a> {
    pub(super) fn new(title: &'a str, curves: Vec<Curve<'a>>) -> Self {
        Self { title, curves }
    }

    /// The chart as SVG; empty without points.
    pub(super) fn to_svg(&self) -> String {
        let points = || self.curves.iter().flat_map(|(_, points)| points);
        let values = points()
            .map(|point| point.1)
            .filter(|value| value.is_finite());
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| {
            (l.min(v), h.max(v))
        });
        let last = points().map(|point| point.0).fold(2.0, f64::max);
        if low > high {
            return String::new();
        }
        let margin = ((high - low) * 0.08).max(1e-3);
        let mut svg = String::new();
        // Drawing into a string cannot fail; should it, the page lacks a chart and nothing else.
        self.draw(&mut svg, last, (low - margin).max(0.0), high + margin)
            .map(|()| svg)
            .unwrap_or_default()
    }

    fn draw(
        &self,
        svg: &mut String,
        last: f64,
        low: f64,
        high: f64,
    ) -> Result<(), Box<dyn std::error::Error + '_>> {
        let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(self.title, ("sans-serif", 18))
            .margin(10)
            .x_label_area_size(30)
            .y_label_area_size(48)
            .build_cartesian_2d(1.0..last, low..high)?;
        chart
            .configure_mesh()
            .x_desc("epoch")
            .x_label_formatter(&|epoch| format!("{epoch:.0}"))
            .light_line_style(WHITE)
            .draw()?;
        for ((name, points), color) in self.curves.iter().zip(COLORS.iter().cycle()) {
            if points.is_empty() {
                continue;
            }
            chart
                .draw_series(
                    LineSeries::new(points.iter().copied(), color.stroke_width(2)).point_size(2),
                )?
                .label(*name)
                .legend(move |(x, y)| {
                    PathElement::new([(x, y), (x + 16, y)], color.stroke_width(2))
                });
        }
        chart
            .configure_series_labels()
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK.mix(0.2))
            .draw()?;
        area.present()?;
        Ok(())
    }
}
