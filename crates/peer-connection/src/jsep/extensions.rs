//! RTP header extensions (RFC 8285): which ids the peer uses in which section, and which the engine must know.

use super::checked::{Checked, Extensions};
use super::chosen::{KNOWN, MID};
use super::names::engine_mid;
use crate::sdp::{Sdp, Section};

/// An `a=extmap` that the engine understands.
#[derive(Clone, Copy, Debug)]
pub(super) struct ExtMap {
    pub(super) id: u8,
    pub(super) uri: &'static str,
}

impl Extensions {
    /// Returns what the engine needs for this first description of a peer, if its own places will not do.
    pub(super) fn of(first: &Checked) -> Option<Self> {
        let ids = agreed(first, None);
        let twice =
            ids.iter().any(|(id, uri)| ids.iter().any(|(other, same)| same == uri && other != id));
        let renames = usable(first).any(|section| {
            let renamed = section.mid().is_some_and(|mid| is_renamed(mid) && mid.len() <= LONGEST);
            renamed && extmaps(first, section).any(|one| one.uri == MID)
        });
        (twice || renames).then_some(Self { ids, renames })
    }
}

/// Returns the extensions of a section that this connection may agree on: its own, and those of the session (RFC 8285
/// §5).
pub(super) fn extmaps<'a>(
    of: &'a Checked,
    section: &'a Section,
) -> impl Iterator<Item = ExtMap> + 'a {
    let chosen = of.chosen;
    let read = move |value| read(value).filter(|one| chosen.has(one.uri));
    let own = move || section.attributes("extmap").filter_map(read).take(MOST);
    let of_session = of.sdp.session().attributes("extmap").filter_map(read).take(MOST);
    own().chain(
        of_session.filter(move |one| !own().any(|own| own.uri == one.uri || own.id == one.id)),
    )
}

/// Returns the ids in force with this description: ids keep their meaning from the description before, and on one
/// transport each means the same in every section (RFC 8859 §5.7). The mid extension comes first, since sections cannot
/// be distinguished without it.
pub(super) fn agreed(remote: &Checked, before: Option<&Checked>) -> Vec<(u8, &'static str)> {
    let mut ids: Vec<(u8, &'static str)> = Vec::new();
    let mut known: Vec<&'static str> = Vec::new();
    for description in before.into_iter().chain([remote]) {
        let all = || usable(description).flat_map(|section| extmaps(description, section));
        let mids_first =
            all().filter(|one| one.uri == MID).chain(all().filter(|one| one.uri != MID));
        for ExtMap { id, uri } in mids_first {
            let free = !ids.iter().any(|(taken, _)| *taken == id);
            if free && !known.contains(&uri) {
                ids.push((id, uri));
            }
        }
        // Negotiated ids do not move: the engine would not follow.
        known = ids.iter().map(|(_, uri)| *uri).collect();
    }
    ids
}

/// Returns whether packets can carry the mid of a section in its extension.
pub(super) fn carries_mid(remote: &Checked, mid: &str) -> bool {
    let renames = remote.extensions.as_ref().is_some_and(|extensions| extensions.renames);
    !is_renamed(mid) || (renames && mid.len() <= LONGEST)
}

/// Writes the extensions of an answered section as they were offered, with the direction reversed (RFC 8285 §6).
pub(super) fn answer(section: &mut Section, sdp: &Sdp, offered: &Section) {
    let all: Vec<String> = section
        .attributes("extmap")
        .map(|value| {
            let mut words = value.splitn(2, ' ');
            let (id, uri) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let mut all = offered.attributes("extmap").chain(sdp.session().attributes("extmap"));
            let direction = all.find_map(|value| {
                let mut words = value.split_ascii_whitespace();
                let (first, second) = (words.next()?, words.next()?);
                let (offered, direction) = first.split_once('/')?;
                (offered == id && second == uri).then_some(direction)
            });
            match direction {
                Some("sendonly") => format!("{id}/recvonly {uri}"),
                Some("recvonly") => format!("{id}/sendonly {uri}"),
                _ => value.to_owned(),
            }
        })
        .collect();
    section.remove_attributes("extmap");
    for value in all {
        section.push_attribute("extmap", Some(&value));
    }
}

fn usable(description: &Checked) -> impl Iterator<Item = &Section> {
    let sections = description.sdp.media().iter().zip(&description.facts);
    sections.filter(|(section, facts)| facts.usable && section.is_rtp()).map(|(section, _)| section)
}

/// Returns whether the engine understands the value of an `a=extmap`.
pub(super) fn is_known(value: &str) -> bool {
    read(value).is_some()
}

fn is_renamed(mid: &str) -> bool {
    engine_mid(mid) != mid
}

fn read(value: &str) -> Option<ExtMap> {
    let mut words = value.split_ascii_whitespace();
    let (first, uri) = (words.next()?, words.next()?);
    let (id, direction) = match first.split_once('/') {
        Some((id, direction)) => (id, direction),
        None => (first, ""),
    };
    let id =
        id.parse().ok().filter(|id| (1..=LARGEST_ID).contains(id) && direction != "inactive")?;
    let uri = KNOWN.into_iter().find(|known| *known == uri)?;
    Some(ExtMap { id, uri })
}

/// Highest id that the engine has room for. RFC 8285 allows 255, and no extension has to be accepted.
const LARGEST_ID: u8 = 16;
/// Extensions that are read of a section; there are fewer ids.
const MOST: usize = 32;
/// Longest value of the short form (RFC 8285 §4.2), in bytes.
const LONGEST: usize = 16;
