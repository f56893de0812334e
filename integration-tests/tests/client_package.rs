//! The client for browsers as an npm package: what is packed, and what its users get when they install that.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use integration_tests::{PATIENCE, Readme, Server, in_network_namespace, program};
use serde_json::Value;
use tokio::process::Command;

#[tokio::test]
async fn the_package_holds_the_module_that_is_served_its_types_and_the_examples() {
    let folder = tempfile::tempdir().expect("a folder");

    let (_, packed) = pack(folder.path()).await;

    let files = packed["files"].as_array().expect("files").iter();
    let mut files: Vec<_> = files.map(|file| file["path"].as_str().expect("a path")).collect();
    files.sort_unstable();
    let expected = [
        "LICENSE-APACHE",
        "LICENSE-MIT",
        "README.md",
        "dist/callboard.d.ts",
        "dist/callboard.js",
        "examples/chat.js",
        "examples/use_room.jsx",
        "package.json",
    ];
    assert_eq!(files, expected);
    assert_eq!(packed["version"], env!("CARGO_PKG_VERSION"), "it has the version of the crates");
    for license in ["LICENSE-APACHE", "LICENSE-MIT"] {
        assert_eq!(read(&source().join(license)), read(&source().join("../../..").join(license)));
    }
    let (readme, example) =
        (read(&source().join("README.md")), read(&source().join("examples/chat.js")));
    assert!(readme.contains(&example), "copy examples/chat.js into the package's README.md");
}

#[test]
fn the_installed_package_holds_a_session_in_node() {
    in_network_namespace(async || {
        let app = App::with_the_package().await;
        let server = Readme::in_folder("examples/own-room").serve("own-room", &[]).await;

        let said = app.session(&server).await;

        assert_eq!(said, "all good\n");
    });
}

#[tokio::test]
async fn the_installed_package_has_types() {
    let app = App::with_the_package().await;
    fs::copy(source().join("tests/types.ts"), app.path("types.ts")).expect("a copy");

    for (module, resolution) in [("nodenext", "nodenext"), ("esnext", "bundler")] {
        app.check("types.ts", module, resolution).await;
    }
}

/// Program of a user, in a folder of its own, with the package from its archive.
struct App {
    folder: tempfile::TempDir,
}

impl App {
    async fn with_the_package() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (archive, _) = pack(folder.path()).await;
        let app = Self { folder };
        fs::write(app.path("package.json"), r#"{ "private": true, "type": "module" }"#)
            .expect("a file");
        let mut install = npm(app.folder.path());
        install.args(["install", "--offline", "--ignore-scripts", "--no-audit", "--no-fund"]);
        output(install.arg(archive)).await;
        assert!(!app.path("node_modules/callboard").is_symlink(), "it is a copy of the archive's");
        // What the package's own tests use beside it.
        for package in ["ws", "@types"] {
            let name = format!("node_modules/{package}");
            symlink(program::node_modules().join(package), app.path(&name)).expect("a link");
        }
        app
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs the session of two clients to its end, and returns what it prints.
    async fn session(&self, server: &Server) -> String {
        fs::copy(source().join("tests/session.js"), self.path("session.js")).expect("a copy");
        let mut node = Command::new(program::of_the_machine("node", "nodejs"));
        node.current_dir(self.folder.path());
        node.arg("session.js").arg(format!("{}/quiz?open=sesame", server.address()));
        output(&mut node).await
    }

    /// Checks that `tsc` is content with this file.
    async fn check(&self, file: &str, module: &str, resolution: &str) {
        let mut tsc = Command::new(program::of_the_machine("node", "nodejs"));
        tsc.arg(program::node_modules().join("typescript/lib/tsc.js"));
        tsc.args([
            "--strict",
            "--noEmit",
            "--target",
            "es2022",
            "--lib",
            "es2022,dom,dom.iterable",
        ]);
        tsc.args(["--module", module, "--moduleResolution", resolution, file]);
        tsc.current_dir(self.folder.path());
        output(&mut tsc).await;
    }
}

/// Packs the package into an archive in this folder. Returns its path, and what npm says of it.
async fn pack(folder: &Path) -> (PathBuf, Value) {
    let mut npm = npm(folder);
    npm.current_dir(source()).args(["pack", "--json", "--pack-destination"]).arg(folder);
    let said = output(&mut npm).await;
    let mut packed: Value = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}"));
    let packed = packed[0].take();
    (folder.join(packed["filename"].as_str().expect("a name")), packed)
}

/// Returns an npm that runs in this folder, and leaves nothing outside it.
fn npm(folder: &Path) -> Command {
    let mut npm = Command::new(program::of_the_machine("npm", "npm"));
    npm.current_dir(folder);
    npm.env("npm_config_cache", folder.join("cache")).env("npm_config_update_notifier", "false");
    npm
}

/// Runs a program that must succeed, and returns what it prints.
async fn output(command: &mut Command) -> String {
    command.stdin(Stdio::null()).kill_on_drop(true);
    let ended = tokio::time::timeout(PATIENCE, command.output()).await;
    let ended = ended.unwrap_or_else(|_| panic!("{command:?} does not end")).expect("it starts");
    let said = String::from_utf8_lossy(&ended.stdout).into_owned();
    let errors = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{command:?}: {said}{errors}");
    said
}

/// Returns the package's folder.
fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/signaling/js")
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}
