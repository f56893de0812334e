//! Plays one scenario and tells whether its log is OTP's.

use std::collections::HashMap;
use std::time::Duration;

use actix::prelude::*;
use callboard_supervision::*;
use tokio::sync::broadcast;
use tokio::time::Instant;

use crate::compare;
use crate::format::{self, Child, Options, Refused, Scenario, class};
use crate::probe::{Leave, Stage};

pub(crate) enum Verdict {
    Holds,
    Differs(Vec<String>),
    NotUnderstood(String),
    Inexpressible(String),
}

/// Why a scenario was not played to its end.
enum Stop {
    NotUnderstood(String),
    Inexpressible(String),
}

pub(crate) fn play(scenario: &Scenario) -> Verdict {
    // A task among the actors' tasks, so that what it hears and what it is answered come in the order they happened.
    let mine = scenario.clone();
    let player = async move { Player::new(&mine).await.play(&mine).await };
    let played = System::new().block_on(async {
        tokio::time::pause();
        actix::spawn(player).await
    });
    match played.unwrap_or_else(|panic| Err(Stop::NotUnderstood(panic.to_string()))) {
        Ok(log) if compare::same(&scenario.trace, &log) => Verdict::Holds,
        Ok(log) => Verdict::Differs(log),
        Err(Stop::NotUnderstood(what)) => Verdict::NotUnderstood(what),
        Err(Stop::Inexpressible(why)) => Verdict::Inexpressible(why),
    }
}

struct Player {
    /// Above the scenario's supervisor, so that its start can be watched.
    top: SupervisorRef,
    events: broadcast::Receiver<Event>,
    stage: Stage,
    /// The probe of a dynamic supervisor.
    template: Option<Child>,
    log: Vec<String>,
    /// `a#2` for the second instance of `a`.
    names: HashMap<InstanceId, String>,
    lives: HashMap<String, usize>,
}

impl Player {
    async fn new(scenario: &Scenario) -> Self {
        let top = SupervisorSpec::dynamic(Flags::one_for_one())
            .start()
            .await
            .expect("nothing to go wrong");
        let stage = Stage::default();
        for (id, outcomes) in &scenario.plan {
            let outcomes = outcomes
                .iter()
                .map(|word| format::outcome(word).expect("a known outcome"))
                .collect();
            stage.props().plans.insert(id.clone(), outcomes);
        }
        let events = top.events();
        let (log, names, lives) = Default::default();
        Self { top, events, stage, template: None, log, names, lives }
    }

    async fn play(mut self, scenario: &Scenario) -> Result<Vec<String>, Stop> {
        self.start(scenario).await?;
        for step in &scenario.steps {
            self.log.push(format!("> {step}"));
            self.step(step).await?;
            // Nothing in a scenario takes this long, and nothing that it plans takes less.
            tokio::time::sleep(QUIET).await;
            self.hear();
        }
        Ok(self.log)
    }

    async fn start(&mut self, scenario: &Scenario) -> Result<(), Stop> {
        let expected = scenario.trace.first().map_or("", String::as_str);
        if expected.starts_with("-- supervisor start = error {bad_return")
            || expected == "-- supervisor start = ignore"
        {
            return Err(Stop::Inexpressible(
                "a supervisor is a value of flags and children; no init callback can return anything else".into(),
            ));
        }
        let root = match supervisor(&self.stage, ROOT, &scenario.sup, &scenario.children) {
            Ok(root) => root.restart(Restart::Temporary),
            Err(Refused::Class(class)) => {
                self.log.push(format!("-- supervisor start = error {class}"));
                return Ok(());
            }
            Err(Refused::NoSuchOption(what)) => return Err(no_such_option(&what)),
        };
        if scenario.sup.get("strategy").is_some_and(|strategy| strategy == "simple_one_for_one") {
            let [template] = &scenario.children[..] else {
                return Err(Stop::Inexpressible(
                    "a dynamic supervisor has no start list that could be wrong".into(),
                ));
            };
            self.template = Some(template.clone());
        }
        let started = self.top.start_child(root).await;
        self.hear();
        self.log.push(match started {
            Ok(_) => "-- supervisor started".into(),
            Err(StartChildError::Start(StartError::Supervisor(error))) => {
                format!("-- supervisor start = error {}", start_error(&error))
            }
            Err(error) => format!("-- supervisor start = error {error}"),
        });
        Ok(())
    }

