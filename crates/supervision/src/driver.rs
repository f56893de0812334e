//! Driver of an actor whose state machine does no I/O: one way in, and one timer.

use std::fmt;
use std::time::{Duration, Instant};

use actix::prelude::*;

/// State machine of an actor: takes inputs and the time, returns outputs. It reads no clock and does no I/O.
pub trait Core: 'static {
    /// Action that it requests of its actor.
    type Output;

    /// Returns the next output; called until there is none, after each input.
    fn poll_output(&mut self) -> Option<Self::Output>;

    /// Returns when to call [`handle_timeout`](Self::handle_timeout) next, if at all; it may be earlier or later after
    /// each input.
    fn poll_timeout(&mut self) -> Option<Instant>;

    /// Handles that this time has come.
    fn handle_timeout(&mut self, now: Instant);
}

/// Actor around a [`Core`]: carries out its outputs, and passes each input to it by [`drive`](Self::drive).
///
/// ```
/// use std::time::{Duration, Instant};
///
/// use actix::prelude::*;
/// use callboard_supervision::{Core, Drive, Driver};
///
/// /// Says "tick" a second after it is started.
/// #[derive(Default)]
/// struct Clock {
///     due: Option<Instant>,
///     ticks: u32,
/// }
///
/// impl Core for Clock {
///     type Output = &'static str;
///
///     fn poll_output(&mut self) -> Option<&'static str> {
///         let ticks = self.ticks.checked_sub(1)?;
///         self.ticks = ticks;
///         Some("tick")
///     }
///
///     fn poll_timeout(&mut self) -> Option<Instant> {
///         self.due
///     }
///
///     fn handle_timeout(&mut self, _: Instant) {
///         self.due = None;
///         self.ticks += 1;
///     }
/// }
///
/// struct ClockActor(Driver<Clock>);
///
/// impl Actor for ClockActor {
///     type Context = Context<Self>;
///
///     fn started(&mut self, ctx: &mut Context<Self>) {
///         self.drive(ctx, |clock, now| clock.due = Some(now + Duration::from_secs(1)));
///     }
/// }
///
/// impl Drive<Clock> for ClockActor {
///     fn driver(&mut self) -> &mut Driver<Clock> {
///         &mut self.0
///     }
///
///     fn carry_out(&mut self, output: &'static str, ctx: &mut Context<Self>) {
///         println!("{output}");
///         ctx.stop();
///     }
/// }
///
/// # actix::System::new().block_on(async {
/// let clock = ClockActor(Driver::new(Clock::default())).start();
/// # while clock.connected() { tokio::time::sleep(Duration::from_millis(10)).await }
/// # });
/// ```
pub trait Drive<C: Core>: Actor<Context = Context<Self>> {
    /// Returns the driver of its core.
    fn driver(&mut self) -> &mut Driver<C>;

    /// Carries out an output of the core.
    fn carry_out(&mut self, output: C::Output, ctx: &mut Context<Self>);

    /// Does what remains when all outputs are carried out. Default: [`schedule`](Self::schedule), which an actor that
    /// does more must call as well.
    fn settle(&mut self, ctx: &mut Context<Self>) {
        self.schedule(ctx);
    }

    /// Passes an input to the core, carries out what it asks for, and settles.
    fn drive<R>(&mut self, ctx: &mut Context<Self>, input: impl FnOnce(&mut C, Instant) -> R) -> R {
        let result = self.feed(ctx, input);
        self.settle(ctx);
        result
    }

    /// Passes an input to the core and carries out what it asks for, for an actor that
    /// [settles](Self::settle) once after several inputs.
    fn feed<R>(&mut self, ctx: &mut Context<Self>, input: impl FnOnce(&mut C, Instant) -> R) -> R {
        let result = input(&mut self.driver().core, now());
        while let Some(output) = self.driver().core.poll_output() {
            self.carry_out(output, ctx);
        }
        result
    }

