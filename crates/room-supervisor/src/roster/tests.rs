//! Tests of the roster: tables, and random histories of joins, leaves, crashes and closings.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use callboard_outbox::{Outbox, OutboxLimits};
use proptest::prelude::*;

use super::*;
use crate::auth::AuthData;
use crate::member::NewMember;
use crate::message::To;

fn member(peer: PeerId) -> Member {
    let outbox = Arc::new(Outbox::new(OutboxLimits::default()));
    Member::new(NewMember::new(AuthData::new(peer), outbox)).0
}

fn id(value: &Value) -> PeerId {
    value.as_str().expect("an id").parse().expect("an id")
}

/// Shell of a roster without actors: it answers at once, and keeps what each peer has seen.
#[derive(Default)]
struct World {
    roster: Roster,
    /// The peer about which `on_join` is being asked.
    asked: Option<PeerId>,
    /// Peers that the current instance still has to readopt.
    to_readopt: Vec<PeerId>,
    /// Peers that the current instance has admitted, and whose departure it has not been told.
    admitted: BTreeSet<PeerId>,
    /// The others as each peer that has got `authenticated` sees them.
    views: BTreeMap<PeerId, BTreeSet<PeerId>>,
    /// Peers that have a membership.
    there: BTreeSet<PeerId>,
    /// Peers that were told why they are no members.
    rejected: BTreeSet<PeerId>,
    /// The next peer that is announced leaves in `on_forward` of its `joined`.
    leaves_over_joined: bool,
    /// Peers that read nothing of what is sent to them: their connections are lost.
    deaf: BTreeSet<PeerId>,
    /// Peers that may have missed something, and have not got the list of members yet.
    unsure: BTreeSet<PeerId>,
}

impl World {
    fn new() -> Self {
        let mut world = Self::default();
        assert!(!world.roster.started());
        world
    }

    fn come(&mut self) -> PeerId {
        let peer = PeerId::random();
        self.roster.reserve(member(peer), Map::new()).expect("an open room, and a new id");
        self.there.insert(peer);
        peer
    }

    fn go(&mut self, peer: PeerId) {
        self.there.remove(&peer);
        self.forget(peer);
        self.roster.end_membership(peer);
    }

    fn forget(&mut self, peer: PeerId) {
        self.views.remove(&peer);
        self.deaf.remove(&peer);
        self.unsure.remove(&peer);
    }

    /// Lets a peer come back, with another connection.
    fn resume(&mut self, peer: PeerId) {
        if self.views.contains_key(&peer) {
            if self.deaf.remove(&peer) {
                self.unsure.insert(peer);
            }
            self.roster.owe_list(peer);
            self.list();
        }
    }

    /// Sends the list of members, as the room does in each turn when all else is carried out.
    fn list(&mut self) {
        // The mailbox waits while the room is asked.
        if self.asked.is_none()
            && let Some((list, to)) = self.roster.take_list()
        {
            let to = to.iter().map(Member::peer_id).collect();
            self.deliver(&list.to(To::Peers(to)));
        }
    }

    fn ask(&mut self, peer: PeerId) {
        if let Ok(Some(_)) = self.roster.ask(peer, None) {
            self.asked = Some(peer);
        }
    }

    fn answer(&mut self, accept: bool, fail_at: Option<usize>) {
        let Some(peer) = self.asked.take() else { return };
        let answer = if accept { Ok(()) } else { Err(JoinError::Rejected("no".into())) };
        if accept {
            assert!(self.admitted.insert(peer), "admitted twice");
        } else {
            self.rejected.insert(peer);
        }
        _ = self.roster.answered(peer, answer);
        self.carry_out(fail_at);
        self.list();
        self.readopt_next();
    }

    /// Asks about the next member after a crash; announces the end of the readoption behind the last.
    fn readopt_next(&mut self) {
        while self.asked.is_none() && self.roster.phase() == Phase::Restarting {
            match self.to_readopt.pop() {
                Some(peer) => self.ask(peer),
                None => {
                    self.roster.readopted();
                    self.carry_out(None);
                    self.list();
                }
            }
        }
    }

