use std::collections::BTreeMap;

use callboard_outbox::{Outbox, OutboxLimits};
use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::auth::AuthData;
use crate::member::NewMember;
use crate::roster::Output;

fn member(peer: PeerId) -> Member {
    let outbox = Arc::new(Outbox::new(OutboxLimits::default()));
    Member::new(NewMember::new(AuthData::new(peer), outbox)).0
}

/// What becomes of a peer: one that has joined here before the others came, or one that is offered and stays,
/// leaves, or is rejected; or one that no node offers.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Old { leaves: bool },
    Offered { leaves: bool, rejected: bool },
    Lost,
}

/// Tells the clients what the roster says.
fn tell(
    roster: &mut Roster,
    views: &mut BTreeMap<PeerId, BTreeSet<PeerId>>,
) -> Result<(), TestCaseError> {
    while let Some(output) = roster.poll_output() {
        let (Output::Announce(message) | Output::Deliver(message)) = output else { continue };
        let to = match message.to.unwrap() {
            To::All => roster.visible().map(Member::peer_id).collect(),
            To::Peers(peers) => peers,
        };
        let data: Value = serde_json::from_str(message.data.get()).unwrap();
        let peer = || serde_json::from_value::<PeerId>(data["peer_id"].clone()).unwrap();
        let peers = || serde_json::from_value::<BTreeSet<_>>(data["peers"].clone()).unwrap();
        for to in &to {
            if message.event == "authenticated" {
                let mut known = peers();
                known.insert(*to);
                prop_assert!(views.insert(*to, known).is_none());
            }
            let Some(view) = views.get_mut(to) else { continue };
            match message.event.as_str() {
                "joined" => prop_assert!(view.insert(peer())),
                "left" => prop_assert!(view.remove(&peer())),
                "authenticated" => {}
                _ => prop_assert_eq!(&*view, &peers()),
            }
        }
    }
    Ok(())
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        any::<bool>().prop_map(|leaves| Kind::Old { leaves }),
        any::<(bool, bool)>().prop_map(|(leaves, rejected)| Kind::Offered {
            leaves: leaves && rejected,
            rejected: rejected && !leaves,
        }),
        Just(Kind::Lost),
    ]
}

proptest! {
    /// However views differ, each client is told what it does not know, once, and nothing else.
    #[test]
    fn after_an_adoption_each_client_knows_who_is_there(
        kinds in proptest::collection::vec((kind(), any::<[bool; 8]>()), 1..8),
    ) {
        let peers: Vec<_> = kinds.iter().map(|(kind, knows)| (PeerId::random(), *kind, *knows)).collect();
        let (mut roster, mut views) = (Roster::default(), BTreeMap::<PeerId, BTreeSet<PeerId>>::new());
        assert!(!roster.started());
        prop_assume!(peers.iter().any(|(_, kind, _)| matches!(kind, Kind::Offered { .. })));
        let is_old = |kind: &Kind| matches!(kind, Kind::Old { .. });
        let old: BTreeSet<_> =
            peers.iter().filter(|(_, kind, _)| is_old(kind)).map(|(peer, ..)| *peer).collect();
        let mut members = BTreeMap::new();
        for peer in &old {
            let new = member(*peer);
            members.insert(*peer, new.clone());
            roster.reserve(new, Map::new()).unwrap();
            roster.ask(*peer, None).unwrap();
            roster.answered(*peer, Ok(())).unwrap();
            while roster.poll_output().is_some() {}
            views.insert(*peer, old.clone());
        }
        for (peer, kind, knows) in &peers {
            if !matches!(kind, Kind::Offered { .. }) {
                continue;
            }
            let others = peers.iter().zip(knows).filter(|((_, kind, _), knows)| **knows && !is_old(kind));
            let mut view: BTreeSet<_> = others.map(|((peer, ..), _)| *peer).collect();
            view.insert(*peer);
            let new = member(*peer);
            members.insert(*peer, new.clone());
            let known = Arc::new(view.iter().copied().collect());
            roster.offer(Offered { member: new, view: known, seen: 0 }).unwrap();
            views.insert(*peer, view);
        }
        for (peer, kind, _) in &peers {
            if matches!(kind, Kind::Old { leaves: true } | Kind::Offered { leaves: true, .. }) {
                roster.leave(&members[peer]);
                views.remove(peer);
            }
        }

        // The room goes on meanwhile.
        roster.announce_departures();
        let new = PeerId::random();
        roster.reserve(member(new), Map::new()).unwrap();
        roster.ask(new, None).unwrap();
        roster.answered(new, Ok(())).unwrap();
        tell(&mut roster, &mut views)?;

        for adopted in roster.adoptable() {
            let peer = adopted.peer_id();
            let rejected = peers.iter().any(|(it, kind, _)| {
                *it == peer && matches!(kind, Kind::Offered { rejected: true, .. })
            });
            roster.ask(peer, None).unwrap();
            _ = roster.answered(peer, if rejected { Err(JoinError::TimedOut) } else { Ok(()) });
            if rejected {
                views.remove(&peer);
            }
        }
        roster.readopted();
        tell(&mut roster, &mut views)?;

        let present: BTreeSet<_> = roster.members().map(Member::peer_id).collect();
        prop_assert_eq!(&present, &views.keys().copied().collect());
        for view in views.values() {
            prop_assert_eq!(view, &present);
        }
    }
}

