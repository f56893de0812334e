//! Guards of CI (`.ci`), on files made for it: each must fail when it should.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// Returns a folder with a copy of these files of `.ci`, for their allow-lists to be another's.
fn copy(files: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let ci = folder.path().join(".ci");
    fs::create_dir(&ci).unwrap();
    for file in files {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.ci").join(file);
        fs::copy(from, ci.join(file)).unwrap();
    }
    folder
}

fn write(folder: &TempDir, file: &str, text: &str) -> PathBuf {
    let path = folder.path().join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    path
}

fn output(command: &mut Command) -> (bool, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let said = String::from_utf8_lossy(&stdout) + String::from_utf8_lossy(&stderr);
    (status.success(), said.into_owned())
}

#[test]
fn more_wide_lines_than_allowed_fail_and_comments_can_be_wrapped() {
    let folder = copy(&["line_width"]);
    write(&folder, ".ci/line_width.allowed", "1\n");
    let code = format!("const A: &str = \"{}\";\n", "x".repeat(120));
    let table = format!("//! | {} |\n", "x".repeat(120));
    let comment = format!("/// {}\n/// and an end.\nstruct A;\n", "word ".repeat(30));
    write(&folder, "table.rs", &table.repeat(5));
    write(&folder, "code.rs", &code);
    let guard = |arguments: &[&str]| {
        let path = folder.path().join(".ci/line_width");
        output(Command::new(path).args(arguments).current_dir(&folder))
    };
    let git = |arguments: &[&str]| {
        let (good, said) = output(Command::new("git").args(arguments).current_dir(&folder));
        assert!(good, "{said}");
    };
    git(&["init", "--quiet"]);
    git(&["add", "."]);

    let (good, said) = guard(&[]);
    assert!(good && said.contains("1 lines are wider than 120 columns, 1 allowed"), "{said}");

    let commented = write(&folder, "comment.rs", &comment);
    git(&["add", "."]);
    let (good, said) = guard(&[]);
    assert!(!good && said.contains("comment.rs:1\n"), "{said}");

    assert!(guard(&["--wrap"]).0);
    let (good, said) = guard(&[]);
    assert!(good, "{said}");
    let text = fs::read_to_string(&commented).unwrap();
    assert!(text.ends_with("word and an end.\nstruct A;\n"), "{text}");
}

#[test]
fn a_path_in_a_document_that_leads_nowhere_is_named() {
    let folder = copy(&["paths"]);
    write(&folder, "crates/one/src/actor.rs", "");
    write(&folder, "CHANGELOG.md", "* `gone.rs` is no more.\n");
    let document =
        "See `actor.rs`, `src/actor.rs`, `one/src/` and [it](crates/one/src/actor.rs#L1).\n";
    write(&folder, "README.md", document);
    let guard = || {
        let (good, said) =
            output(Command::new("git").args(["init", "--quiet"]).current_dir(&folder));
        assert!(good, "{said}");
        let (good, said) = output(Command::new("git").args(["add", "."]).current_dir(&folder));
        assert!(good, "{said}");
        output(Command::new(folder.path().join(".ci/paths")).current_dir(&folder))
    };

    let (good, said) = guard();
    assert!(good, "{said}");

    write(&folder, "README.md", "\nSee `shell.rs` and `two/src/`,\nand [it](actor.rs).\n");
    let (good, said) = guard();
    assert!(!good, "{said}");
    for expected in
        ["README.md:2: shell.rs\n", "README.md:2: two/src/\n", "README.md:3: actor.rs\n"]
    {
        assert!(said.contains(expected), "{said}");
    }
}

/// Runs a function of `.ci/external_types` on what rustdoc would know of a crate with this item.
fn external_types(item: &str) -> (bool, String) {
    let guard = concat!(env!("CARGO_MANIFEST_DIR"), "/../.ci/external_types");
    output(Command::new("python3").args(["-c", FIND_EXTERNAL_TYPES, guard, item]))
}

