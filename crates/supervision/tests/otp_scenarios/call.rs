//! Requests to a supervisor, and its answers in the spelling of the recordings.

use callboard_supervision::*;

use crate::format::{Options, Refused};
use crate::play::{self, Player, ROOT, Stop, spec_error, start_error};
use crate::script::{Call, Which};

impl Player {
    /// Makes the request to the supervisor and returns its answer.
    pub(crate) async fn call(
        &self,
        within: &[String],
        call: &Call,
        expected: &[String],
    ) -> Result<String, Stop> {
        let Some(supervisor) = self.supervisor(within) else { return Ok("error noproc".into()) };
        Ok(match call {
            Call::WhichChildren => match supervisor.which_children().await {
                Ok(children) => {
                    let entry = |it: &ChildInfo| format!("{}:{}", it.id, state(it.status));
                    let entries: Vec<_> = children.iter().rev().map(entry).collect();
                    format!("[{}]", entries.join(", "))
                }
                Err(NoSupervisorError) => "error noproc".into(),
            },
            Call::CountChildren => match supervisor.count_children().await {
                Ok(ChildCounts { specs, active, supervisors, workers, .. }) => {
                    format!(
                        "specs={specs} active={active} supervisors={supervisors} workers={workers}"
                    )
                }
                Err(NoSupervisorError) => "error noproc".into(),
            },
            Call::StartChild(id, options) => {
                let spec = match self.spec_of(within, id, options) {
                    Ok(spec) => spec,
                    Err(Refused::Class(class)) => return Ok(format!("error {class}")),
                    Err(other) => {
                        let refused = expected.iter().any(|line| line.starts_with("= error"));
                        return Err(play::stop(other, refused));
                    }
                };
                match supervisor.start_child(spec).await {
                    Ok(started) => ok(&started),
                    Err(StartChildError::AlreadyStarted) => "error already_started".into(),
                    Err(StartChildError::AlreadyPresent) => "error already_present".into(),
                    Err(StartChildError::Spec(error)) => format!("error {}", spec_error(&error)),
                    Err(StartChildError::Start(error)) => failed(&error),
                    Err(_) => "error noproc".into(),
                }
            }
            Call::RestartChild(id) => match supervisor.restart_child(id).await {
                Ok(started) => ok(&started),
                Err(RestartChildError::NotFound) => "error not_found".into(),
                Err(RestartChildError::Running) => "error running".into(),
                Err(RestartChildError::Restarting) => "error restarting".into(),
                Err(RestartChildError::Dynamic) => "error simple_one_for_one".into(),
                Err(RestartChildError::Start(error)) => failed(&error),
                Err(_) => "error noproc".into(),
            },
            Call::DeleteChild(id) => match supervisor.delete_child(id).await {
                Ok(()) => "ok".into(),
                Err(DeleteChildError::NotFound) => "error not_found".into(),
                Err(DeleteChildError::Running) => "error running".into(),
                Err(DeleteChildError::Restarting) => "error restarting".into(),
                Err(DeleteChildError::Dynamic) => "error simple_one_for_one".into(),
                Err(_) => "error noproc".into(),
            },
            Call::TerminateChild(child) => {
                let terminated = match child {
                    Which::Id(id) => supervisor.terminate_child(id).await,
                    Which::Instance(id) => supervisor.terminate_instance(self.instance(id)?).await,
                };
                match terminated {
                    Ok(()) => "ok".into(),
                    Err(TerminateChildError::NotFound) => "error not_found".into(),
                    Err(_) => "error noproc".into(),
                }
            }
            Call::GetChildspec(child) => {
                let id = match child {
                    Which::Id(id) if self.template(within).is_some_and(|it| it.id == *id) => {
                        return Err(Stop::Inexpressible(
                            "a dynamic supervisor has no template that could be asked for".into(),
                        ));
                    }
                    Which::Id(id) | Which::Instance(id) => id,
                };
                match supervisor.child_policy(id).await {
                    Ok(Some(policy)) => format!(
                        "restart={} shutdown={} type={} significant={}",
                        policy.restart, policy.shutdown, policy.kind, policy.significant
                    ),
                    Ok(None) => "error not_found".into(),
                    Err(NoSupervisorError) => "error noproc".into(),
                }
            }
        })
    }

    /// Returns the last instance of this child that came up.
    fn instance(&self, id: &str) -> Result<InstanceId, Stop> {
        let unknown = || Stop::NotUnderstood(format!("instance `{id}`: there was none"));
        self.instances.get(id).copied().ok_or_else(unknown)
    }

    /// Returns the child template of a dynamic supervisor.
    fn template(&self, within: &[String]) -> Option<&crate::format::Child> {
        self.templates.get(within.last().map_or(ROOT, String::as_str))
    }

    fn spec_of(
        &self,
        within: &[String],
        id: &str,
        options: &[(String, String)],
    ) -> Result<ChildSpec, Refused> {
        let mut child = self.template(within).cloned().unwrap_or_else(|| crate::format::Child {
            id: id.to_owned(),
            supervisor: None,
            kids: Vec::new(),
            options: Options::new(),
        });
        for (name, value) in options {
            if name == "type" && value == "supervisor" {
                child.supervisor.get_or_insert_default();
            }
            child.options.insert(name.clone(), value.as_str().into());
        }
        play::child(&self.shared, id, &child)
    }
}

fn ok(started: &StartedChild) -> String {
    let info = started.info.as_ref().and_then(|info| info.downcast_ref::<&str>());
    match (started.running, info) {
        (false, _) => "ok, not running (ignored)".into(),
        (true, None) => "ok, running".into(),
        (true, Some(info)) => format!("ok, running, info={info}"),
    }
}

fn failed(error: &StartError) -> String {
    match error {
        StartError::Supervisor(error) => format!("error {}", start_error(error)),
        error => format!("error start_failed ({error})"),
    }
}

fn state(status: Status) -> &'static str {
    match status {
        Status::Running => "running",
        Status::Restarting => "restarting",
        _ => "not running",
    }
}