/// Carries out what a roster decides. Returns what clients are told, and for whom `on_leave` is called.
fn carry_out(roster: &mut Roster) -> (Vec<(String, Value)>, Vec<PeerId>) {
    let (mut told, mut left) = (Vec::new(), Vec::new());
    while let Some(output) = roster.poll_output() {
        match output {
            Output::Announce(message) | Output::Deliver(message) => {
                told.push((
                    message.event.clone(),
                    serde_json::from_str(message.data.get()).unwrap(),
                ));
            }
            Output::Leave(peer) => left.push(peer),
            Output::Joined(_) | Output::Close { .. } => {}
        }
    }
    (told, left)
}

/// A room with one member, which has been told all.
fn room_of(peer: PeerId) -> Roster {
    let mut roster = Roster::default();
    roster.started();
    roster.reserve(member(peer), Map::new()).unwrap();
    roster.ask(peer, None).unwrap();
    roster.answered(peer, Ok(())).unwrap();
    carry_out(&mut roster);
    roster
}

fn offer(roster: &mut Roster, peer: PeerId) -> Result<(), JoinError> {
    roster.offer(Offered { member: member(peer), view: Arc::new(vec![peer]), seen: 0 })
}

#[test]
fn a_member_of_whom_another_node_knows_that_it_has_left_leaves() {
    for is_adopted in [false, true] {
        let [ann, bob, eve] = [(); 3].map(|()| PeerId::random());
        let mut roster = room_of(ann);
        offer(&mut roster, bob).unwrap();
        if is_adopted {
            roster.answered(bob, Ok(())).unwrap();
            roster.readopted();
            carry_out(&mut roster);
        }

        let gone = roster.were_told_left([ann, bob, eve]);

        assert_eq!(gone.iter().map(Member::peer_id).collect::<Vec<_>>(), [bob]);
        roster.readopted();
        roster.announce_departures();
        let (told, left) = carry_out(&mut roster);
        let told_left: Vec<_> = told.iter().filter(|(event, _)| event == "left").collect();
        assert_eq!(told_left.len(), usize::from(is_adopted), "who knows it: {told:?}");
        assert_eq!(left.contains(&bob), is_adopted);
        assert_eq!(roster.members().map(Member::peer_id).collect::<Vec<_>>(), [ann]);
        for peer in [bob, eve] {
            assert_eq!(offer(&mut roster, peer), Err(JoinError::RoomUnavailable));
            // Another peer with the same id is another.
            assert_eq!(roster.reserve(member(peer), Map::new()), Ok(()));
            assert!(roster.ask(peer, None).is_ok());
        }
    }
}

