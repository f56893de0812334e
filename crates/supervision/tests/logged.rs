//! Tests of the log of a child that ends while it starts: a warning only if it failed.

use std::sync::Mutex;

use actix::prelude::*;
use callboard_supervision::*;

struct Lines(Mutex<Vec<(log::Level, String)>>);

static LINES: Lines = Lines(Mutex::new(Vec::new()));

impl log::Log for Lines {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        self.0.lock().unwrap().push((record.level(), record.args().to_string()));
    }

    fn flush(&self) {}
}

/// Actor that ends in its `started` with this reason, before its start is complete.
struct Brief(ExitReason);

impl Actor for Brief {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        std::mem::forget(defer_start());
        ctx.exit(self.0.clone());
    }
}

#[actix::test]
async fn a_normal_end_while_it_starts_is_no_warning() {
    log::set_logger(&LINES).unwrap();
    log::set_max_level(log::LevelFilter::Debug);
    let root = SupervisorSpec::new(Flags::one_for_one()).start().await.unwrap();
    let failed = ExitReason::Error("broken".into());
    for (id, reason) in
        [("normal", ExitReason::Normal), ("shutdown", ExitReason::SHUTDOWN), ("failed", failed)]
    {
        let spec = ChildSpec::new(id, move || Brief(reason.clone()));
        assert!(root.start_child(spec.restart(Restart::Temporary)).await.is_err(), "{id}");
    }

    let lines = LINES.0.lock().unwrap().clone();
    let level = |id: &str| {
        let of = |(_, text): &&(log::Level, String)| {
            text.contains(&format!("root/{id} ")) && text.contains("while it was starting")
                || text.contains(&format!("root/{id} ")) && text.contains("StartFailed")
        };
        lines.iter().find(of).map(|(level, _)| *level)
    };
    assert_eq!(level("normal"), Some(log::Level::Debug), "{lines:#?}");
    assert_eq!(level("shutdown"), Some(log::Level::Debug), "{lines:#?}");
    assert_eq!(level("failed"), Some(log::Level::Warn), "{lines:#?}");
}
