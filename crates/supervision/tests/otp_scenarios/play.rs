//! Player of one scenario, which compares its log with OTP's.

use std::collections::HashMap;
use std::time::Duration;

use actix::prelude::*;
use callboard_supervision::*;
use tokio::sync::broadcast;
use tokio::time::Instant;

use crate::compare;
use crate::format::{self, Child, Options, Refused, Scenario, class};
use crate::probe::{Leave, SharedState};
use crate::script::{Line, Step};

#[derive(Debug)]
pub(crate) enum Verdict {
    Holds,
    /// The scenario holds, except for intended differences.
    HoldsBut(String),
    /// Both logs, side by side.
    Differs(String),
    NotUnderstood(String),
    Inexpressible(String),
}

/// Reason why a scenario was not played to its end.
pub(crate) enum Stop {
    NotUnderstood(String),
    Inexpressible(String),
}

pub(crate) fn play(scenario: &Scenario) -> Verdict {
    // A task among the actors' tasks, so that it gets events and answers in the order in which they happened.
    let mine = scenario.clone();
    let player = async move { Player::new(&mine).await.play(&mine).await };
    let played = System::new().block_on(async {
        tokio::time::pause();
        actix::spawn(player).await
    });
    let log = match played.unwrap_or_else(|panic| Err(Stop::NotUnderstood(panic.to_string()))) {
        Ok((log, notes)) => match compare::same(&scenario.trace, &log) {
            Some(otherwise) if otherwise.is_empty() && notes.is_empty() => return Verdict::Holds,
            Some(otherwise) => {
                return Verdict::HoldsBut([notes, otherwise].concat().join("; "));
            }
            None => log,
        },
        Err(Stop::NotUnderstood(what)) => return Verdict::NotUnderstood(what),
        Err(Stop::Inexpressible(why)) => return Verdict::Inexpressible(why),
    };
    if scenario.stable {
        Verdict::Differs(compare::side_by_side(&scenario.trace, &log))
    } else {
        Verdict::Inexpressible("OTP's own recordings of it differ from each other".into())
    }
}

pub(crate) struct Player {
    /// Supervisor above the scenario's own, so that the start of that one can be observed.
    pub(crate) top: SupervisorRef,
    events: broadcast::Receiver<Event>,
    pub(crate) shared: SharedState,
    /// Child templates of dynamic supervisors, by the supervisors' ids.
    pub(crate) templates: HashMap<String, Child>,
    log: Vec<String>,
    /// Steps that could not be played as intended.
    notes: Vec<&'static str>,
    /// Names of instances, such as `a#2` for the second instance of `a`.
    names: HashMap<InstanceId, String>,
    starts: HashMap<String, usize>,
    /// Last instance of each child that came up.
    pub(crate) instances: HashMap<String, InstanceId>,
}

impl Player {
    async fn new(scenario: &Scenario) -> Self {
        let top = SupervisorSpec::dynamic(Flags::one_for_one())
            .start()
            .await
            .expect("nothing to go wrong");
        let shared = SharedState::default();
        for (id, outcomes) in &scenario.plan {
            shared.state().plans.insert(id.clone(), outcomes.iter().cloned().collect());
        }
        let mut templates = HashMap::new();
        remember_templates(ROOT, &scenario.sup, &scenario.children, &mut templates);
        let events = top.events();
        let (log, notes, names, starts, instances) = Default::default();
        Self { top, events, shared, templates, log, notes, names, starts, instances }
    }

    async fn play(mut self, scenario: &Scenario) -> Result<(Vec<String>, Vec<&'static str>), Stop> {
        let mut recorded = scenario.trace.split(|line| line.starts_with("> "));
        let expected = recorded.next().unwrap_or_default();
        self.start(scenario, expected).await?;
        self.settle(0, expected.len()).await;
        for line in &scenario.steps {
            let expected = recorded.next().unwrap_or_default();
            self.log.push(format!("> {}", line.text));
            let begin = self.log.len();
            self.step(line, expected).await?;
            self.settle(begin, expected.len()).await;
        }
        Ok((self.log, self.notes))
    }

    /// Waits for quiet: until as many lines were logged since `begin` as OTP's recording has before the next step, or
    /// no event has come for very long; then a little longer, for events that should not come. All of it in virtual
    /// time, which stands still as long as any actor has work.
    async fn settle(&mut self, begin: usize, expected: usize) {
        while self.log.len() < begin + expected {
            match tokio::time::timeout(LONGEST, self.events.recv()).await {
                Ok(Ok(event)) => self.write(event),
                _ => break,
            }
        }
        tokio::time::sleep(QUIET).await;
        self.hear();
    }

