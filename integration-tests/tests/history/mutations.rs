//! Ways to spoil a history: each violates an invariant.

use integration_tests::history::{Event, FaultKind, Invariant, Line, Phase};

use crate::places::*;

pub(crate) struct Mutation {
    pub(crate) name: &'static str,
    pub(crate) violates: Invariant,
    /// Returns the spoilt history; none if there is nothing to spoil. The seed chooses where.
    pub(crate) mutate: fn(&[Line], usize) -> Option<Vec<Line>>,
}

pub(crate) const MUTATIONS: &[Mutation] = &[
    Mutation {
        name: "an older hold is good while a newer one is",
        violates: Invariant::OneHome,
        mutate: |lines, seed| {
            let door = |line: &Line| match &line.event {
                Event::Door { room, epoch } => Some((room.clone(), *epoch)),
                _ => None,
            };
            older_later(lines, seed, door)
        },
    },
    Mutation {
        name: "a room that is closed with its hold goes on",
        violates: Invariant::OneHome,
        mutate: |lines, seed| {
            let live = |line: &Line| match &line.event {
                Event::Live { room, epoch, .. } => Some((room.clone(), *epoch)),
                _ => None,
            };
            older_later(lines, seed, live)
        },
    },
    Mutation {
        name: "two nodes have the same hold",
        violates: Invariant::OneHome,
        mutate: |lines, seed| {
            let at = pick(lines, seed, |_, line| matches!(line.event, Event::Door { .. }))?;
            let other = if lines[at].by == "a1" { "b2" } else { "a1" };
            Some(with(lines, at + 1, Line { by: other.to_owned(), ..lines[at].clone() }))
        },
    },
    Mutation {
        name: "a later hold has a smaller number",
        violates: Invariant::EpochsGrow,
        mutate: |lines, seed| {
            let later = pick(lines, seed, |at, line| {
                let Event::Door { room: its, epoch: number } = &line.event else { return false };
                lines[..at].iter().any(|line| {
                    matches!(&line.event, Event::Door { room, epoch } if room == its && epoch < number)
                })
            })?;
            let Event::Door { room: its, epoch: number } = lines[later].event.clone() else {
                return None;
            };
            let mut lines = lines.to_vec();
            for line in &mut lines {
                if let Event::Door { room, epoch } = &mut line.event
                    && *room == its
                    && *epoch == number
                {
                    *epoch = 1;
                }
            }
            Some(lines)
        },
    },
    Mutation {
        name: "a peer joins twice",
        violates: Invariant::JoinedThenLeft,
        mutate: |lines, seed| {
            let at = pick(lines, seed, |_, line| matches!(line.event, Event::Joined { .. }))?;
            Some(with(lines, at + 1, lines[at].clone()))
        },
    },
    Mutation {
        name: "a peer that was listed joins",
        violates: Invariant::JoinedThenLeft,
        mutate: |lines, seed| {
            let at = pick(
                lines,
                seed,
                |_, line| matches!(&line.event, Event::In { peers, .. } if !peers.is_empty()),
            )?;
            let Event::In { peers, .. } = &lines[at].event else { return None };
            let joined = Event::Joined { peer: peers[seed % peers.len()].clone() };
            Some(with(lines, at + 1, Line { event: joined, ..lines[at].clone() }))
        },
    },
    Mutation {
        name: "a peer leaves twice",
        violates: Invariant::JoinedThenLeft,
        mutate: |lines, seed| {
            let at = pick(lines, seed, |_, line| matches!(line.event, Event::Left { .. }))?;
            Some(with(lines, at + 1, lines[at].clone()))
        },
    },
    Mutation {
        name: "a peer that has left joins again",
        violates: Invariant::JoinedThenLeft,
        mutate: |lines, seed| {
            let at = pick(lines, seed, |at, line| {
                matches!(line.event, Event::Left { .. }) && stays(lines, at)
            })?;
            let Event::Left { peer } = lines[at].event.clone() else { return None };
            Some(with(lines, at + 1, Line { event: Event::Joined { peer }, ..lines[at].clone() }))
        },
    },
    Mutation {
        name: "a peer's end is not told",
        violates: Invariant::EachEndIsTold,
        mutate: |lines, seed| {
            let at = pick(lines, seed, |at, line| {
                let Event::Left { peer } = &line.event else { return false };
                stays(lines, at) && has_ended(lines, peer)
            })?;
            Some(without(lines, at))
        },
    },
    Mutation {
        name: "a message is lost for no reason",
        violates: Invariant::Order,
        mutate: |lines, seed| {
            let at = pick(lines, seed, |at, line| {
                let Some((sent, to)) = sent(lines, line) else { return false };
                to.is_none() && is_quiet(lines, sent, at, &[])
            })?;
            Some(without(lines, at))
        },
    },
    Mutation {
        name: "a message comes twice",
        violates: Invariant::Order,
        mutate: |lines, seed| {
            let at = pick(lines, seed, |_, line| matches!(line.event, Event::Got { .. }))?;
            Some(with(lines, at + 1, lines[at].clone()))
        },
    },
    Mutation {
        name: "two messages come in the wrong order",
        violates: Invariant::Order,
        mutate: |lines, seed| {
            let next = |at: usize| {
                let Event::Got { client, .. } = &lines[at].event else { return None };
                (at + 1..lines.len()).find(|next| {
                    lines[*next].by == lines[at].by
                        && matches!(&lines[*next].event, Event::Got { client: other, .. } if other == client)
                })
            };
            let at = pick(lines, seed, |at, _| next(at).is_some())?;
            let later = next(at)?;
            let mut swapped = lines.to_vec();
            swapped[at].event = lines[later].event.clone();
            swapped[later].event = lines[at].event.clone();
            Some(swapped)
        },
    },
    Mutation {
        name: "a message comes that was never sent",
        violates: Invariant::Order,
        mutate: |lines, seed| {
            let at = pick(lines, seed, |_, line| matches!(line.event, Event::Got { .. }))?;
            let mut lines = lines.to_vec();
            let Event::Got { n, .. } = &mut lines[at].event else { return None };
            *n += 10_000;
            Some(lines)
        },
    },
    Mutation {
        name: "a message is lost in a drain",
        violates: Invariant::NoGapInMoves,
        mutate: |lines, seed| lost_in(lines, seed, FaultKind::Drain),
    },
    Mutation {
        name: "a message is lost while its room moves",
        violates: Invariant::NoGapInMoves,
        mutate: |lines, seed| lost_in(lines, seed, FaultKind::Move),
    },
    Mutation {
        name: "a message is lost since a clock is set",
        violates: Invariant::NoGapInMoves,
        mutate: |lines, seed| lost_in(lines, seed, FaultKind::Clock),
    },
    Mutation {
        name: "a client loses its connection in a move",
        violates: Invariant::MovesAreUntold,
        mutate: |lines, seed| {
            let (at, socket, _) =
                got_in_move(lines, seed, |kind| kind.is_gentle() && kind != FaultKind::Drain)?;
            let lost = Event::Lost { socket, code: Some(1001) };
            Some(with(lines, at + 1, Line { event: lost, ..lines[at].clone() }))
        },
    },
    Mutation {
        name: "a client that was sent away does not resume its session",
        violates: Invariant::MovesAreUntold,
        mutate: |lines, seed| {
            let at = pick(lines, seed, |at, line| {
                let excuses = |later: &Line| {
                    later.by == line.by && matches!(later.event, Event::Out | Event::Resumed { .. })
                };
                matches!(line.event, Event::Resumed { .. })
                    && fault(lines, at) == Some(FaultKind::Drain)
                    && !near(lines, at).skip(1).any(excuses)
            })?;
            Some(without(lines, at))
        },
    },
    Mutation {
        name: "a client is told in a move that the room has restarted",
        violates: Invariant::MovesAreUntold,
        mutate: |lines, seed| {
            let (at, ..) = got_in_move(lines, seed, FaultKind::is_gentle)?;
            let told = Event::Told { what: "room_restarted".to_owned(), peers: Vec::new() };
            Some(with(lines, at + 1, Line { event: told, ..lines[at].clone() }))
        },
    },
    Mutation {
        name: "a client is told in a move that one has left who is there",
        violates: Invariant::MovesAreUntold,
        mutate: |lines, seed| {
            let (at, _, peer) = got_in_move(lines, seed, FaultKind::is_gentle)?;
            Some(with(lines, at + 1, Line { event: Event::Left { peer }, ..lines[at].clone() }))
        },
    },
    Mutation {
        name: "a client is told in a move that one is back who has left",
        violates: Invariant::MovesAreUntold,
        mutate: |lines, seed| {
            let left = |at: usize| {
                let own = lines[..at].iter().rev().filter(|line| line.by == lines[at].by);
                own.take_while(|line| !matches!(line.event, Event::In { .. })).find_map(|line| {
                    match &line.event {
                        Event::Left { peer } => Some(peer.clone()),
                        _ => None,
                    }
                })
            };
            let at = pick(lines, seed, |at, line| {
                matches!(line.event, Event::Got { .. }) && in_move(lines, at) && left(at).is_some()
            })?;
            let joined = Event::Joined { peer: left(at)? };
            Some(with(lines, at + 1, Line { event: joined, ..lines[at].clone() }))
        },
    },
    Mutation {
        name: "a session ends in a move",
        violates: Invariant::SessionsLast,
        mutate: |lines, seed| {
            let at = pick(lines, seed, |at, line| {
                let earlier = |line: &Line| matches!(line.event, Event::Fault { .. });
                let own = lines[..at].iter().rev().take_while(|line| !earlier(line));
                matches!(line.event, Event::Sessions { .. })
                    && own.filter(|line| matches!(line.event, Event::Sessions { .. })).count() >= 3
            })?;
            let mut lines = lines.to_vec();
            let Event::Sessions { ended, .. } = &mut lines[at].event else { return None };
            *ended += 1;
            Some(lines)
        },
    },
    Mutation {
        name: "a room is opened anew since a clock is set",
        violates: Invariant::SessionsLast,
        mutate: |lines, seed| {
            let at = pick(lines, seed, |at, _| fault(lines, at) == Some(FaultKind::Clock))?;
            let opened = lines[..at].iter().rev();
            let opened = opened.clone().find(|line| matches!(line.event, Event::Opened { .. }))?;
            Some(with(lines, at, opened.clone()))
        },
    },
    Mutation {
        name: "a list reaches some",
        violates: Invariant::AllOrNothing,
        mutate: |lines, seed| {
            let at = pick(lines, seed, |at, line| {
                let Some((sent, Some(list))) = sent(lines, line) else { return false };
                list.len() > 1 && is_quiet(lines, sent, at, list) && is_quiet(lines, sent, at, &[])
            })?;
            Some(without(lines, at))
        },
    },
    Mutation {
        name: "a list with a stranger reaches one of it",
        violates: Invariant::AllOrNothing,
        mutate: |lines, seed| {
            let strange = |list: &[String]| list.iter().any(|peer| peer == "stranger");
            let at = pick(
                lines,
                seed,
                |_, line| matches!(&line.event, Event::Sent { to: Some(list), .. } if strange(list)),
            )?;
            let Event::Sent { n, .. } = lines[at].event else { return None };
            let from = lines[..at].iter().rev().find_map(|line| match &line.event {
                Event::In { peer, .. } if line.by == lines[at].by => Some(peer.clone()),
                _ => None,
            })?;
            let got = Event::Got { from, client: lines[at].by.clone(), n };
            Some(with(lines, at + 1, Line { event: got, ..lines[at].clone() }))
        },
    },
    Mutation {
        name: "a message is said to be of another",
        violates: Invariant::AllOrNothing,
        mutate: |lines, seed| {
            let at = pick(lines, seed, |_, line| matches!(line.event, Event::Got { .. }))?;
            let mut lines = lines.to_vec();
            let (by, own) = (lines[at].by.clone(), lines[..at].iter().rev());
            let of_another = own.clone().find_map(|line| match (&line.event, &lines[at].event) {
                (Event::In { peer, .. }, Event::Got { client, .. }) if line.by != *client => {
                    Some(peer.clone())
                }
                _ => None,
            });
            let Event::Got { from, .. } = &mut lines[at].event else { return None };
            *from = of_another.unwrap_or(by);
            Some(lines)
        },
    },
    Mutation {
        name: "a client believes in one that is not there",
        violates: Invariant::OneRoster,
        mutate: |lines, _| {
            let calm = lines.iter().rposition(|line| line.event == Event::Calm)?;
            let by = still_in(lines)?;
            let ghost = Event::Joined { peer: "ghost".to_owned() };
            Some(with(lines, calm, Line { t: lines[calm].t, by, event: ghost }))
        },
    },
    Mutation {
        name: "a client does not know one that is there",
        violates: Invariant::OneRoster,
        mutate: |lines, seed| {
            let at = pick(lines, seed, |at, line| {
                let Event::Joined { peer } = &line.event else { return false };
                stays(lines, at) && !has_ended(lines, peer)
            })?;
            Some(without(lines, at))
        },
    },
    Mutation {
        name: "a client that asks is told nothing",
        violates: Invariant::NobodyWaits,
        mutate: |lines, seed| {
            let answers =
                |line: &Line| matches!(line.event, Event::In { .. } | Event::Resumed { .. });
            let at = pick(lines, seed, |at, line| {
                // The socket's end is an answer, too.
                let lost = lines[at..].iter().any(|later| {
                    later.by == line.by && matches!(later.event, Event::Lost { .. } | Event::Out)
                });
                answers(line) && !lost
            })?;
            Some(without(lines, at))
        },
    },
    Mutation {
        name: "a client does not come back",
        violates: Invariant::NobodyWaits,
        mutate: |lines, _| {
            let calm = lines.iter().rposition(|line| line.event == Event::Calm)?;
            let by = still_in(lines)?;
            let socket = lines.iter().rev().find_map(|line| match line.event {
                Event::In { socket, .. } | Event::Resumed { socket, .. } if line.by == by => {
                    Some(socket)
                }
                _ => None,
            })?;
            let lost = Event::Lost { socket, code: None };
            Some(with(lines, calm, Line { t: lines[calm].t, by, event: lost }))
        },
    },
    Mutation {
        name: "a token is good twice",
        violates: Invariant::TokenOnce,
        mutate: |lines, seed| {
            let first = lines.iter().find_map(|line| match &line.event {
                Event::Resumed { token, .. } => Some(token.clone()),
                _ => None,
            })?;
            let at = pick(
                lines,
                seed,
                |_, line| matches!(&line.event, Event::Resumed { token, .. } if *token != first),
            )?;
            let mut lines = lines.to_vec();
            let Event::Resumed { token, .. } = &mut lines[at].event else { return None };
            *token = first;
            Some(lines)
        },
    },
    Mutation {
        name: "`on_join` is called twice",
        violates: Invariant::JoinsAndLeaves,
        mutate: |lines, seed| {
            let at = pick(lines, seed, |_, line| matches!(line.event, Event::Admitted { .. }))?;
            Some(with(lines, at + 1, lines[at].clone()))
        },
    },
    Mutation {
        name: "`on_leave` is called twice",
        violates: Invariant::JoinsAndLeaves,
        mutate: |lines, seed| {
            let at = pick(lines, seed, |_, line| matches!(line.event, Event::Departed { .. }))?;
            Some(with(lines, at + 1, lines[at].clone()))
        },
    },
    Mutation {
        name: "`on_leave` is not called",
        violates: Invariant::JoinsAndLeaves,
        mutate: |lines, seed| {
            let at = pick(lines, seed, |at, line| {
                let Event::Departed { room: its, .. } = &line.event else { return false };
                // A room that is opened anew asks its members anew.
                let mut later = lines[at..].iter();
                !later.any(|line| matches!(&line.event, Event::Opened { room, .. } if room == its))
            })?;
            Some(without(lines, at))
        },
    },
    Mutation {
        name: "descriptors become more",
        violates: Invariant::NothingLeaks,
        mutate: |lines, seed| {
            let at = pick(lines, seed, |_, line| {
                matches!(line.event, Event::Counts { phase: Phase::End, .. })
            })?;
            let mut lines = lines.to_vec();
            let Event::Counts { of, .. } = &mut lines[at].event else { return None };
            *of.get_mut("descriptors")? += 1;
            Some(lines)
        },
    },
    Mutation {
        name: "a room beside a fault loses a message",
        violates: Invariant::BystandersNoticeNothing,
        mutate: |lines, seed| {
            let at = pick(lines, seed, |_, line| {
                let Some((sent, _)) = sent(lines, line) else { return false };
                in_fault(lines, sent) && !near(lines, sent).any(|line| line.event == Event::Out)
            })?;
            Some(without(lines, at))
        },
    },
    Mutation {
        name: "a node is unwell while the directory is",
        violates: Invariant::LivesWithoutDirectory,
        mutate: |lines, seed| {
            let at = pick(lines, seed, |_, line| matches!(line.event, Event::Health { .. }))?;
            let mut lines = lines.to_vec();
            let Event::Health { status, .. } = &mut lines[at].event else { return None };
            *status = (seed % 2 == 0).then_some(503);
            Some(lines)
        },
    },
];