    /// Carries out all outputs; one of the callbacks panics.
    fn carry_out(&mut self, mut panic_at: Option<usize>) {
        while let Some(output) = self.roster.poll_output() {
            self.talk();
            if let Output::Announce(message) = &output
                && message.event == "joined"
                && std::mem::take(&mut self.leaves_over_joined)
            {
                let data: Value = serde_json::from_str(message.data.get()).expect("JSON");
                self.go(id(&data["peer_id"]));
            }
            let is_callback = !matches!(output, Output::Deliver(_) | Output::Close { .. });
            let panics = is_callback && panic_at == Some(0);
            panic_at = panic_at.map(|at| at.saturating_sub(usize::from(is_callback)));
            if panics {
                if let Output::Leave(peer) = output {
                    assert!(self.admitted.remove(&peer), "on_leave twice, or without on_join");
                }
                self.roster.panicked();
                self.carry_out(None);
                return self.crash();
            }
            match output {
                Output::Announce(message) | Output::Deliver(message) => self.deliver(&message),
                Output::Joined(peer) => assert!(self.admitted.contains(&peer)),
                Output::Leave(peer) => {
                    assert!(self.admitted.remove(&peer), "on_leave twice, or without on_join");
                }
                Output::Close { member, .. } => {
                    self.rejected.insert(member.peer_id());
                    self.forget(member.peer_id());
                }
            }
        }
    }

    fn deliver(&mut self, message: &RoomMessage) {
        let receivers: Vec<_> =
            self.roster.receivers(message, None).expect("all of them").collect();
        let is_among =
            |member: &Member| receivers.iter().any(|outbox| Arc::ptr_eq(outbox, member.outbox()));
        let members: Vec<_> = self.roster.visible().filter(|member| is_among(member)).collect();
        let data: Value = serde_json::from_str(message.data.get()).expect("JSON");
        for peer in members.into_iter().map(Member::peer_id) {
            if message.event == "authenticated" {
                let peers = data["peers"].as_array().expect("a list").iter().map(id).collect();
                assert_eq!(self.views.insert(peer, peers), None, "authenticated twice");
                continue;
            }
            // A peer that has left reads no more.
            let Some(view) = self.views.get_mut(&peer).filter(|_| !self.deaf.contains(&peer))
            else {
                continue;
            };
            let is_unsure = self.unsure.contains(&peer);
            let others = || {
                let members = data["peers"].as_array().expect("a list").iter().map(id);
                members.filter(|other| *other != peer).collect::<BTreeSet<_>>()
            };
            match message.event.as_str() {
                "joined" => assert!(view.insert(id(&data["peer_id"])) || is_unsure, "joined twice"),
                "left" => assert!(view.remove(&id(&data["peer_id"])) || is_unsure, "a ghost left"),
                "room_restarted" if is_unsure => *view = others(),
                "room_restarted" => assert!(others().is_subset(view), "restarted with strangers"),
                "room_members" => {
                    assert!(is_unsure || others() == *view, "it is true where it comes");
                    *view = others();
                    self.unsure.remove(&peer);
                }
                other => panic!("unexpected: {other}"),
            }
        }
    }

    /// Lets each peer with a membership send something directly: only members can, and only those hear it that have got
    /// `authenticated` and know the sender.
    fn talk(&self) {
        let word = RoomMessage::new("word", &()).expect("nothing").to(To::All);
        for sender in self.there.iter().filter_map(|peer| self.roster.entries.get(*peer)) {
            let sender = &sender.member;
            let word = RoomMessage { from: Some(sender.peer_id()), ..word.clone() };
            let Some(receivers) = self.roster.direct_receivers(sender, &word, None) else {
                continue;
            };
            let receivers: Vec<_> = receivers.collect();
            assert!(self.views.contains_key(&sender.peer_id()), "it has not joined");
            for hearer in self.roster.entries.iter().map(|entry| &entry.member) {
                let may_miss = [&self.deaf, &self.unsure].map(|it| it.contains(&hearer.peer_id()));
                if receivers.iter().any(|outbox| Arc::ptr_eq(outbox, hearer.outbox()))
                    && may_miss == [false; 2]
                {
                    let view = self.views.get(&hearer.peer_id()).expect("authenticated");
                    assert!(view.contains(&sender.peer_id()), "it has not seen the sender join");
                }
            }
        }
    }

    /// Ends the instance, and starts the next.
    fn crash(&mut self) {
        self.roster.crashed();
        (self.asked, self.to_readopt) = (None, Vec::new());
        self.admitted.clear();
        assert!(self.roster.started());
        let members = self.roster.readopt();
        self.to_readopt = members.iter().map(Member::peer_id).collect();
        self.carry_out(None);
        self.readopt_next();
    }

    fn depart(&mut self, panic_at: Option<usize>) {
        // The mailbox waits while the room is asked.
        if self.asked.is_none() {
            self.roster.announce_departures();
            self.carry_out(panic_at);
            self.list();
        }
    }

