//! Drawing of the tree for a terminal.

use std::fmt::Write;

use crate::recovery::short_type;
use crate::tree::Tree;

/// Draws the tree as text for a terminal, a line for each actor, of at most 100 characters.
///
/// ```text
/// server  Supervisor · running · 2m 05s
/// └─ rooms  Supervisor · running · 2m 05s
///    └─ demo  Supervisor · running · 1m 12s
///       ├─ room  RoomActor · running · 3s · 1 restart · panic: oh
///       └─ 8c1c8d3e-…  PeerActor · running · 58s
/// ```
pub fn draw(tree: &Tree) -> String {
    draw_within(tree, COLUMNS)
}

/// Draws the tree in lines of at most this many characters.
pub fn draw_within(tree: &Tree, columns: usize) -> String {
    let mut text = String::new();
    draw_node(tree, "", "", columns, &mut text);
    text
}

fn draw_node(tree: &Tree, branch: &str, below: &str, columns: usize, text: &mut String) {
    let mut line =
        format!("{branch}{}  {} · {}", tree.id, short_type(&tree.type_name), tree.status);
    let mut say = |what: String| {
        // Writing to a string does not fail.
        _ = write!(line, " · {what}");
    };
    if let Some(uptime) = tree.uptime_ms {
        say(duration(uptime));
    }
    match tree.restarts {
        0 => {}
        1 => say("1 restart".to_owned()),
        restarts => say(format!("{restarts} restarts")),
    }
    if tree.depth > 0 {
        say(format!("{} waiting", tree.depth));
    }
    if let Some(state) = tree.details.get("state").and_then(|state| state.as_str()) {
        say(state.to_owned());
    }
    if let Some(time) = tree.details.get("rtt_ms").and_then(|time| time.as_f64()) {
        say(format!("{time:.1} ms"));
    }
    if let Some(exit) = &tree.last_exit {
        let colon = if exit.text.is_empty() { "" } else { ": " };
        say(format!("{}{colon}{}", exit.kind, exit.text));
    }
    push_within(&line, columns, text);
    for (at, child) in tree.children.iter().enumerate() {
        let (twig, bark) =
            if at + 1 == tree.children.len() { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        draw_node(child, &format!("{below}{twig}"), &format!("{below}{bark}"), columns, text);
    }
}

/// Appends one line, truncated, with spaces for control characters: a name or a panic may hold any text.
fn push_within(line: &str, columns: usize, text: &mut String) {
    let printed = |it: char| if it.is_control() { ' ' } else { it };
    if line.chars().count() <= columns {
        text.extend(line.chars().map(printed));
    } else {
        text.extend(line.chars().map(printed).take(columns.saturating_sub(1)));
        text.push('…');
    }
    text.push('\n');
}

fn duration(milliseconds: u64) -> String {
    let seconds = milliseconds / 1_000;
    match (seconds / 3_600, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0) => format!("{milliseconds} ms"),
        (0, 0, seconds) => format!("{seconds}s"),
        (0, minutes, seconds) => format!("{minutes}m {seconds:02}s"),
        (hours, minutes, _) => format!("{hours}h {minutes:02}m"),
    }
}

const COLUMNS: usize = 100;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tree() -> Tree {
        let node = |id: &str, type_name: &str, status: &str, uptime: Option<u64>| {
            json!({
                "path": id, "id": id, "kind": "worker", "type": type_name, "status": status,
                "restarts": 0, "uptime_ms": uptime, "last_exit": null, "thread": null, "depth": 0,
                "details": {}, "children": [],
            })
        };
        let mut root = node("server", "a::Supervisor", "running", Some(125_000));
        let mut rooms = node("rooms", "a::Supervisor", "running", Some(3_725_000));
        let mut room = node("room", "a::Room<b::C>", "running", Some(3_999));
        room["restarts"] = json!(2);
        room["last_exit"] = json!({"kind": "panic", "text": "two\nlines"});
        let mut peer = node("peer", "Peer", "running", Some(7));
        peer["details"] = json!({"state": "connected", "rtt_ms": 1.25});
        peer["depth"] = json!(3);
        rooms["children"] = json!([room, peer]);
        let mut udp = node("udp", "Mux", "stopped", None);
        udp["last_exit"] = json!({"kind": "killed", "text": ""});
        root["children"] = json!([rooms, udp]);
        serde_json::from_value(root).unwrap()
    }

    #[test]
    fn it_is_drawn_with_branches_and_what_there_is_to_say() {
        assert_eq!(
            draw(&tree()),
            "server  Supervisor · running · 2m 05s\n\
             ├─ rooms  Supervisor · running · 1h 02m\n\
             │  ├─ room  Room · running · 3s · 2 restarts · panic: two lines\n\
             │  └─ peer  Peer · running · 7 ms · 3 waiting · connected · 1.2 ms\n\
             └─ udp  Mux · stopped · killed\n"
        );
    }

    #[test]
    fn no_line_is_longer_than_the_terminal() {
        let drawn = draw_within(&tree(), 20);

        assert_eq!(drawn.lines().count(), 5);
        assert!(drawn.lines().all(|line| line.chars().count() <= 20), "{drawn}");
        assert!(drawn.starts_with("server  Supervisor …\n"), "{drawn}");
    }
}
