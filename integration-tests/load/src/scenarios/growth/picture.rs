//! Picture of the cost by size: one panel for each axis, a curve for each server.

use super::{Axis, COST, part};
use crate::plot::{Curve, Panel, Point, svg};
use crate::report::Report;
use crate::statistics::Spread;

/// Returns an SVG with the costs of these runs.
pub(crate) fn picture(runs: &[(Axis, Vec<usize>, Report)], caption: &str) -> String {
    let panels = runs.iter().map(|(axis, sizes, report)| {
        let curves = report.servers().iter().map(|server| Curve {
            name: server.clone(),
            points: sizes.iter().filter_map(|size| point(report, server, *axis, *size)).collect(),
        });
        let (what, x) = match axis {
            Axis::Peers => ("a message to a room of five", "peers"),
            Axis::Rooms => ("a message to a room of two", "rooms"),
            Axis::Connections => ("an echo on a data channel", "peer connections"),
            Axis::Viewers => ("a picture to each viewer of a call", "viewers"),
            Axis::Calls => ("a picture to each of two viewers", "calls"),
        };
        Panel { title: format!("CPU µs of {what}"), x: x.to_owned(), curves: curves.collect() }
    });
    svg(&panels.collect::<Vec<_>>(), caption)
}

fn point(report: &Report, server: &str, axis: Axis, size: usize) -> Option<Point> {
    let rounds = report.rounds_of(server, &format!("{}: {COST}", part(axis, size)));
    Some(Point { x: size as f64, y: Spread::of(&rounds)? })
}
