//! READMEs as test input: the commands and addresses that they name.

use std::fs;
use std::path::Path;

use crate::server::Server;

/// README of this project.
#[derive(Debug)]
pub struct Readme {
    text: String,
}

impl Readme {
    /// Reads `README.md` in this folder of the workspace; the workspace's own is in `.`.
    ///
    /// # Panics
    ///
    /// When there is none.
    pub fn in_folder(folder: &str) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let file = root.join(folder).join("README.md");
        let text = fs::read_to_string(&file);
        Self { text: text.unwrap_or_else(|error| panic!("{}: {error}", file.display())) }
    }

    /// Runs a server as the README does: by its first `cargo run … -p PACKAGE` that ends in `arguments`. The program is
    /// the one of this build, whichever profile the README names.
    ///
    /// # Panics
    ///
    /// When the README has no such command, or the server does not start.
    pub async fn serve(&self, package: &str, arguments: &[&str]) -> Server {
        let commands: Vec<_> = self.commands().collect();
        let wanted = |command: &&Vec<&str>| {
            let (options, given) = split_at_dashes(command);
            options.ends_with(&["-p", package]) && given == arguments
        };
        let command = commands.iter().find(wanted);
        let command = command.unwrap_or_else(|| panic!("no such command in {commands:#?}"));
        Server::of(package, split_at_dashes(command).1).await
    }

    /// Returns the one address in the README that begins like this.
    ///
    /// # Panics
    ///
    /// When there is none, or there are several.
    pub fn address(&self, beginning: &str) -> String {
        let ends = |letter: char| letter.is_whitespace() || "`<>()".contains(letter);
        let mut found: Vec<&str> =
            self.text.split(ends).filter(|word| word.starts_with(beginning)).collect();
        found.sort_unstable();
        found.dedup();
        assert_eq!(found.len(), 1, "addresses that begin with {beginning}: {found:?}");
        found[0].to_owned()
    }

    /// Returns whether the README contains these words, ignoring line breaks.
    pub fn says(&self, words: &str) -> bool {
        let text: Vec<_> = self.text.split_whitespace().collect();
        text.join(" ").contains(words)
    }

    /// Returns every `cargo run` command as words, without its comment.
    fn commands(&self) -> impl Iterator<Item = Vec<&str>> {
        let pieces = self.text.lines().flat_map(|line| line.split('`')).map(str::trim);
        pieces
            .filter(|piece| piece.starts_with("cargo run "))
            .map(|command| command.split_whitespace().take_while(|word| *word != "#").collect())
    }
}

fn split_at_dashes<'a, 'b>(command: &'a [&'b str]) -> (&'a [&'b str], &'a [&'b str]) {
    match command.iter().position(|word| *word == "--") {
        Some(at) => (&command[..at], &command[at + 1..]),
        None => (command, &[]),
    }
}
