//! The tree in the terminal, as long as the server runs.

use std::io::{self, Write};
use std::time::Duration;

use callboard_signaling::admin::{Admin, draw_within};
use tokio::time::{MissedTickBehavior, interval};

/// Draw it again and again; ends when nobody can see it.
pub(crate) async fn watch(admin: Admin) -> io::Result<()> {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let number = |name, default| {
        std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
    };
    let (columns, lines) = (number("COLUMNS", 100), number("LINES", 50));
    loop {
        ticks.tick().await;
        let tree = admin.tree().await;
        let text = draw_within(&tree, columns);
        let mut output = io::stdout().lock();
        // To the top, each line over the one before, and nothing below the last.
        write!(output, "\x1b[H")?;
        let drawn = text.lines().count();
        for line in text.lines().take(lines) {
            writeln!(output, "{line}\x1b[K")?;
        }
        if drawn > lines {
            writeln!(output, "… and {} more\x1b[K", drawn - lines)?;
        }
        write!(output, "\x1b[J")?;
        output.flush()?;
    }
}

const EVERY: Duration = Duration::from_millis(500);