#[test]
fn who_does_not_know_that_it_was_admitted_does_not_join_after_it_was_said_to_have_left() {
    let [ann, bob, eve] = [(); 3].map(|()| PeerId::random());
    let mut roster = Roster::default();
    for peer in [ann, bob] {
        roster.reserve(member(peer), Map::new()).unwrap();
    }
    roster.come_home(Vec::new(), ToldLeft::default());
    // What the member of another node knows.
    let view = Arc::new(vec![ann, eve]);
    roster.offer(Offered { member: member(eve), view, seen: 0 }).unwrap();
    roster.answered(eve, Ok(())).unwrap();
    roster.readopted();
    let (told, _) = carry_out(&mut roster);
    assert_eq!(told[0].0, "left");

    assert_eq!(roster.ask(ann, None).err(), Some(JoinError::PeerIdTaken));
    assert!(roster.ask(bob, None).unwrap().is_some());
}

#[test]
fn a_room_that_arrives_is_asked_about_those_that_its_state_does_not_know() {
    let [ann, bob, eve] = [(); 3].map(|()| PeerId::random());
    let mut roster = Roster::default();
    roster.come_home(Vec::new(), ToldLeft::default());
    roster.gather();
    for peer in [ann, bob] {
        offer(&mut roster, peer).unwrap();
    }

    roster.arrived(vec![ann, eve]);

    assert_eq!(roster.members().map(Member::peer_id).collect::<Vec<_>>(), [ann]);
    assert_eq!(roster.adoptable().iter().map(Member::peer_id).collect::<Vec<_>>(), [bob]);
    assert_eq!(carry_out(&mut roster).1, [eve]);
    roster.answered(bob, Ok(())).unwrap();
    roster.readopted();
    let (told, _) = carry_out(&mut roster);
    let events: Vec<_> = told.iter().map(|(event, _)| event.as_str()).collect();
    assert_eq!(events, ["joined", "joined", "room_restarted"]);
}

#[test]
fn a_node_is_awaited_until_it_has_offered_its_members_or_is_given_up() {
    let [here, b2, c3, d4, e5] =
        ["a1", "b2", "c3", "d4", "e5"].map(|name| NodeId::new(name).unwrap());
    let awaited = |roster: &Roster| roster.awaited(&here).cloned().collect::<BTreeSet<_>>();
    let mut roster = Roster::default();
    roster.come_home(Vec::new(), ToldLeft::default());
    roster.expect_offers_of([b2.clone()]);
    assert_eq!(awaited(&roster), BTreeSet::from([b2.clone()]));

    roster.offered_all(b2.clone(), Vec::new(), vec![here.clone(), b2.clone(), c3.clone()]);
    assert_eq!(awaited(&roster), BTreeSet::from([c3.clone()]));
    roster.give_up_offers();
    assert_eq!(awaited(&roster), BTreeSet::new());

    // Nor is it when another names it that comes later, which may know of one more.
    roster.offered_all(c3.clone(), Vec::new(), vec![b2, c3, d4.clone()]);
    assert_eq!(awaited(&roster), BTreeSet::from([d4.clone()]));
    roster.come_home(Vec::new(), ToldLeft::default());
    assert_eq!(awaited(&roster), BTreeSet::new());
    roster.expect_offers_of([d4.clone()]);
    assert_eq!(awaited(&roster), BTreeSet::from([d4.clone()]), "a home waits anew");
    roster.expect_no_offer_of(e5.clone());
    roster.offered_all(d4, Vec::new(), vec![e5]);
    assert_eq!(awaited(&roster), BTreeSet::new(), "the home that it has lost had peers before");
}
