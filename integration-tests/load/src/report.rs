//! Results of a run, as a table or as JSON.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Serialize;

use crate::scenarios::Scenario;
use crate::statistics::Spread;
use crate::subject::Subject;

/// Figures of one run by name, in the order in which they are shown.
#[derive(Clone, Debug, Default)]
pub(crate) struct Measured(Vec<(Cow<'static, str>, f64)>);

impl Measured {
    pub(crate) fn with(mut self, name: impl Into<Cow<'static, str>>, value: f64) -> Self {
        self.0.push((name.into(), value));
        self
    }

    /// Adds all figures of one part of the run, with its name in front.
    pub(crate) fn with_part(mut self, part: &str, others: Self) -> Self {
        let named = others.0.into_iter().map(|(name, value)| (format!("{part}: {name}"), value));
        self.0.extend(named.map(|(name, value)| (name.into(), value)));
        self
    }
}

/// All runs of one scenario.
pub(crate) struct Report {
    scenario: String,
    servers: Vec<String>,
    /// Runs by server.
    runs: BTreeMap<String, Vec<Measured>>,
}

#[derive(Serialize)]
struct Line<'a> {
    scenario: &'a str,
    server: &'a str,
    figure: &'a str,
    median: f64,
    runs: Vec<f64>,
    /// Ratio to the median of the first server that has this figure.
    ratio: Option<f64>,
}

impl Report {
    pub(crate) fn new(scenario: &Scenario, servers: &[Subject]) -> Self {
        let servers = servers.iter().map(ToString::to_string).collect();
        Self { scenario: scenario.to_string(), servers, runs: BTreeMap::new() }
    }

    pub(crate) fn add(&mut self, server: &Subject, measured: Measured) {
        self.runs.entry(server.to_string()).or_default().push(measured);
    }

    /// Returns the names of a server's figures.
    pub(crate) fn figures(&self, server: &Subject) -> Vec<&str> {
        let first = self.runs.get(&server.to_string()).and_then(|runs| runs.first()).into_iter();
        first.flat_map(|run| &run.0).map(|(name, _)| name.as_ref()).collect()
    }

    /// Returns the value of a figure in each round.
    pub(crate) fn rounds(&self, server: &Subject, figure: &str) -> Vec<f64> {
        self.rounds_of(&server.to_string(), figure)
    }

    /// Returns the names of all servers.
    pub(crate) fn servers(&self) -> &[String] {
        &self.servers
    }

    /// Returns the value of a figure of the server with this name in each round.
    pub(crate) fn rounds_of(&self, server: &str, figure: &str) -> Vec<f64> {
        let runs = self.runs.get(server).into_iter().flatten();
        let figures = runs.flat_map(|run| &run.0).filter(|(name, _)| name == figure);
        figures.map(|(_, value)| *value).collect()
    }

    fn lines(&self) -> Vec<Line<'_>> {
        // Not every server has every figure.
        let mut names: Vec<&str> = Vec::new();
        for run in self.servers.iter().filter_map(|server| self.runs.get(server)?.first()) {
            for (name, _) in &run.0 {
                if !names.contains(&name.as_ref()) {
                    names.push(name);
                }
            }
        }
        let mut lines = Vec::new();
        for figure in names {
            let mut base = None;
            for server in &self.servers {
                let runs = self.rounds_of(server, figure);
                let Some(Spread { median, .. }) = Spread::of(&runs) else { continue };
                let base = *base.get_or_insert(median);
                let ratio = (base > 0.0).then(|| median / base);
                let scenario = self.scenario.as_str();
                lines.push(Line { scenario, server, figure, median, runs, ratio });
            }
        }
        lines
    }

    pub(crate) fn print_table(&self) {
        println!("{}", self.scenario);
        println!("{:<38} {:<18} {:>12} {:>8}  runs", "", "server", "median", "ratio");
        for line in self.lines() {
            let ratio = line.ratio.map_or(String::new(), |ratio| format!("{ratio:.2}"));
            let runs: Vec<String> = line.runs.iter().map(|run| format!("{run:.2}")).collect();
            println!(
                "{:<38} {:<10} {:>12.2} {:>8}  {}",
                line.figure,
                line.server,
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