    async fn start(&mut self, scenario: &Scenario, expected: &[String]) -> Result<(), Stop> {
        let said = expected.last().map_or("", String::as_str);
        if said.starts_with("-- supervisor start = error {bad_return")
            || said == "-- supervisor start = ignore"
        {
            return Err(Stop::Inexpressible(
                "a supervisor is a value of flags and children; no init callback can return anything else".into(),
            ));
        }
        let refused = said.starts_with("-- supervisor start = error");
        let root = match supervisor(&self.shared, ROOT, &scenario.sup, &scenario.children) {
            Ok(root) => root.restart(Restart::Temporary),
            Err(Refused::Class(class)) => {
                self.log.push(format!("-- supervisor start = error {class}"));
                return Ok(());
            }
            Err(other) => return Err(stop(other, refused)),
        };
        if format::flags(&scenario.sup).is_ok_and(|(_, dynamic)| dynamic)
            && scenario.children.len() != 1
        {
            return Err(Stop::Inexpressible(
                "a dynamic supervisor has no start list that could be wrong".into(),
            ));
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

    async fn step(&mut self, line: &Line, expected: &[String]) -> Result<(), Stop> {
        let from = Instant::now();
        match &line.step {
            Step::Plan(id, outcomes) => {
                self.shared.state().plans.insert(id.clone(), outcomes.iter().cloned().collect());
            }
            Step::Wait(time) => tokio::time::sleep(*time).await,
            Step::Stop(reason) => {
                if let Ok(supervisor) = self.top.supervisor(ROOT) {
                    supervisor.stop_with(reason.clone()).await;
                }
            }
            Step::Kill => _ = self.top.inject(ROOT, Fault::Kill).await,
            Step::Crash => _ = self.top.inject(ROOT, Fault::Panic("crash".into())).await,
            Step::UnexpectedMessage => {
                return Err(Stop::Inexpressible(
                    "an address takes only the messages that its actor handles".into(),
                ));
            }
            Step::Unlink(id) => {
                self.known(id)?;
                self.notes
                    .push("a child has no link here that it could cut, so it is as it was before");
            }
            Step::Exit { ids, reason, after, times } => {
                ids.iter().try_for_each(|id| self.known(id))?;
                for _ in 0..*times {
                    self.hear();
                    let starts = self.starts.clone();
                    for id in ids {
                        self.end(&line.within, id, reason.clone(), *after);
                    }
                    if *times > 1 {
                        self.restarted(ids, &starts).await;
                    }
                }
            }
            Step::Call(call) => {
                let answer = self.call(&line.within, call, expected).await?;
                self.hear();
                self.log.push(format!("= {answer}"));
            }
        }
        if line.timed {
            self.hear();
            self.log.push(format!("= took about {}ms", from.elapsed().as_millis()));
        }
        Ok(())
    }

    /// Checks that a child has run, or is known to a supervisor.
    fn known(&self, id: &str) -> Result<(), Stop> {
        if self.starts.contains_key(id) || self.above(&self.top, id).is_some() {
            return Ok(());
        }
        Err(Stop::NotUnderstood(format!("child `{id}`: there is none")))
    }

    /// Waits until each of these children has come up once more, or no more events come.
    async fn restarted(&mut self, ids: &[String], starts: &HashMap<String, usize>) {
        while ids.iter().any(|id| self.starts.get(id) <= starts.get(id)) {
            match tokio::time::timeout(LONGEST, self.events.recv()).await {
                Ok(Ok(event)) => self.write(event),
                _ => break,
            }
        }
    }

    /// Lets a child end by itself: a probe is told to, a supervisor gets a fault injected.
    fn end(&self, within: &[String], id: &str, reason: ExitReason, after: Duration) {
        let probe = self.shared.state().addrs.get(id).cloned().filter(Addr::connected);
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
                let top = self.supervisor(within).unwrap_or_else(|| self.top.clone());
                let Some(above) = self.above(&top, id) else { return };
                let id = id.to_owned();
                actix::spawn(async move {
                    tokio::time::sleep(after).await;
                    _ = above.inject(&id, fault).await;
                });
            }
        }
    }

    /// Returns the supervisor, `top` or below it, that has a child of this name.
    fn above(&self, top: &SupervisorRef, id: &str) -> Option<SupervisorRef> {
        let snapshot = top.snapshot();
        if snapshot.children.iter().any(|child| &*child.id == id) {
            return Some(top.clone());
        }
        let below = snapshot.children.iter().filter_map(|child| top.supervisor(&child.id).ok());
        below.into_iter().find_map(|below| self.above(&below, id))
    }

    /// Returns the supervisor at this path below the scenario's own.
    pub(crate) fn supervisor(&self, within: &[String]) -> Option<SupervisorRef> {
        let root = self.top.supervisor(ROOT).ok()?;
        within.iter().try_fold(root, |above, name| above.supervisor(name).ok())
    }

    /// Logs the events since the last call.
    pub(crate) fn hear(&mut self) {
        while let Ok(event) = self.events.try_recv() {
            self.write(event);
        }
    }

