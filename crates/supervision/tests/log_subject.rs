//! Which actor a log line is about, as a logger sees it.

use std::sync::Mutex;
use std::time::Duration;

use actix::prelude::*;
use callboard_supervision::{
    ChildSpec, Flags, SupervisorSpec, install_panic_hook, log_subject, without_log_subject,
};
use log::{LevelFilter, Log, Metadata, Record};

/// Logger that keeps each line with the path of its actor.
struct Lines(Mutex<Vec<(String, Option<String>)>>);

impl Log for Lines {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let subject = log_subject();
        if let Some(subject) = &subject {
            let is_talker = subject.type_name == std::any::type_name::<Talker>();
            assert_eq!(is_talker, subject.path.name() == "talker", "{subject:?}");
        }
        let path = subject.map(|subject| subject.path.to_string());
        self.0.lock().unwrap().push((record.args().to_string(), path));
    }

    fn flush(&self) {}
}

impl Lines {
    /// Waits for a line that contains these words, and returns the path of its actor.
    async fn path_of(&self, words: &str) -> Option<String> {
        loop {
            let lines = self.0.lock().unwrap().clone();
            if let Some((_, path)) = lines.iter().find(|(line, _)| line.contains(words)) {
                return path.clone();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

static LINES: Lines = Lines(Mutex::new(Vec::new()));

struct Talker;

#[derive(Message)]
#[rtype(result = "()")]
struct Talk;

impl Actor for Talker {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Self::Context) {
        log::info!("it starts");
    }
}

impl Handler<Talk> for Talker {
    type Result = ();

    fn handle(&mut self, _: Talk, ctx: &mut Self::Context) {
        log::info!("it talks");
        without_log_subject(|| log::info!("of nobody"));
        let later = async { log::info!("it goes on") }.into_actor(self);
        ctx.spawn(later.map(|(), _, _| panic!("it fails")));
    }
}

#[actix::test]
async fn a_line_is_about_the_actor_that_writes_it_or_whose_end_it_reports() {
    log::set_logger(&LINES).unwrap();
    log::set_max_level(LevelFilter::Info);
    let _panics = install_panic_hook();
    log::info!("outside");
    let talker = ChildSpec::try_new("talker", || {
        log::info!("it is made");
        std::future::ready(Ok(Talker))
    });
    let root = SupervisorSpec::new(Flags::one_for_one()).child(talker).start().await.unwrap();
    root.child::<Talker>("talker").unwrap().do_send(Talk).unwrap();

    let path = Some("root/talker".to_owned());
    for words in
        ["it is made", "it starts", "it talks", "it goes on", " down: panic", "panicked at"]
    {
        let found = tokio::time::timeout(Duration::from_secs(60), LINES.path_of(words)).await;
        assert_eq!(found.expect(words), path, "{words}");
    }
    assert_eq!(LINES.path_of("outside").await, None);
    assert_eq!(LINES.path_of("of nobody").await, None);
    root.stop().await;
}
