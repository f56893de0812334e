//! Recovery of media: actors of a call fail one after the other, and the gap that each receiver sees is measured.

use std::io;
use std::time::Duration;

use callboard_admin::{FaultKind, FaultOrder, Tree};
use tokio::time::{Instant, sleep, timeout};

use super::super::participant::{Arrival, Participant, waits};
use super::super::track::Flow;
use super::admin::Admin;
use super::fault::connection;
use crate::report::Measured;
use crate::servers::Process;
use crate::webrtc::Wish;

/// What fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Stage,
    Subscriber,
    Publisher,
    Connection,
}

/// Who has to do with a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Share {
    /// What the participant that was hit receives.
    Owner,
    /// What the others receive of it.
    Viewer,
    Bystander,
}

/// What one fault has done.
struct Hit {
    target: Target,
    /// Longest time between two pictures, at each receiver of each participant.
    gaps: Vec<(Share, Duration)>,
    /// Packets that bystanders have lost.
    lost: usize,
}

pub(in crate::scenarios) async fn measure(
    server: &Process,
    participants: usize,
    time: Duration,
) -> io::Result<Measured> {
    let admin = Admin(server.address);
    let others = participants - 1;
    let mut call = Vec::new();
    for number in 0..participants {
        let wish = Wish::Join { pictures: others, sounds: others };
        let joining = Participant::join(server.endpoint(), "call", number as u16, wish, PICTURE);
        call.push(joining.await?);
    }
    flows(&call, Instant::now()).await?;

    let (began, mut hits) = (Instant::now(), Vec::new());
    let quiet =
        Hit { target: Target::Stage, ..watch(&call, None, async || Ok(Instant::now())).await? };
    for (number, target) in TARGETS.into_iter().cycle().enumerate() {
        if number >= TARGETS.len() && began.elapsed() >= time {
            break;
        }
        let victim = &call[number % participants];
        let path = path(target, &admin.tree().await?, &victim.id)
            .ok_or_else(|| io::Error::other(format!("{target:?}: it is not in the tree")))?;
        let order = FaultOrder::new(path, FaultKind::Panic);
        hits.push(watch(&call, Some((target, victim)), async || admin.inject(&order).await).await?);
    }
    Ok(measured(&quiet, &hits))
}

/// Injects a fault, waits until everything flows again, and looks at what has come meanwhile.
async fn watch(
    call: &[Participant],
    hit: Option<(Target, &Participant)>,
    inject: impl AsyncFnOnce() -> io::Result<Instant>,
) -> io::Result<Hit> {
    let at = inject().await?;
    // A fault that was sent needs a moment to arrive.
    flows(call, at + MOMENT).await?;
    // A measured period, not a wait for an event.
    sleep(AFTER).await;
    let (mut gaps, mut lost) = (Vec::new(), 0);
    for receiver in call {
        let noted = receiver.noted();
        let recent = noted.arrivals.partition_point(|arrival| arrival.at + BEFORE < at);
        let recent = &noted.arrivals[recent..];
        let share = |from| share(hit, receiver.number, from);
        for sender in call.iter().filter(|sender| sender.number != receiver.number) {
            gaps.push((share(sender.number), gap(recent, sender.number, at)));
        }
        lost += noted
            .lost(|arrival| arrival.at + BEFORE >= at && share(arrival.from) == Share::Bystander);
    }
    Ok(Hit { target: hit.map_or(Target::Stage, |(target, _)| target), gaps, lost })
}

/// Waits until each participant has received a picture of every other one that came after this time.
async fn flows(call: &[Participant], after: Instant) -> io::Result<()> {
    let flowing = async {
        while let Some(why) = call.iter().find_map(|receiver| stands(call, receiver, after)) {
            if let Some(why) = why {
                return Err(io::Error::other(why));
            }
            sleep(LOOK).await;
        }
        Ok(())
    };
    timeout(PATIENCE, flowing).await?
}

/// Returns something if a participant misses another one's picture: why it has ended, if it has.
fn stands(call: &[Participant], receiver: &Participant, after: Instant) -> Option<Option<String>> {
    let noted = receiver.noted();
    if noted.failed.is_some() {
        return Some(noted.failed.clone());
    }
    let recent = &noted.arrivals[noted.arrivals.partition_point(|arrival| arrival.at <= after)..];
    let misses = |sender: &Participant| {
        let of = |arrival: &Arrival| arrival.from == sender.number && arrival.track == 0;
        sender.number != receiver.number && !recent.iter().any(of)
    };
    call.iter().any(misses).then_some(None)
}

