//! Tests of the guide's text: what it shows is what is compiled and run.
//!
//! A comment in front of each block of code says what it is:
//!
//! * `file: PATH`: this file of this package's `src`, whole
//! * `part of: PATH`: lines of this file of the repository, or of the text of another one
//! * `manifest: FOLDER`: what the program in this folder of `src` needs
//! * `run: NAME`: commands that `integration-tests/tests/guide.rs` runs; `not run: REASON`

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

/// Block of code in a chapter.
struct Block {
    chapter: PathBuf,
    /// What the comment in front of it says.
    comment: String,
    language: String,
    text: String,
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn guide() -> PathBuf {
    repository().join("crates/callboard/guide/src")
}

fn read(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn chapters() -> Vec<PathBuf> {
    let files =
        fs::read_dir(guide()).expect("the guide").map(|entry| entry.expect("a file").path());
    let mut chapters: Vec<_> = files.filter(|path| !path.ends_with("SUMMARY.md")).collect();
    chapters.sort();
    chapters
}

fn blocks() -> Vec<Block> {
    let mut blocks = Vec::new();
    for chapter in chapters() {
        let text = read(&chapter);
        let mut lines = text.lines();
        let mut before = "";
        while let Some(line) = lines.next() {
            if let Some(language) = line.strip_prefix("```") {
                let comment = before.strip_prefix("<!-- ").and_then(|it| it.strip_suffix(" -->"));
                let code: Vec<_> = lines.by_ref().take_while(|line| *line != "```").collect();
                blocks.push(Block {
                    chapter: chapter.clone(),
                    comment: comment.unwrap_or_default().to_owned(),
                    language: language.to_owned(),
                    text: code.join("\n") + "\n",
                });
            }
            before = line;
        }
    }
    assert!(blocks.len() > 20, "the guide has more code than {} blocks", blocks.len());
    blocks
}

#[test]
fn each_block_of_code_is_what_its_comment_says() {
    for Block { chapter, comment, language, text } in blocks() {
        let at = format!("{}, <!-- {comment} -->", chapter.display());
        let (kind, of) = comment.split_once(": ").unwrap_or((&comment, ""));
        match (kind, &*language) {
            ("file", "rust" | "html") => {
                let file = read(Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(of));
                assert!(text == file, "{at}: copy examples/guide/src/{of} into the chapter");
            }
            ("part of", "rust" | "js") => {
                let file = read(repository().join(of));
                let lines: Vec<_> = text.lines().map(str::trim).collect();
                let within = file.lines().map(|line| line.trim_start_matches("///").trim());
                let within = within.collect::<Vec<_>>();
                assert!(within.windows(lines.len()).any(|it| it == lines), "{at}: not in {of}");
            }
            ("manifest", "toml") | ("run" | "not run", "sh") if !of.is_empty() => {}
            ("", "text") => {}
            _ => panic!("{at}: a block of {language} without a comment that says how it is tested"),
        }
    }
}

/// The front page shows lines of a program.
#[test]
fn the_lines_on_the_front_page_are_those_of_the_program() {
    let page = read(repository().join("README.md"));
    let parts = page.split("<!-- part of: ").skip(1);
    let mut checked = 0;
    for part in parts {
        let (file, rest) = part.split_once(" -->\n```rust,ignore\n").expect("a block of Rust");
        let lines: Vec<_> = rest.lines().take_while(|line| *line != "```").collect();
        let file = read(repository().join(file));
        let within: Vec<_> = file.lines().map(str::trim).collect();
        assert!(within.windows(lines.len()).any(|it| it == lines), "not there:\n{lines:#?}");
        checked += 1;
    }
    assert!(checked > 0, "no lines of a program");
}

/// Each program of the guide is shown, and each of its files.
#[test]
fn each_file_is_shown() {
    let shown: BTreeSet<_> = blocks().into_iter().map(|block| block.comment).collect();
    for folder in super::PROGRAMS.iter().chain(&["testing"]) {
        let files = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(folder));
        for file in files.expect("a folder for each program") {
            let name = file.expect("a file").file_name();
            let name = format!("file: {folder}/{}", name.to_str().expect("a name in UTF-8"));
            assert!(shown.contains(&name), "no chapter has <!-- {name} -->");
        }
        assert!(
            shown.contains(&format!("manifest: {folder}")),
            "no chapter has {folder}'s manifest"
        );
    }
}

#[test]
fn each_manifest_names_what_its_program_uses() {
    for Block { comment, text, .. } in blocks() {
        let Some(folder) = comment.strip_prefix("manifest: ") else { continue };
        let file = if folder == "testing" { "tests.rs" } else { "main.rs" };
        let program =
            read(Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(folder).join(file));
        let uses = |path: &str| program.contains(path);
        let names = |dependency: &str| text.lines().any(|line| line.starts_with(dependency));
        for (path, dependency) in [
            ("callboard::", "callboard ="),
            ("actix_web::{", "actix-web ="),
            ("env_logger::", "env_logger ="),
            ("fastrand::", "fastrand ="),
            ("serde::", "serde ="),
            ("serde_json::", "serde_json ="),
            ("tokio::", "tokio ="),
            ("uuid::", "uuid ="),
            ("callboard_client::", "callboard-client ="),
            ("callboard_test_kit::", "callboard-test-kit ="),
        ] {
            assert_eq!(names(dependency), uses(path), "{folder}: {dependency}");
        }
        for (path, feature) in [
            ("callboard::webrtc", "\"webrtc\""),
            ("callboard::transport", "\"webrtc\""),
            ("callboard::handshake", "\"webrtc\""),
            ("rpc::", "\"rpc\""),
            ("callboard::admin", "\"admin\""),
            ("callboard::tls", "\"tls\""),
            ("jwt::", "\"jwt\""),
            ("callboard::cluster", "\"nats\""),
        ] {
            assert!(!uses(path) || text.contains(feature), "{folder}: the feature {feature}");
        }
    }
}

#[test]
fn the_summary_lists_each_chapter_and_each_link_leads_somewhere() {
    let summary = read(guide().join("SUMMARY.md"));
    for chapter in chapters() {
        let name = chapter.file_name().and_then(|name| name.to_str()).expect("a name in UTF-8");
        assert!(summary.contains(&format!("]({name})")), "SUMMARY.md does not list {name}");
    }
    for page in chapters().into_iter().chain([guide().join("SUMMARY.md")]) {
        let text = read(&page);
        for link in text.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0)) {
            if link.starts_with("http") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => page.clone(),
                file => page.parent().expect("a folder").join(file),
            };
            assert!(target.exists(), "{}: {link}", page.display());
            if !anchor.is_empty() {
                let titles = read(&target);
                let mut titles = titles.lines().filter(|line| line.starts_with('#')).map(slug);
                assert!(titles.any(|slug| slug == anchor), "{}: {link}", page.display());
            }
        }
    }
}