    /// Checks the numbers of members, and their lists, against a look at each entry.
    fn count(&mut self, list: bool) {
        let ids = |members: &[Member]| members.iter().map(Member::peer_id).collect::<Vec<_>>();
        let members: Vec<_> = self.roster.members().map(Member::peer_id).collect();
        let visible: Vec<_> = self.roster.visible().map(Member::peer_id).collect();
        assert_eq!(self.roster.count_members(), members.len());
        assert_eq!(self.roster.count_visible(), visible.len());
        // Not always, so that a list is kept over some changes.
        if list {
            assert_eq!(ids(&self.roster.list_members()), members);
            assert_eq!(ids(&self.roster.list_visible()), visible);
        }
    }

    /// Brings everything to rest, and checks that all agree on who is a member.
    fn settle(&mut self) {
        self.leaves_over_joined = false;
        while self.asked.is_some() {
            self.answer(true, None);
        }
        self.depart(None);
        self.deaf.clone().into_iter().for_each(|peer| self.resume(peer));
        assert!(self.unsure.is_empty(), "all have got the list that is owed to them");
        let members: BTreeSet<_> = self.roster.members().map(Member::peer_id).collect();
        assert_eq!(self.roster.phase(), Phase::Open);
        assert_eq!(members, self.admitted, "the room and its roster agree");
        assert_eq!(members, self.views.keys().copied().collect(), "all members were told");
        assert!(members.is_subset(&self.there));
        for (peer, view) in &self.views {
            let others: BTreeSet<_> =
                members.iter().copied().filter(|other| other != peer).collect();
            assert_eq!(*view, others, "each member sees the others");
            let word = RoomMessage::new("word", &()).expect("nothing").to(To::All);
            let sender = self.roster.member(*peer).expect("a member");
            assert!(self.roster.direct_receivers(sender, &word, None).is_some(), "it can send");
        }
    }
}

#[derive(Clone, Debug)]
enum Event {
    Come,
    /// The nth of the peers without a membership asks to join.
    Ask(usize),
    /// `on_join` returns; a callback panics, if so many follow.
    Answer(bool, Option<usize>),
    Go(usize),
    Depart(Option<usize>),
    LeaveOverJoined,
    /// Its connection is lost, and with it what is sent to it from now on.
    Lose(usize),
    Resume(usize),
    Crash,
    Settle,
}

