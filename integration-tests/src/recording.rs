//! Recordings, and frames for them, by ffmpeg's libraries: `integration-tests/peers` has the programs.

use std::ffi::OsStr;
use std::path::Path;

use serde_json::Value;
use tokio::process::Command;

use crate::program;

/// Returns what a recording contains, after ffmpeg's libraries have decoded all of it.
///
/// # Panics
///
/// When they do not.
pub async fn decoded(file: &Path) -> Value {
    let found = run("check_recording.py", file.as_os_str()).await;
    serde_json::from_str(&found).expect("JSON")
}

/// Returns the frames of a second and a half, as this encoder of ffmpeg's libraries makes them: `libvpx` 45 pictures,
/// `libx264` as many in Annex B, `libopus` a tone in 75 packets of 20 ms.
///
/// # Panics
///
/// When they cannot be made.
pub async fn encoded(encoder: &str) -> Vec<Vec<u8>> {
    let frames = run("encode_frames.py", OsStr::new(encoder)).await;
    let byte = |digits: &[u8]| {
        let digits = std::str::from_utf8(digits).expect("ASCII");
        u8::from_str_radix(digits, 16).expect("hexadecimal")
    };
    frames.lines().map(|line| line.as_bytes().chunks(2).map(byte).collect()).collect()
}

async fn run(script: &str, argument: &OsStr) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers").join(script);
    let running = Command::new(program::python()).arg(&script).arg(argument).output();
    let output = running.await.expect("Python starts");
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{} {argument:?}: {complaints}", script.display());
    String::from_utf8(output.stdout).expect("UTF-8")
}