    async fn step(&mut self, step: &str) -> Result<(), Stop> {
        let (within, step) = match step.strip_prefix("[in ").and_then(|rest| rest.split_once("] "))
        {
            Some((within, step)) => (Some(within), step),
            None => (None, step),
        };
        let not_understood = || Stop::NotUnderstood(format!("step `{step}`"));
        if let Some((id, plan)) =
            step.strip_prefix("next starts of ").and_then(|rest| rest.split_once(" will be"))
        {
            let outcomes: Option<_> =
                format::split(plan).into_iter().map(|word| format::outcome(&word.into())).collect();
            self.stage.props().plans.insert(id.to_owned(), outcomes.ok_or_else(not_understood)?);
        } else if let Some(time) = step.strip_prefix("wait ").and_then(millis) {
            tokio::time::sleep(time).await;
        } else if let Some(rest) = step.strip_prefix("supervisor told to stop") {
            let (reason, timed) = match rest.strip_suffix(" (timed)") {
                Some(reason) => (reason, true),
                None => (rest, false),
            };
            self.stop(reason.trim().trim_start_matches('(').trim_end_matches(')'), timed).await;
        } else if let Some(how) =
            step.strip_prefix("supervisor ").filter(|how| ["killed", "crashes"].contains(how))
        {
            let fault = if how == "killed" { Fault::Kill } else { Fault::Panic("crash".into()) };
            _ = self.top.inject(ROOT, fault).await;
        } else if step.starts_with("unexpected message") {
            return Err(Stop::Inexpressible(
                "an address takes only the messages that its actor handles".into(),
            ));
        } else if let Some((id, why)) = step.split_once(" exits ") {
            self.end(id, format::reason(why), Duration::ZERO).await;
        } else if let Some((id, rest)) = step.split_once(" will exit ") {
            let (why, time) = rest.split_once(" in ").ok_or_else(not_understood)?;
            self.end(id, format::reason(why), millis(time).ok_or_else(not_understood)?).await;
        } else {
            let (call, arguments) =
                match step.strip_suffix(')').and_then(|step| step.split_once('(')) {
                    Some((call, arguments)) => (call, format::split(arguments)),
                    None => (step, Vec::new()),
                };
            let answer = self.call(within, call, &arguments).await?.ok_or_else(not_understood)?;
            self.hear();
            self.log.push(format!("= {answer}"));
        }
        Ok(())
    }

    async fn stop(&mut self, reason: &str, timed: bool) {
        let Ok(supervisor) = self.top.supervisor(ROOT) else { return };
        let from = Instant::now();
        supervisor.stop_with(format::reason(reason)).await;
        self.hear();
        if timed {
            self.log.push(format!("= took about {}ms", from.elapsed().as_millis()));
        }
    }

    /// Have a child end by itself: a probe is told so, a supervisor gets a fault.
    async fn end(&self, id: &str, reason: ExitReason, after: Duration) {
        let probe = self.stage.props().addrs.get(id).cloned().filter(Addr::connected);
        match (probe, &reason) {
            (
                Some(probe),
                ExitReason::Normal
                | ExitReason::Shutdown(_)
                | ExitReason::Error(_)
                | ExitReason::Panic(_),
            ) => {
                probe.do_send(Leave(reason, after));
            }
            _ => {
                let fault = match reason {
                    ExitReason::Killed => Fault::Kill,
                    ExitReason::Panic(message) => Fault::Panic(message),
                    reason => Fault::Exit(reason),
                };
                let Some(above) = self.above(id) else { return };
                let id = id.to_owned();
                actix::spawn(async move {
                    tokio::time::sleep(after).await;
                    _ = above.inject(&id, fault).await;
                });
            }
        }
    }

    /// The supervisor whose child is called so.
    fn above(&self, id: &str) -> Option<SupervisorRef> {
        fn search(supervisor: SupervisorRef, id: &str) -> Option<SupervisorRef> {
            let snapshot = supervisor.snapshot();
            if snapshot.children.iter().any(|child| &*child.id == id) {
                return Some(supervisor);
            }
            let below =
                snapshot.children.iter().filter_map(|child| supervisor.supervisor(&child.id).ok());
            below.into_iter().find_map(|below| search(below, id))
        }
        search(self.top.clone(), id)
    }

