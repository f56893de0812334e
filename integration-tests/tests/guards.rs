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
fn a_wide_comment_fails_and_can_be_wrapped() {
    let folder = copy(&["line_width"]);
    write(&folder, ".ci/line_width.allowed", "1\n");
    let words = "word ".repeat(30);
    let file = write(&folder, "a.rs", &format!("/// {words}\n/// and an end.\nstruct A;\n"));
    let git = |arguments: &[&str]| {
        let (good, said) = output(Command::new("git").args(arguments).current_dir(&folder));
        assert!(good, "{said}");
    };
    git(&["init", "--quiet"]);
    git(&["add", "a.rs"]);
    let guard = |arguments: &[&str]| {
        output(
            Command::new(folder.path().join(".ci/line_width")).args(arguments).current_dir(&folder),
        )
    };

    let (good, said) = guard(&[]);
    assert!(!good && said.contains("a.rs:1: a comment wider than 120 columns"), "{said}");

    assert!(guard(&["--wrap"]).0);
    let (good, said) = guard(&[]);
    assert!(good, "{said}");
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.ends_with("word and an end.\nstruct A;\n"), "{text}");
}

#[test]
fn more_wide_lines_of_code_than_allowed_fail() {
    let folder = copy(&["line_width"]);
    write(&folder, ".ci/line_width.allowed", "1\n");
    let line = format!("const A: &str = \"{}\";\n", "x".repeat(120));
    let one = write(&folder, "one.rs", &line);
    let two = write(&folder, "two.rs", &line.repeat(2));
    let guard = |file: &Path| output(Command::new(folder.path().join(".ci/line_width")).arg(file));

    assert!(guard(&one).0);
    let (good, said) = guard(&two);
    assert!(
        !good && said.contains("2 lines of code are wider than 120 columns, 1 allowed"),
        "{said}"
    );
    // A table cannot be broken.
    let table = write(&folder, "table.rs", &format!("//! | {} |\n", "x".repeat(120)));
    assert!(guard(&table).0);
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
fn a_step_that_fails_ends_the_run_and_one_that_cannot_run_is_named_at_the_end() {
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
    assert!(!said.contains("three"), "{said}");
}

const FIND_EXTERNAL_TYPES: &str = "import importlib.machinery, importlib.util, json, sys
loader = importlib.machinery.SourceFileLoader('guard', sys.argv[1])
guard = importlib.util.module_from_spec(importlib.util.spec_from_loader('guard', loader))
sys.dont_write_bytecode = True
loader.exec_module(guard)
item = json.loads(sys.argv[2])
paths = {'7': {'crate_id': 3, 'path': ['quinn', 'udp', 'Socket']}, '8': {'crate_id': 1, 'path': ['std', 'vec', 'Vec']}}
crate = {'index': {'1': {'id': 1, 'crate_id': 0, 'name': 'bind', 'inner': item}}, 'paths': paths}
print(sorted(guard.external_types(crate)))";