    fn write(&mut self, event: Event) {
        let (id, root) = (event.path.name().to_owned(), event.path.name() == ROOT);
        let probe = self.shared.state().ids.contains(&id);
        let line = match event.what {
            Lifecycle::Started if root => return,
            // OTP has no watchdog, and a busy machine may wake ours. Nor does it say when it drops a child spec.
            Lifecycle::Blocked(_) | Lifecycle::Removed => return,
            Lifecycle::Started => {
                let start = self.starts.entry(id.clone()).or_default();
                *start += 1;
                let name = format!("{id}#{start}");
                self.names.insert(event.instance, name.clone());
                self.instances.insert(id, event.instance);
                format!("start {name}")
            }
            Lifecycle::Down(reason) if root => format!("SUPERVISOR down {}", class(&reason)),
            Lifecycle::Down(reason) => {
                let name = self.names.get(&event.instance).map_or("?", String::as_str);
                format!("down {name} {}", class(&reason))
            }
            Lifecycle::StartFailed(StartError::Ignore) => format!("start-ignored {id}"),
            Lifecycle::StartFailed(StartError::Panicked(_)) => format!("start-panicked {id}"),
            Lifecycle::StartFailed(StartError::Exited(_)) => format!("start-garbage {id}"),
            Lifecycle::StartFailed(StartError::Failed(why)) => {
                format!("start-failed {id}{}", why.strip_prefix("boom").unwrap_or_default())
            }
            Lifecycle::StartFailed(StartError::ShuttingDown) if probe => {
                format!("start-failed {id} (cancelled)")
            }
            // The start of a supervisor is reported by its starter.
            Lifecycle::StartFailed(_) => return,
            other => format!("{id} {other:?}"),
        };
        self.log.push(line);
    }
}

/// Returns the meaning of an unusable specification for the scenario: it depends on whether OTP refuses it too.
pub(crate) fn stop(refused: Refused, by_otp: bool) -> Stop {
    match refused {
        Refused::NoSuchOption(what) if by_otp => {
            Stop::Inexpressible(format!("`{what}` cannot be said, so it cannot be said wrongly"))
        }
        Refused::NoSuchOption(what) => Stop::NotUnderstood(format!("option `{what}`")),
        Refused::NotUnderstood(what) => Stop::NotUnderstood(what),
        Refused::Class(class) => Stop::NotUnderstood(format!("refused: {class}")),
    }
}

pub(crate) fn supervisor(
    shared: &SharedState,
    id: &str,
    sup: &Options,
    children: &[Child],
) -> Result<ChildSpec, Refused> {
    let (flags, dynamic) = format::flags(sup)?;
    // Refuse wrong words once, before the start.
    children.iter().try_for_each(|one| child(shared, &one.id, one).map(|_| ()))?;
    let (shared, children) = (shared.clone(), if dynamic { Vec::new() } else { children.to_vec() });
    let name = id.to_owned();
    Ok(ChildSpec::try_supervisor(id, move |_| {
        shared.begin(&name)?;
        let spec =
            if dynamic { SupervisorSpec::dynamic(flags) } else { SupervisorSpec::new(flags) };
        let children = children.iter().filter_map(|one| child(&shared, &one.id, one).ok());
        Ok(children.fold(spec, SupervisorSpec::child))
    }))
}

/// Returns the spec of a child as described, under this id.
pub(crate) fn child(shared: &SharedState, id: &str, child: &Child) -> Result<ChildSpec, Refused> {
    let spec = match &child.supervisor {
        Some(_) if child.options.contains_key("on_stop") => {
            return Err(Refused::NotUnderstood(format!("on_stop of the supervisor `{id}`")));
        }
        Some(flags) => supervisor(shared, id, flags, &child.kids)?,
        None => shared.spec(id, format::on_stop(&child.options)?),
    };
    format::with_options(spec, &child.options)
}

fn remember_templates(
    id: &str,
    sup: &Options,
    children: &[Child],
    templates: &mut HashMap<String, Child>,
) {
    if format::flags(sup).is_ok_and(|(_, dynamic)| dynamic) {
        templates.extend(children.first().map(|template| (id.to_owned(), template.clone())));
    }
    for child in children {
        if let Some(flags) = &child.supervisor {
            remember_templates(&child.id, flags, &child.kids, templates);
        }
    }
}

pub(crate) fn start_error(error: &StartSupervisorError) -> String {
    match error {
        StartSupervisorError::Spec(error) => format!("start_spec {}", spec_error(error)),
        StartSupervisorError::Child { id, .. } => format!("failed_to_start_child({id})"),
        other => other.to_string(),
    }
}

pub(crate) fn spec_error(error: &SpecError) -> &'static str {
    match error {
        SpecError::InvalidPeriod => "invalid_period",
        SpecError::DuplicateChild(_) => "duplicate_child_name",
        SpecError::SignificantNever(_) | SpecError::SignificantPermanent(_) => "bad_combination",
        _ => "bad_start_spec",
    }
}

pub(crate) const ROOT: &str = "SUPERVISOR";
/// Time without events before the next step; no longer than the wait for OTP in any recording.
const QUIET: Duration = Duration::from_millis(100);
/// Longer than anything that a scenario can plan.
const LONGEST: Duration = Duration::from_secs(120);