    /// Sets the timer for the core's next time-out.
    ///
    /// A timer that is early stays, since most inputs put off what is due: when it fires, it looks again. It is put off
    /// where it would soon fire for nothing, long before anything is due. What is due at once, again and again, is
    /// called every 200 µs, so that it keeps no other actor waiting.
    fn schedule(&mut self, ctx: &mut Context<Self>) {
        let driver = self.driver();
        let Some(due) = driver.core.poll_timeout() else { return };
        // Reading the clock costs as much as all of this.
        if driver.wake_up.is_some_and(|(at, _)| at <= due && due < at + LONG_BEFORE) {
            return;
        }
        let now = now();
        if let Some((at, timer)) = driver.wake_up {
            if at <= due && at > now + SOON {
                return;
            }
            ctx.cancel_future(timer);
        }
        let wait = due.saturating_duration_since(now).clamp(SHORTEST_SLEEP, LONGEST_SLEEP);
        let at = now + wait;
        let timer = ctx.run_later(wait, move |actor, ctx| {
            let driver = actor.driver();
            // A timer that is cancelled in the pass in which it is due runs nevertheless.
            if driver.wake_up.is_none_or(|(its, _)| its != at) {
                return;
            }
            driver.wake_up = None;
            if driver.core.poll_timeout().is_some_and(|due| due <= self::now()) {
                actor.drive(ctx, C::handle_timeout);
            } else {
                actor.schedule(ctx);
            }
        });
        self.driver().wake_up = Some((at, timer));
    }
}

/// Core of an actor, and the timer for its next time-out.
pub struct Driver<C> {
    core: C,
    /// Time of the next wake-up; it also handles what is due later.
    wake_up: Option<(Instant, SpawnHandle)>,
}

impl<C: Core> Driver<C> {
    /// Creates a driver of this core. No timer runs until the first input.
    pub fn new(core: C) -> Self {
        Self { core, wake_up: None }
    }

    /// Returns the core, to read from it.
    pub fn core(&self) -> &C {
        &self.core
    }

    /// Returns the core, for inputs in the middle of [`Drive::carry_out`], and for those whose outputs are carried out
    /// by a later call of [`Drive::drive`].
    pub fn core_mut(&mut self) -> &mut C {
        &mut self.core
    }
}

impl<C: fmt::Debug> fmt::Debug for Driver<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").field("core", &self.core).finish_non_exhaustive()
    }
}

/// Returns the time, the virtual one in tests with a paused clock.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