    async fn call(
        &self,
        within: Option<&str>,
        call: &str,
        arguments: &[&str],
    ) -> Result<Option<String>, Stop> {
        let mut supervisor = self.top.supervisor(ROOT);
        for name in within.into_iter().flat_map(|within| within.split('/')) {
            supervisor = supervisor.and_then(|supervisor| supervisor.supervisor(name));
        }
        let Ok(supervisor) = supervisor else { return Ok(Some("error noproc".into())) };
        Ok(Some(match (call, arguments) {
            ("which_children", []) => match supervisor.which_children().await {
                Ok(children) => {
                    let entries: Vec<_> = children
                        .iter()
                        .rev()
                        .map(|child| format!("{}:{}", child.id, state(child.status)))
                        .collect();
                    format!("[{}]", entries.join(", "))
                }
                Err(error) => format!("error {error}"),
            },
            ("count_children", []) => match supervisor.count_children().await {
                Ok(Counts { specs, active, supervisors, workers, .. }) => {
                    format!(
                        "specs={specs} active={active} supervisors={supervisors} workers={workers}"
                    )
                }
                Err(error) => format!("error {error}"),
            },
            ("start_child", [id, options @ ..]) => {
                let spec = match self.spec_of(within, id, options) {
                    Ok(spec) => spec,
                    Err(Refused::Class(class)) => return Ok(Some(format!("error {class}"))),
                    Err(Refused::NoSuchOption(what)) => return Err(no_such_option(&what)),
                };
                match supervisor.start_child(spec).await {
                    Ok(started) => ok(&started),
                    Err(StartChildError::AlreadyStarted) => "error already_started".into(),
                    Err(StartChildError::AlreadyPresent) => "error already_present".into(),
                    Err(StartChildError::Spec(error)) => format!("error {}", spec_error(&error)),
                    Err(StartChildError::Start(error)) => format!("error start_failed ({error})"),
                    Err(error) => format!("error noproc ({error})"),
                }
            }
            ("restart_child", [id]) => match supervisor.restart_child(id).await {
                Ok(started) => ok(&started),
                Err(RestartChildError::NotFound) => "error not_found".into(),
                Err(RestartChildError::Running) => "error running".into(),
                Err(RestartChildError::Restarting) => "error restarting".into(),
                Err(RestartChildError::Dynamic) => "error simple_one_for_one".into(),
                Err(error) => format!("error start_failed ({error})"),
            },
            ("delete_child", [id]) => match supervisor.delete_child(id).await {
                Ok(()) => "ok".into(),
                Err(DeleteChildError::NotFound) => "error not_found".into(),
                Err(DeleteChildError::Running) => "error running".into(),
                Err(DeleteChildError::Restarting) => "error restarting".into(),
                Err(DeleteChildError::Dynamic) => "error simple_one_for_one".into(),
                Err(error) => format!("error {error}"),
            },
            ("terminate_child", [id]) => match supervisor.terminate_child(id).await {
                Ok(()) => "ok".into(),
                Err(TerminateChildError::NotFound) => "error not_found".into(),
                Err(error) => format!("error {error}"),
            },
            ("get_childspec", [id]) => match supervisor.child_policy(id).await {
                Ok(Some(_)) => "ok".into(),
                Ok(None) => "error not_found".into(),
                Err(error) => format!("error {error}"),
            },
            _ => return Ok(None),
        }))
    }

    fn spec_of(
        &self,
        within: Option<&str>,
        id: &str,
        options: &[&str],
    ) -> Result<ChildSpec, Refused> {
        let mut all = match (&self.template, within) {
            (Some(template), None) => template.options.clone(),
            _ => Options::new(),
        };
        for option in options {
            let (name, value) = option
                .split_once('=')
                .ok_or_else(|| Refused::NoSuchOption((*option).to_owned()))?;
            all.insert(name.trim().to_owned(), value.trim().into());
        }
        let on_stop = format::on_stop(&all);
        format::with_options(self.stage.spec(id, on_stop), &all)
    }