/// In the chapters these links are relative; in the book they lead to the repository.
#[test]
fn links_out_of_the_book_lead_to_the_repository() {
    let root = guide().join("..");
    let chapters: Vec<_> = chapters().iter().map(read).collect();
    let item = |text: &String| json!({ "Chapter": { "content": text, "sub_items": [] } });
    let items: Vec<_> = chapters.iter().map(item).collect();
    let mut script = Command::new(root.join("links"));
    let mut script = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python3");
    let mut input = script.stdin.take().expect("a pipe");
    let book = json!([{ "root": root }, { "items": items }]).to_string();
    std::thread::spawn(move || input.write_all(book.as_bytes()).expect("it is read"));
    let output = script.wait_with_output().expect("it ends");
    let book: Value = serde_json::from_slice(&output.stdout).expect("JSON");

    let made = book["items"].as_array().expect("chapters").iter();
    let made = made.map(|item| item["Chapter"]["content"].as_str().expect("text"));
    let manifest = read(repository().join("Cargo.toml"));
    let address = manifest.split_once("repository = \"").expect("an address").1;
    let page = format!("]({}/blob/main/", address.split_once('"').expect("its end").0);
    let mut led_out = 0;
    for (before, after) in chapters.iter().zip(made) {
        led_out += before.matches("](../").count();
        let expected = before.replace("](../../../../", &page);
        assert_eq!(after, expected.replace("](../../../", &format!("{page}crates/")));
    }
    assert!(led_out > 20, "{led_out} links out of the book");
}

/// Returns the anchor that GitHub and mdBook give a title.
fn slug(title: &str) -> String {
    let title = title.trim_start_matches('#').trim().to_lowercase();
    let kept = title.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.collect::<String>().replace(' ', "-")
}

/// rustfmt does not follow `include!`.
#[test]
fn the_programs_are_formatted() {
    let programs = super::PROGRAMS.iter().map(|name| format!("{name}/main.rs"));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let output = Command::new("rustfmt")
        .args(["--check", "--edition", "2024", "--config-path"])
        .arg(repository().join(".rustfmt.toml"))
        .args(programs.chain(["testing/tests.rs".to_owned()]))
        .current_dir(source)
        .output()
        .expect("rustfmt, a component of Rust, starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// What the tables for newcomers say of Callboard is there: each name stands in the sources.
#[test]
fn the_names_in_the_tables_for_newcomers_exist() {
    let page = read(guide().join("coming-from.md"));
    let sources = sources(&repository().join("crates"));
    let rows = page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| their "));
    let mut checked = 0;
    for row in rows {
        let ours = row.trim_end_matches('|').rsplit('|').next().expect("a last column");
        for code in ours.split('`').skip(1).step_by(2) {
            for name in code.split(|c: char| !c.is_alphanumeric() && c != '_') {
                let is_name = name.len() > 2 && name.starts_with(|c: char| c.is_alphabetic());
                if is_name && !["let", "async", "await", "mut", "move"].contains(&name) {
                    assert!(sources.contains(name), "{name} in {row}");
                    checked += 1;
                }
            }
        }
    }
    assert!(checked > 60, "{checked} names in the tables");
}

/// Returns the text of all Rust and JavaScript sources of the crates.
fn sources(folder: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("a file").path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() {
            if !["guide", "node_modules", "target"].contains(&name) {
                text += &sources(&path);
            }
        } else if name.ends_with(".rs") || name.ends_with(".js") {
            text += &read(&path);
        }
    }
    text
}