const SHORTEST_SLEEP: Duration = Duration::from_micros(200);
const LONGEST_SLEEP: Duration = Duration::from_secs(3_600);
/// A timer that fires within this time is put off, if it is early by [`LONG_BEFORE`]: so an actor that hears something
/// again and again puts it off at most once a second, and is not woken for nothing instead.
const SOON: Duration = Duration::from_secs(1);
const LONG_BEFORE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

    use super::*;

    /// Core that outputs what it is given, at the time that it is given.
    #[derive(Default)]
    struct Echo {
        due: Option<Instant>,
        /// Whether it is due again at once after each time-out.
        restless: bool,
        output: VecDeque<Said>,
        /// How often it was asked when it is due.
        asked: usize,
    }

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Said {
        Word(u32),
        TimedOut(Instant),
    }

    impl Core for Echo {
        type Output = Said;

        fn poll_output(&mut self) -> Option<Said> {
            self.output.pop_front()
        }

        fn poll_timeout(&mut self) -> Option<Instant> {
            self.asked += 1;
            self.due
        }

        fn handle_timeout(&mut self, now: Instant) {
            self.due = self.restless.then_some(now);
            self.output.push_back(Said::TimedOut(now));
        }
    }

    struct EchoActor {
        driver: Driver<Echo>,
        heard: UnboundedSender<Said>,
    }

    impl Actor for EchoActor {
        type Context = Context<Self>;
    }

    impl Drive<Echo> for EchoActor {
        fn driver(&mut self) -> &mut Driver<Echo> {
            &mut self.driver
        }

        fn carry_out(&mut self, output: Said, _: &mut Context<Self>) {
            if output == Said::Word(1) {
                self.driver.core_mut().output.push_back(Said::Word(3));
            }
            _ = self.heard.send(output);
        }
    }

    #[derive(Message)]
    #[rtype(result = "()")]
    struct Input(fn(&mut Echo, Instant));

    impl Handler<Input> for EchoActor {
        type Result = ();

        fn handle(&mut self, Input(input): Input, ctx: &mut Context<Self>) {
            self.drive(ctx, input);
        }
    }

    fn start() -> (Addr<EchoActor>, UnboundedReceiver<Said>) {
        let (heard, hear) = unbounded_channel();
        (EchoActor { driver: Driver::new(Echo::default()), heard }.start(), hear)
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[actix::test]
    async fn outputs_are_carried_out_in_order_with_those_that_come_meanwhile() {
        let (actor, mut hear) = start();

        let words = |core: &mut Echo, _| core.output.extend([Said::Word(1), Said::Word(2)]);
        actor.send(Input(words)).await.unwrap();

        let heard: Vec<_> = std::iter::from_fn(|| hear.try_recv().ok()).collect();
        assert_eq!(heard, [Said::Word(1), Said::Word(2), Said::Word(3)]);
    }

    #[actix::test]
    async fn a_timeout_comes_when_it_is_due_and_no_more_often() {
        tokio::time::pause();
        let (actor, mut hear) = start();
        let began = now();
        actor.send(Input(|core, now| core.due = Some(now + 5 * SECOND))).await.unwrap();

        let Some(Said::TimedOut(at)) = hear.recv().await else { panic!("no time-out") };

        assert!((5 * SECOND..6 * SECOND).contains(&(at - began)), "{:?}", at - began);
        tokio::time::sleep(100 * SECOND).await;
        assert!(hear.try_recv().is_err());
    }

    #[actix::test]
    async fn an_input_moves_the_timeout_both_ways() {
        tokio::time::pause();
        let (actor, mut hear) = start();
        let began = now();
        actor.send(Input(|core, now| core.due = Some(now + 50 * SECOND))).await.unwrap();
        // Earlier: the timer is set anew.
        actor.send(Input(|core, now| core.due = Some(now + 5 * SECOND))).await.unwrap();
        // Later: the timer fires early, and looks again.
        actor.send(Input(|core, now| core.due = Some(now + 20 * SECOND))).await.unwrap();

        let Some(Said::TimedOut(at)) = hear.recv().await else { panic!("no time-out") };

        assert!((20 * SECOND..21 * SECOND).contains(&(at - began)), "{:?}", at - began);
        actor.send(Input(|core, now| core.due = Some(now + 5 * SECOND))).await.unwrap();
        // Not at all.
        actor.send(Input(|core, _| core.due = None)).await.unwrap();
        tokio::time::sleep(100 * SECOND).await;
        assert!(hear.try_recv().is_err());
    }

    #[derive(Message)]
    #[rtype(usize)]
    struct Asked;

    impl Handler<Asked> for EchoActor {
        type Result = usize;

        fn handle(&mut self, Asked: Asked, _: &mut Context<Self>) -> usize {
            self.driver.core().asked
        }
    }

    /// As a connection at rest: what it hears every 3 s puts off what is due.
    #[actix::test]
    async fn a_timer_that_is_put_off_in_time_does_not_fire_for_nothing() {
        tokio::time::pause();
        let (actor, mut hear) = start();
        let heard = |core: &mut Echo, now| core.due = Some(now + SECOND * 32 / 10);
        for _ in 0..20 {
            actor.send(Input(heard)).await.unwrap();
            tokio::time::sleep(3 * SECOND).await;
        }

        assert_eq!(actor.send(Asked).await.unwrap(), 20, "once for each input");

        let last = now();
        let Some(Said::TimedOut(at)) = hear.recv().await else { panic!("no time-out") };
        assert!(at - last <= SECOND, "{:?}", at - last);
    }

    #[actix::test]
    async fn what_is_always_due_keeps_nothing_else_waiting() {
        tokio::time::pause();
        let (actor, mut hear) = start();
        let restless = |core: &mut Echo, now| (core.due, core.restless) = (Some(now), true);
        actor.send(Input(restless)).await.unwrap();

        tokio::time::sleep(SECOND).await;

        let mut times = 0;
        while hear.try_recv().is_ok() {
            times += 1;
        }
        assert!((100..=5_000).contains(&times), "{times} in a second");
        actor.send(Input(|core, _| core.restless = false)).await.unwrap();
    }
}
