//! Live view of the tree in the terminal, as long as the server runs.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Duration;

use callboard_admin::{Admin, draw_within};
use rustix::termios::tcgetwinsize;
use tokio::time::{MissedTickBehavior, interval};

/// Draws the tree again and again, below a line with the server's address; ends when the output cannot be written.
pub(crate) async fn watch(admin: Admin, address: SocketAddr) -> io::Result<()> {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // Clears the screen, once.
    io::stdout().lock().write_all(b"\x1b[2J")?;
    loop {
        ticks.tick().await;
        let tree = admin.tree().await;
        let mut output = io::stdout().lock();
        let (columns, lines) = size(&output);
        let text = draw_within(&tree, columns);
        // To the top; each line overwrites the one before, and everything below the last is cleared.
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

/// Returns columns and lines of the terminal; for an output that is no terminal, a large size.
fn size(output: &impl AsFd) -> (usize, usize) {
    match tcgetwinsize(output) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 2 => (size.ws_col.into(), size.ws_row.into()),
        _ => (100, 1_000),
    }
}

const EVERY: Duration = Duration::from_millis(500);
