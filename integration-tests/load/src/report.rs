//! What was measured, as a table or as JSON.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::scenarios::Scenario;
use crate::servers::Server;

/// The figures of one run, by their names, in the order in which they are shown.
#[derive(Clone, Debug, Default)]
pub(crate) struct Measured(pub(crate) Vec<(&'static str, f64)>);

impl Measured {
    pub(crate) fn with(mut self, name: &'static str, value: f64) -> Self {
        self.0.push((name, value));
        self
    }
}

/// All runs of one scenario.
pub(crate) struct Report {
    scenario: String,
    servers: Vec<Server>,
    runs: BTreeMap<Server, Vec<Measured>>,
}

#[derive(Serialize)]
struct Line<'a> {
    scenario: &'a str,
    server: Server,
    figure: &'static str,
    median: f64,
    runs: Vec<f64>,
    /// To the first server's median.
    ratio: Option<f64>,
}

impl Report {
    pub(crate) fn new(scenario: &Scenario, servers: &[Server]) -> Self {
        Self { scenario: scenario.to_string(), servers: servers.to_vec(), runs: BTreeMap::new() }
    }

    pub(crate) fn add(&mut self, server: Server, measured: Measured) {
        self.runs.entry(server).or_default().push(measured);
    }

    fn lines(&self) -> Vec<Line<'_>> {
        let Some(first) = self.servers.first().and_then(|server| self.runs.get(server)?.first())
        else {
            return Vec::new();
        };
        let names = first.0.iter().map(|(name, _)| *name);
        let of = |server: &Server, name: &str| -> Vec<f64> {
            let runs = self.runs.get(server).into_iter().flatten();
            runs.flat_map(|run| &run.0)
                .filter(|(other, _)| *other == name)
                .map(|(_, value)| *value)
                .collect()
        };
        names
            .flat_map(|figure| {
                let base = self.servers.first().map(|server| median(&of(server, figure)));
                self.servers.iter().map(move |server| {
                    let runs = of(server, figure);
                    let median = median(&runs);
                    let ratio = base.filter(|base| *base > 0.0).map(|base| median / base);
                    Line { scenario: &self.scenario, server: *server, figure, median, runs, ratio }
                })
            })
            .collect()
    }

    pub(crate) fn print_table(&self) {
        println!("{}", self.scenario);
        println!("{:<34} {:<10} {:>12} {:>8}  runs", "", "server", "median", "ratio");
        for line in self.lines() {
            let ratio = line.ratio.map_or(String::new(), |ratio| format!("{ratio:.2}"));
            let runs: Vec<String> = line.runs.iter().map(|run| format!("{run:.2}")).collect();
            println!(
                "{:<34} {:<10} {:>12.2} {:>8}  {}",
                line.figure,
                line.server.to_string(),
                line.median,
                ratio,
                runs.join(" ")
            );
        }
    }

    pub(crate) fn print_json(&self) {
        for line in self.lines() {
            println!("{}", serde_json::to_string(&line).expect("numbers and names"));
        }
    }
}

fn median(runs: &[f64]) -> f64 {
    let mut sorted = runs.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => sorted[count / 2],
        count => (sorted[count / 2 - 1] + sorted[count / 2]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_counts() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0]), 2.5);
        assert!(median(&[]).is_nan());
    }
}
