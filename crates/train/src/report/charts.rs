use plotters::prelude::*;

const SIZE: (u32, u32) = (460, 280);

/// One or two curves over epochs.
pub(super) struct Chart {
    title: &'static str,
    names: [&'static str; 2],
    pub(super) first: Vec<(f64, f64)>,
    pub(super) second: Vec<(f64, f64)>,
}

impl Chart {
    pub(super) fn new(title: &'static str, first: &'static str, second: &'static str) -> Self {
        Self {
            title,
            names: [first, second],
            first: Vec::new(),
            second: Vec::new(),
        }
    }

    /// The chart as SVG; empty without points.
    pub(super) fn to_svg(&self) -> String {
        let values = self
            .first
            .iter()
            .chain(&self.second)
            .map(|point| point.1)
            .filter(|value| value.is_finite());
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| {
            (l.min(v), h.max(v))
        });
        let last = self.first.last().map_or(1.0, |point| point.0).max(2.0);
        if self.first.is_empty() || low > high {
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
        for (points, name, color) in [
            (&self.first, self.names[0], RGBColor(42, 90, 160)),
            (&self.second, self.names[1], RGBColor(200, 90, 30)),
        ] {
            if points.is_empty() {
                continue;
            }
            chart
                .draw_series(
                    LineSeries::new(points.iter().copied(), color.stroke_width(2)).point_size(2),
                )?
                .label(name)
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
