//! Pictures of curves as SVG, with a logarithmic horizontal axis, and a vertical one that begins at zero.

use std::fmt::Write;

use crate::statistics::Spread;

/// Diagram with some curves.
pub(crate) struct Panel {
    pub(crate) title: String,
    /// Name of the horizontal axis.
    pub(crate) x: String,
    pub(crate) curves: Vec<Curve>,
}

pub(crate) struct Curve {
    pub(crate) name: String,
    pub(crate) points: Vec<Point>,
}

/// Point of a curve: its median is on the curve, a bar goes from the smallest to the largest.
pub(crate) struct Point {
    /// More than zero.
    pub(crate) x: f64,
    pub(crate) y: Spread,
}

/// Returns panels side by side, with a line of text below.
pub(crate) fn svg(panels: &[Panel], caption: &str) -> String {
    let (width, height) = (WIDTH * panels.len() as f64, HEIGHT + CAPTION);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"white\"/>\n"
    );
    for (at, panel) in panels.iter().enumerate() {
        _ = writeln!(svg, "<g transform=\"translate({} 0)\">", WIDTH * at as f64);
        panel.draw(&mut svg);
        svg.push_str("</g>\n");
    }
    text(&mut svg, (width / 2.0, height - 8.0), "middle", "#555", caption);
    svg.push_str("</svg>\n");
    svg
}

impl Panel {
    fn draw(&self, svg: &mut String) {
        let points = || self.curves.iter().flat_map(|curve| &curve.points);
        let mut sizes: Vec<f64> = points().map(|point| point.x).collect();
        sizes.sort_by(f64::total_cmp);
        sizes.dedup();
        let (first, last) = (sizes.first().copied().unwrap_or(1.0), sizes.last().copied());
        // One size alone is in the middle.
        let (from, to) = match last {
            Some(last) if last > first => (first, last),
            _ => (first / 2.0, first * 2.0),
        };
        let (step, top) = scale(points().map(|point| point.y.most).fold(0.0, f64::max));
        let x = |size: f64| LEFT + (size / from).ln() / (to / from).ln() * (WIDTH - LEFT - RIGHT);
        let y = |cost: f64| HEIGHT - BOTTOM - cost / top * (HEIGHT - BOTTOM - TOP);

        text(svg, (LEFT, 20.0), "start", "black", &self.title);
        let decimals = (-step.log10().floor()).max(0.0) as usize;
        for line in 0..=(top / step).round() as u32 {
            let cost = f64::from(line) * step;
            let (left, right, y) = (LEFT, WIDTH - RIGHT, y(cost));
            _ = writeln!(svg, "<path d=\"M{left} {y:.1}H{right}\" stroke=\"#ddd\"/>");
            text(svg, (left - 6.0, y + 4.0), "end", "#555", &format!("{cost:.decimals$}"));
        }
        // The largest is named in any case.
        let mut room = f64::INFINITY;
        for size in sizes.iter().rev() {
            let (at, label) = (x(*size), size.to_string());
            let half = DIGIT * label.len() as f64 / 2.0;
            if at + half <= room {
                text(svg, (at, HEIGHT - BOTTOM + 16.0), "middle", "#555", &label);
                room = at - half - DIGIT;
            }
        }
        text(svg, ((LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 8.0), "middle", "#555", &self.x);
        for (at, (curve, colour)) in self.curves.iter().zip(COLOURS.iter().cycle()).enumerate() {
            let bars = curve.points.iter().map(|Point { x: size, y: cost }| {
                let (x, low, high) = (x(*size), y(cost.least), y(cost.most));
                format!("M{x:.1} {low:.1}V{high:.1}")
            });
            let bars: String = bars.collect();
            _ = writeln!(
                svg,
                "<path d=\"{bars}\" stroke=\"{colour}\" stroke-width=\"4\" opacity=\".4\"/>"
            );
            let line = curve.points.iter().map(|Point { x: size, y: cost }| {
                format!("{:.1},{:.1} ", x(*size), y(cost.median))
            });
            let line: String = line.collect();
            let line = line.trim_end();
            _ = writeln!(
                svg,
                "<polyline points=\"{line}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>"
            );
            text(svg, (LEFT + 90.0 * at as f64, 38.0), "start", colour, &curve.name);
        }
    }
}

/// Returns the distance of grid lines up to this value, and the topmost line.
fn scale(most: f64) -> (f64, f64) {
    if !(most > 0.0 && most.is_finite()) {
        return (1.0, 1.0);
    }
    let power = 10.0_f64.powf((most / 5.0).log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|factor| factor * power);
    let step = step.into_iter().find(|step| step * 5.0 >= most).unwrap_or(most);
    (step, (most / step).ceil() * step)
}

fn text(svg: &mut String, (x, y): (f64, f64), anchor: &str, colour: &str, text: &str) {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"{colour}\">{text}</text>"
    );
}

/// Size of a panel, and of what is around its diagram.
const WIDTH: f64 = 330.0;
const HEIGHT: f64 = 280.0;
const LEFT: f64 = 44.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 52.0;
const BOTTOM: f64 = 44.0;
/// Width of a digit.
const DIGIT: f64 = 7.0;
/// Height of the caption.
const CAPTION: f64 = 24.0;
const COLOURS: [&str; 4] = ["#777777", "#1f6fb4", "#c2501f", "#3a8a3a"];

#[cfg(test)]
mod tests {
    use super::*;

    fn panel(points: &[(f64, f64)]) -> Panel {
        let points = points.iter().map(|(x, y)| Point { x: *x, y: Spread::of(&[*y]).unwrap() });
        let curve = Curve { name: "a<b".to_owned(), points: points.collect() };
        Panel { title: "cost".to_owned(), x: "size".to_owned(), curves: vec![curve] }
    }

    #[test]
    fn equal_factors_are_equally_far_apart() {
        let svg = svg(&[panel(&[(1.0, 10.0), (10.0, 10.0), (100.0, 0.0)])], "here");

        // From the left edge to the right one, from the top to the bottom.
        assert!(svg.contains("points=\"44.0,52.0 175.0,52.0 306.0,236.0\""), "{svg}");
    }

    #[test]
    fn what_has_one_point_or_none_is_drawn() {
        let svg = svg(&[panel(&[(7.0, 1.0)]), panel(&[])], "");

        assert!(svg.contains("points=\"175.0,52.0\"") && svg.contains("points=\"\""), "{svg}");
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }

    #[test]
    fn of_names_without_room_the_larger_one_stays() {
        let svg = svg(&[panel(&[(1.0, 1.0), (1_900.0, 1.0), (2_000.0, 1.0)])], "");

        assert!(svg.contains(">2000<") && svg.contains(">1<") && !svg.contains(">1900<"), "{svg}");
    }

    #[test]
    fn names_are_text() {
        assert!(svg(&[panel(&[(1.0, 1.0)])], "R&D").contains(">R&amp;D<"));
        assert!(svg(&[panel(&[(1.0, 1.0)])], "").contains(">a&lt;b<"));
    }

    #[test]
    fn the_topmost_line_is_above_all_points() {
        assert_eq!(scale(47.0), (10.0, 50.0));
        assert_eq!(scale(101.0), (50.0, 150.0));
        assert_eq!(scale(5.0), (1.0, 5.0));
        assert_eq!(scale(0.0), (1.0, 1.0));
    }
}
