//! The tree in the terminal, as long as the server runs.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Duration;

use callboard_signaling::admin::{Admin, draw_within};
use rustix::termios::tcgetwinsize;
use tokio::time::{MissedTickBehavior, interval};

/// Draw it again and again, below a line that says where the server is; ends when nobody can see it.
pub(crate) async fn watch(admin: Admin, address: SocketAddr) -> io::Result<()> {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // What was there before goes, once.
    io::stdout().lock().write_all(b"\x1b[2J")?;
    loop {
        ticks.tick().await;
        let tree = admin.tree().await;
        let mut output = io::stdout().lock();
        let (columns, lines) = size(&output);
        let text = draw_within(&tree, columns);
        // To the top, each line over the one before, and nothing below the last.
        write!(output, "\x1b[Hlistening on http://{address}/\x1b[K")?;
        let drawn = text.lines().count();
        let shown = if drawn < lines { drawn } else { lines.saturating_sub(2) };
        for line in text.lines().take(shown) {
            write!(output, "\r\n{line}\x1b[K")?;
        }
        if shown < drawn {
            write!(output, "\r\n… and {} more\x1b[K", drawn - shown)?;
        }
        write!(output, "\x1b[J")?;
        output.flush()?;
    }
}

/// Columns and lines of the terminal; of what is none, enough.
fn size(output: &impl AsFd) -> (usize, usize) {
    match tcgetwinsize(output) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 2 => (size.ws_col.into(), size.ws_row.into()),
        _ => (100, 1_000),
    }
}

const EVERY: Duration = Duration::from_millis(500);