/// Returns the longest time between two pictures of a participant that did not end before `at`.
fn gap(arrivals: &[Arrival], from: u16, at: Instant) -> Duration {
    let pictures = arrivals.iter().filter(|arrival| arrival.from == from && arrival.track == 0);
    let times: Vec<_> = pictures.map(|arrival| arrival.at).collect();
    let gaps = times.windows(2).filter(|pair| pair[1] >= at).map(|pair| pair[1] - pair[0]);
    gaps.max().unwrap_or(PATIENCE)
}

fn share(hit: Option<(Target, &Participant)>, receiver: u16, sender: u16) -> Share {
    match hit {
        Some((Target::Subscriber | Target::Connection, victim)) if victim.number == receiver => {
            Share::Owner
        }
        Some((Target::Publisher | Target::Connection, victim)) if victim.number == sender => {
            Share::Viewer
        }
        _ => Share::Bystander,
    }
}

/// Returns the path of the actor of a peer in the media of its room.
fn path(target: Target, tree: &Tree, peer: &str) -> Option<String> {
    let connection = connection(tree, peer)?;
    let media = tree.find(&|node| node.id == "media")?;
    let of = |name: &str| {
        let participant = media.children.iter().find(|node| connection.path.ends_with(&node.id))?;
        Some(participant.children.iter().find(|node| node.id == name)?.path.clone())
    };
    match target {
        Target::Stage => Some(media.children.iter().find(|node| node.id == "stage")?.path.clone()),
        Target::Subscriber => of("subscriber"),
        Target::Publisher => of("publisher"),
        Target::Connection => Some(connection.path.clone()),
    }
}

fn measured(quiet: &Hit, hits: &[Hit]) -> Measured {
    let gaps = |hits: &[&Hit], share| {
        let all = hits.iter().flat_map(|hit| &hit.gaps);
        waits(all.filter(|(other, _)| *other == share).map(|(_, gap)| *gap).collect::<Vec<_>>())
    };
    let measured = Measured::default()
        .with("faults", hits.len() as f64)
        .with("gap without a fault p99, ms", gaps(&[quiet], Share::Bystander).percentile(99.0));
    TARGETS.into_iter().fold(measured, |measured, target| {
        let its: Vec<_> = hits.iter().filter(|hit| hit.target == target).collect();
        let lost: usize = its.iter().map(|hit| hit.lost).sum();
        let mut part = Measured::default();
        for (share, who) in [(Share::Owner, "its own"), (Share::Viewer, "its viewers'")] {
            let gaps = gaps(&its, share);
            if gaps.count() > 0 {
                part = part
                    .with(format!("{who} gap p50, ms"), gaps.percentile(50.0))
                    .with(format!("{who} gap p99, ms"), gaps.percentile(99.0));
            }
        }
        part = part
            .with("others' gap p99, ms", gaps(&its, Share::Bystander).percentile(99.0))
            .with("others' packets lost", lost as f64);
        measured.with_part(target.name(), part)
    })
}

impl Target {
    fn name(self) -> &'static str {
        match self {
            Self::Stage => "stage panics",
            Self::Subscriber => "subscriber panics",
            Self::Publisher => "publisher panics",
            Self::Connection => "connection panics",
        }
    }
}

const TARGETS: [Target; 4] =
    [Target::Stage, Target::Subscriber, Target::Publisher, Target::Connection];
/// Pictures of a participant: one each 20 ms, so that gaps show.
const PICTURE: Flow = Flow::small(50);
/// Time that is looked at before a fault, for the last picture that came; and after everything flows again.
const BEFORE: Duration = Duration::from_millis(200);
const AFTER: Duration = Duration::from_millis(400);
const MOMENT: Duration = Duration::from_millis(200);
/// Time after which something that does not flow never will.
const PATIENCE: Duration = Duration::from_secs(20);
/// Interval of checks of the participants.
const LOOK: Duration = Duration::from_millis(10);