#[test]
fn a_type_of_another_crate_in_a_signature_is_found() {
    let takes = |path: &str| format!(r#"{{"function":{{"sig":{{"inputs":[["it",{path}]]}}}}}}"#);
    let vector = |of: &str| {
        format!(
            r#"{{"resolved_path":{{"path":"Vec","id":8,"args":{{"angle_bracketed":{{"args":[{{"type":{of}}}]}}}}}}}}"#
        )
    };
    let socket = r#"{"resolved_path":{"path":"Socket","id":7,"args":null}}"#;

    for item in [takes(socket), takes(&vector(socket))] {
        let (good, said) = external_types(&item);
        assert!(good && said.trim() == "['quinn::udp::Socket']", "{said}");
    }
    for own in [takes(r#"{"primitive":"u8"}"#), takes(&vector(r#"{"primitive":"u8"}"#))] {
        let (good, said) = external_types(&own);
        assert!(good && said.trim() == "[]", "{said}");
    }
    let automatic =
        format!(r#"{{"impl":{{"is_synthetic":true,"blanket_impl":null,"for":{socket}}}}}"#);
    assert_eq!(external_types(&automatic).1.trim(), "[]");
}

#[test]
fn a_step_that_fails_and_one_that_cannot_run_are_named_at_the_end() {
    let folder = copy(&["run"]);
    let run = folder.path().join(".ci/run");
    let text = fs::read_to_string(&run).unwrap();
    let (begin, end) = (text.find("    step ").unwrap(), text.find("    for name in").unwrap());
    let with = |steps: &str| {
        fs::write(&run, format!("{}{steps}{}", &text[..begin], &text[end..])).unwrap();
        output(Command::new("bash").arg(&run))
    };

    let (good, said) =
        with("    step one true\n    step two sh -c 'exit 77'\n    step three true\n");
    assert!(good, "{said}");
    assert!(
        said.contains("== three: 0 s") && said.contains("== NOT RUN on this machine: two\n"),
        "{said}"
    );

    let (good, said) = with("    step one true\n    step two false\n    step three true\n");
    assert!(!good && said.contains("== two FAILED"), "{said}");
    // One run names all that is wrong.
    assert!(said.contains("== three: 0 s") && said.contains("\n== FAILED: two\n"), "{said}");
}

#[test]
fn a_package_without_its_licence_or_with_files_of_others_fails() {
    let folder = copy(&["crates"]);
    fs::create_dir(folder.path().join("crates")).unwrap();
    write(
        &folder,
        "Cargo.toml",
        "[workspace]\nresolver = \"3\"\nmembers = [\"crates/*\"]\n\
         [workspace.package]\npublish = false\n[profile.dev]\ndebug = false\n",
    );
    for name in ["callboard", "callboard-cluster", "callboard-test-kit"] {
        let manifest = format!(
            "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\
             license = \"MIT\"\ndescription = \"A crate\"\npublish.workspace = true\n"
        );
        write(&folder, &format!("crates/{name}/Cargo.toml"), &manifest);
        write(&folder, &format!("crates/{name}/src/lib.rs"), "");
        for file in LICENCES.iter().chain(&["README.md"]) {
            write(&folder, &format!("crates/{name}/{file}"), "Text\n");
        }
    }
    let package = || {
        for command in [&["init", "--quiet"][..], &["add", "."]] {
            output(Command::new("git").args(command).current_dir(&folder));
        }
        let path = folder.path().join(".ci/crates");
        let mut command = Command::new(path);
        command.arg("package").current_dir(&folder).env("CARGO_NET_OFFLINE", "true");
        output(command.env("CARGO_TARGET_DIR", folder.path().join("target")))
    };
    output(Command::new("cargo").args(["generate-lockfile", "--offline"]).current_dir(&folder));

    let (good, said) = package();
    assert!(good && said.contains("callboard-0.1.0: 7 files"), "{said}");

    fs::remove_file(folder.path().join("crates/callboard/LICENSE-MIT")).unwrap();
    output(Command::new("git").args(["add", "--all"]).current_dir(&folder));
    let (good, said) = package();
    assert!(!good && said.contains("the package callboard-0.1.0 lacks LICENSE-MIT"), "{said}");

    write(&folder, "outside.txt", "");
    let code = "#![doc = include_str!(\"../../../outside.txt\")]\n";
    write(&folder, "crates/callboard-test-kit/src/lib.rs", code);
    let (good, said) = package();
    assert!(!good && said.contains("outside.txt"), "{said}");
}

const LICENCES: [&str; 2] = ["LICENSE-APACHE", "LICENSE-MIT"];

const FIND_EXTERNAL_TYPES: &str = "import importlib.machinery, importlib.util, json, sys
loader = importlib.machinery.SourceFileLoader('guard', sys.argv[1])
guard = importlib.util.module_from_spec(importlib.util.spec_from_loader('guard', loader))
sys.dont_write_bytecode = True
loader.exec_module(guard)
item = json.loads(sys.argv[2])
paths = {'7': {'crate_id': 3, 'path': ['quinn', 'udp', 'Socket']}, '8': {'crate_id': 1, 'path': ['std', 'vec', 'Vec']}}
crate = {'index': {'1': {'id': 1, 'crate_id': 0, 'name': 'bind', 'inner': item}}, 'paths': paths}
print(sorted(guard.external_types(crate)))";