fn event() -> impl Strategy<Value = Event> {
    let panic_at = || prop_oneof![4 => Just(None), 1 => (0_usize..4).prop_map(Some)];
    prop_oneof![
        4 => Just(Event::Come),
        5 => any::<usize>().prop_map(Event::Ask),
        6 => (prop::bool::weighted(0.8), panic_at()).prop_map(|(accept, at)| Event::Answer(accept, at)),
        3 => any::<usize>().prop_map(Event::Go),
        3 => panic_at().prop_map(Event::Depart),
        1 => Just(Event::LeaveOverJoined),
        2 => any::<usize>().prop_map(Event::Lose),
        2 => any::<usize>().prop_map(Event::Resume),
        1 => Just(Event::Crash),
        1 => Just(Event::Settle),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn all_agree_on_the_members_and_each_leaves_exactly_once(
        events in prop::collection::vec((event(), any::<bool>()), 1..60)
    ) {
        let mut world = World::new();
        for (event, list) in events {
            let nth = |n: usize| {
                let there = world.there.iter().copied().collect::<Vec<_>>();
                (!there.is_empty()).then(|| there[n % there.len()])
            };
            match event {
                Event::Come => _ = world.come(),
                Event::Ask(n) => {
                    if let Some(peer) = nth(n).filter(|_| world.asked.is_none()) {
                        world.ask(peer);
                    }
                }
                Event::Answer(accept, panic_at) => world.answer(accept, panic_at),
                Event::Go(n) => {
                    if let Some(peer) = nth(n) {
                        world.go(peer);
                    }
                }
                Event::Depart(panic_at) => world.depart(panic_at),
                Event::LeaveOverJoined => world.leaves_over_joined = true,
                Event::Lose(n) => {
                    world.deaf.extend(nth(n).filter(|peer| world.views.contains_key(peer)));
                }
                Event::Resume(n) => {
                    if let Some(peer) = nth(n) {
                        world.resume(peer);
                    }
                }
                Event::Crash => world.crash(),
                Event::Settle => world.settle(),
            }
            world.count(list);
            world.talk();
        }
        world.settle();

        // Each peer that came is a member, has left, was told why not, or has not asked.
        let reserved = world.roster.entries.iter().filter(|entry| entry.state() == State::Reserved);
        let reserved: BTreeSet<_> = reserved.map(|entry| entry.member.peer_id()).collect();
        for peer in &world.there {
            let known = [&world.admitted, &world.rejected, &reserved];
            prop_assert!(known.iter().any(|peers| peers.contains(peer)));
        }
        // Nothing is kept of a peer that is gone.
        for entry in world.roster.entries.iter() {
            prop_assert!(world.there.contains(&entry.member.peer_id()));
        }
    }
}

#[test]
fn a_peer_that_leaves_goes_through_these_states() {
    use State::*;
    let left = |state: State| {
        let (mut roster, peer) = (Roster::default(), PeerId::random());
        roster.reserve(member(peer), Map::new()).expect("it is open");
        roster.entries.set(peer, state);
        roster.end_membership(peer);
        roster.entries.state(peer)
    };

    assert_eq!(left(Reserved), None);
    assert_eq!(left(Asking { known: false }), None);
    assert_eq!(left(Admitting { gone: false }), Some(Admitting { gone: true }));
    assert_eq!(left(Member), Some(Departed { admitted: true }));
    assert_eq!(left(Stale), Some(Departed { admitted: false }), "others know of it");
    assert_eq!(left(Asking { known: true }), Some(Departed { admitted: false }));
}

#[test]
fn after_a_crash_a_peer_is_readopted_or_was_its_cause() {
    use State::*;
    let after = |state: State| {
        let (mut roster, peer) = (Roster::default(), PeerId::random());
        roster.reserve(member(peer), Map::new()).expect("it is open");
        roster.entries.set(peer, state);
        roster.readopt();
        let rejected = matches!(roster.poll_output(), Some(Output::Close { .. }));
        (roster.entries.state(peer), rejected)
    };

    assert_eq!(after(Reserved), (Some(Reserved), false));
    assert_eq!(after(Asking { known: false }), (None, true));
    assert_eq!(after(Asking { known: true }), (Some(Departed { admitted: false }), true));
    assert_eq!(after(Admitting { gone: false }), (None, true));
    assert_eq!(after(Admitting { gone: true }), (None, false));
    assert_eq!(after(Member), (Some(Stale), false));
    assert_eq!(after(Stale), (Some(Stale), false));
    assert_eq!(after(Departed { admitted: true }), (Some(Departed { admitted: false }), false));
}

#[test]
fn a_room_goes_through_its_phases_and_terminates_once() {
    let mut roster = Roster::default();
    assert_eq!(roster.phase(), Phase::Opening);
    assert!(!roster.started());
    assert_eq!(roster.phase(), Phase::Open);
    roster.crashed();
    assert_eq!(roster.phase(), Phase::Restarting);
    assert!(roster.started());
    roster.readopt();
    roster.readopted();
    assert_eq!(roster.phase(), Phase::Open);
    assert!(!roster.terminate(), "it is not closed");

    roster.close();
    assert_eq!((roster.phase(), roster.is_closed()), (Phase::Closing, true));
    assert_eq!(
        roster.reserve(member(PeerId::random()), Map::new()),
        Err(JoinError::RoomUnavailable)
    );
    assert!(roster.terminate());
    assert!(!roster.terminate(), "once");
    roster.give_up();
    assert_eq!(roster.phase(), Phase::Closed, "it was closed in good order before");

    roster.reopen();
    roster.give_up();
    assert_eq!(roster.phase(), Phase::GivenUp);
}

#[test]
fn a_full_room_rejects_peers_and_keeps_its_members() {
    let mut roster = Roster::default();
    roster.started();
    let [first, second] = [PeerId::random(), PeerId::random()];
    roster.reserve(member(first), Map::new()).expect("it is open");
    roster.reserve(member(second), Map::new()).expect("it is open");

    assert!(roster.ask(first, Some(1)).unwrap().is_some());
    roster.answered(first, Ok(())).unwrap();
    while roster.poll_output().is_some() {}
    assert_eq!(roster.ask(second, Some(1)).err(), Some(JoinError::Rejected("room_is_full".into())));
    assert!(roster.ask(first, Some(1)).unwrap().is_none(), "it is a member already");

    assert_eq!(roster.entries.iter().count(), 1);
}

#[test]
fn an_id_is_taken_until_the_departure_of_its_peer_was_announced() {
    use State::*;
    let again = |state: State| {
        let (mut roster, peer) = (Roster::default(), PeerId::random());
        roster.reserve(member(peer), Map::new()).expect("it is open");
        roster.entries.set(peer, state);
        let refused = roster.reserve(member(peer), Map::new());
        assert_eq!(roster.entries.state(peer), Some(state), "nothing has changed");
        roster.end_membership(peer);
        roster.announce_departures();
        while roster.poll_output().is_some() {}
        (refused.err(), roster.reserve(member(peer), Map::new()).err())
    };

    for state in [Reserved, Asking { known: false }, Asking { known: true }, Member, Stale] {
        assert_eq!(again(state), (Some(JoinError::PeerIdTaken), None), "{state:?}");
    }
}
