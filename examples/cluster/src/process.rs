//! A program as a child of a supervisor: the actor ends when the program does, and the program when the actor does.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use actix::prelude::*;
use callboard_supervision::{
    Backoff, ChildSpec, Exit, ExitReason, Shutdown, StartError, StartReport, defer_start,
    has_panicked,
};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};

use crate::faults::{Nodes, Order, send};

/// Returns a command that ends with this process, however that ends, and does not get the terminal's Ctrl+C.
pub(crate) fn command(program: &Path) -> Command {
    // It becomes the program.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.process_group(0).kill_on_drop(true);
    command
}

/// Returns the specification of a program that is started again whenever it ends. It has started when it has written a
/// line with these words.
pub(crate) fn child_spec(
    name: &'static str,
    ready: &'static str,
    nodes: &Nodes,
    command: impl Fn() -> Command + Send + 'static,
) -> ChildSpec {
    let nodes = nodes.clone();
    let spec = ChildSpec::try_new(name, move || {
        let child = command().spawn().map_err(|error| StartError::failed(error.to_string()));
        std::future::ready(child.map(|child| Program {
            name,
            ready,
            process: child.id().map(|id| Pid::from_raw(id.cast_signed())),
            child: Some(child),
            start: None,
            nodes: nodes.clone(),
            asked: false,
        }))
    });
    let backoff = Backoff::default().max(Duration::from_secs(1));
    spec.backoff(backoff).shutdown(Shutdown::Timeout(Duration::from_secs(5)))
}

struct Program {
    name: &'static str,
    ready: &'static str,
    process: Option<Pid>,
    child: Option<Child>,
    start: Option<StartReport>,
    nodes: Nodes,
    /// Whether it was told to end.
    asked: bool,
}

/// Line of the program's output.
#[derive(Message)]
#[rtype(result = "()")]
struct Line(String);

impl Actor for Program {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.start = Some(defer_start());
        self.nodes.runs(self.name, self.process);
        let Some(mut child) = self.child.take() else { return ctx.stop() };
        let program = ctx.address();
        if let (Some(output), Some(errors)) = (child.stdout.take(), child.stderr.take()) {
            actix::spawn(read(output, program.clone()));
            actix::spawn(read(errors, program));
        }
        let ended = async move { child.wait().await };
        ctx.spawn(ended.into_actor(self).map(|ended, program, ctx| {
            let ended = match ended {
                Ok(status) => status.to_string(),
                Err(error) => error.to_string(),
            };
            if let Some(start) = program.start.take() {
                start.fail(StartError::failed(ended.clone()));
            }
            program.process = None;
            program.nodes.runs(program.name, None);
            ctx.exit(if program.asked { ExitReason::SHUTDOWN } else { ExitReason::Error(ended) });
        }));
    }

    /// Tells the program to end, and waits until it has.
    fn stopping(&mut self, _: &mut Context<Self>) -> Running {
        let process = self.process.filter(|_| !has_panicked());
        let Some(process) = process else { return Running::Stop };
        if !std::mem::replace(&mut self.asked, true) {
            // At SIGTERM a node would wait for its clients to go to others, which end as well.
            send(process, Signal::SIGINT);
            // It may stand still.
            send(process, Signal::SIGCONT);
        }
        Running::Continue
    }
}

impl Handler<Line> for Program {
    type Result = ();

    fn handle(&mut self, Line(line): Line, _: &mut Context<Self>) {
        if line.contains(self.ready)
            && let Some(start) = self.start.take()
        {
            start.ready();
        }
        match Order::in_line(&line) {
            Some(order) => self.nodes.inject(order),
            None => eprintln!("{} | {line}", self.name),
        }
    }
}

/// Passes the lines of an output on, one after the other.
async fn read(output: impl AsyncRead + Unpin, program: Addr<Program>) {
    let mut lines = BufReader::new(output).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if program.send(Line(line)).await.is_err() {
            return;
        }
    }
}