    /// Write down what has happened since.
    fn hear(&mut self) {
        while let Ok(event) = self.events.try_recv() {
            let (id, root) = (event.path.name().to_owned(), event.path.name() == ROOT);
            let line = match event.what {
                Lifecycle::Started if root => continue,
                Lifecycle::Started => {
                    let life = self.lives.entry(id.clone()).or_default();
                    *life += 1;
                    let name = format!("{id}#{life}");
                    self.names.insert(event.instance, name.clone());
                    format!("start {name}")
                }
                Lifecycle::Down(reason) if root => format!("SUPERVISOR down {}", class(&reason)),
                Lifecycle::Down(reason) => {
                    format!(
                        "down {} {}",
                        self.names.get(&event.instance).map_or("?", String::as_str),
                        class(&reason)
                    )
                }
                Lifecycle::StartFailed(StartError::Ignore) => format!("start-ignored {id}"),
                Lifecycle::StartFailed(StartError::Panicked(_)) => format!("start-panicked {id}"),
                Lifecycle::StartFailed(StartError::Exited(_)) => format!("start-garbage {id}"),
                Lifecycle::StartFailed(StartError::Failed(why)) => {
                    format!("start-failed {id}{}", why.strip_prefix("boom").unwrap_or_default())
                }
                // A supervisor's own start is told by its starter.
                Lifecycle::StartFailed(_) => continue,
                other => format!("{id} {other:?}"),
            };
            self.log.push(line);
        }
    }
}

fn supervisor(
    stage: &Stage,
    id: &str,
    sup: &Options,
    children: &[Child],
) -> Result<ChildSpec, Refused> {
    let (flags, dynamic) = format::flags(sup)?;
    let (stage, children) = (stage.clone(), if dynamic { Vec::new() } else { children.to_vec() });
    // Refuse wrong words once, before the start.
    children.iter().try_for_each(|one| child(&stage, one).map(|_| ()))?;
    Ok(ChildSpec::supervisor(id, move || {
        let spec =
            if dynamic { SupervisorSpec::dynamic(flags) } else { SupervisorSpec::new(flags) };
        children.iter().filter_map(|one| child(&stage, one).ok()).fold(spec, SupervisorSpec::child)
    }))
}

fn child(stage: &Stage, child: &Child) -> Result<ChildSpec, Refused> {
    let spec = match &child.supervisor {
        Some(flags) => supervisor(stage, &child.id, flags, &child.kids)?,
        None => stage.spec(&child.id, format::on_stop(&child.options)),
    };
    format::with_options(spec, &child.options)
}

fn start_error(error: &StartSupervisorError) -> String {
    match error {
        StartSupervisorError::Spec(error) => format!("start_spec {}", spec_error(error)),
        StartSupervisorError::Child { id, .. } => format!("failed_to_start_child({id})"),
        other => other.to_string(),
    }
}

fn spec_error(error: &SpecError) -> &'static str {
    match error {
        SpecError::InvalidPeriod => "invalid_period",
        SpecError::DuplicateChild(_) => "duplicate_child_name",
        SpecError::SignificantNever(_) | SpecError::SignificantPermanent(_) => "bad_combination",
        _ => "bad_start_spec",
    }
}

fn ok(started: &Started) -> String {
    let info = started.info.as_ref().and_then(|info| info.downcast_ref::<&str>());
    match (started.running, info) {
        (false, _) => "ok, not running (ignored)".into(),
        (true, None) => "ok, running".into(),
        (true, Some(info)) => format!("ok, running, info={info}"),
    }
}

fn state(status: Status) -> &'static str {
    match status {
        Status::Running => "running",
        Status::Restarting => "restarting",
        _ => "not running",
    }
}

fn millis(text: &str) -> Option<Duration> {
    Some(Duration::from_millis(text.trim().strip_suffix("ms")?.trim().parse().ok()?))
}

fn no_such_option(what: &str) -> Stop {
    Stop::Inexpressible(format!("`{what}` cannot be said, so it cannot be said wrongly"))
}

const ROOT: &str = "SUPERVISOR";
/// How long nothing must happen before the next step; shorter than the shortest time in a recording (150 ms).
const QUIET: Duration = Duration::from_millis(100);
