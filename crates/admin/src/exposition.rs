//! Text formats of metrics: OpenMetrics, and the Prometheus text format 0.0.4.

use actix_web::HttpRequest;
use actix_web::http::header::{Accept, Header, Quality};

/// A format of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// The format that Prometheus asks for since 2.5.
    OpenMetrics,
    /// The format that all other readers understand, also `promtool check metrics`.
    Text,
}

impl Format {
    /// Returns the format that a client prefers by its `Accept` (RFC 9110 §12.5.1); text if there is none.
    pub(crate) fn wanted(request: &HttpRequest) -> Self {
        let Ok(Accept(ranges)) = Accept::parse(request) else { return Self::Text };
        let quality = |names: &[&str]| {
            let named = ranges.iter().filter(|range| names.contains(&range.item.essence_str()));
            named.map(|range| range.quality).filter(|quality| *quality > Quality::ZERO).max()
        };
        // Only an explicitly named format counts, not one that a wildcard accepts.
        match quality(&["application/openmetrics-text"]) {
            None => Self::Text,
            open if open >= quality(&["text/plain"]) && open > quality(&["text/*", "*/*"]) => {
                Self::OpenMetrics
            }
            _ => Self::Text,
        }
    }

    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// Converts metrics from OpenMetrics to this format.
    pub(crate) fn of(self, open_metrics: String) -> String {
        match self {
            Self::OpenMetrics => open_metrics,
            Self::Text => to_text(&open_metrics),
        }
    }
}

/// Converts OpenMetrics to text. Samples are the same in both. A counter's family is named like its samples, `…_total`;
/// units and the end have no line.
fn to_text(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    let mut help = None;
    for line in open_metrics.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("EOF" | "UNIT"), ..) => {}
            (Some("#"), Some("HELP"), Some(_), said) => help = said,
            (Some("#"), Some("TYPE"), Some(name), Some(kind)) => {
                let total = if kind == "counter" { "_total" } else { "" };
                let kind = if kind == "unknown" { "untyped" } else { kind };
                if let Some(help) = help.take() {
                    text += &format!("# HELP {name}{total} {help}\n");
                }
                text += &format!("# TYPE {name}{total} {kind}\n");
            }
            _ => {
                text += line;
                text.push('\n');
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn the_format_is_the_one_that_is_asked_for() {
        use Format::*;
        for (accept, format) in [
            ("", Text),
            ("*/*", Text),
            ("text/plain", Text),
            ("text/plain;version=0.0.4", Text),
            ("text/html,application/xhtml+xml,*/*;q=0.8", Text),
            ("application/openmetrics-text", OpenMetrics),
            ("application/openmetrics-text; version=1.0.0; charset=utf-8", OpenMetrics),
            // Prometheus 2 and 3.
            (
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                OpenMetrics,
            ),
            (
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                OpenMetrics,
            ),
            ("application/openmetrics-text;q=0.3,text/plain;q=0.6", Text),
            ("application/openmetrics-text;q=0", Text),
            ("nonsense", Text),
        ] {
            let mut request = TestRequest::get();
            if !accept.is_empty() {
                request = request.append_header(("accept", accept));
            }
            assert_eq!(Format::wanted(&request.to_http_request()), format, "{accept}");
        }
    }

    #[test]
    fn counters_are_called_like_their_samples_in_text() {
        let open = "# HELP a_b Bs, in all.\n# TYPE a_b counter\n# UNIT a_b bytes\na_b_total{c=\"# TYPE\"} 1\n\
                    # HELP d Ds.\n# TYPE d gauge\nd 2\n# EOF\n";

        let text = Format::Text.of(open.to_owned());

        assert_eq!(
            text,
            "# HELP a_b_total Bs, in all.\n# TYPE a_b_total counter\na_b_total{c=\"# TYPE\"} 1\n\
             # HELP d Ds.\n# TYPE d gauge\nd 2\n"
        );
    }
}
