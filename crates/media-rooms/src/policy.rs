//! Policy of a media room: who may publish, and who receives what.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use serde_json::Value;

use crate::event::{ParticipantId, TrackInfo};

/// Participant of a media room, as a [`MediaPolicy`] knows it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ParticipantInfo {
    /// Its identifier.
    pub id: ParticipantId,
    /// Name with which it has joined.
    pub name: Arc<str>,
    /// What the application knows of it ([`ParticipantOptions::metadata`]).
    pub metadata: Arc<Value>,
    /// Participant in whose place it has come.
    pub(crate) replaces: Option<ParticipantId>,
    /// Client behind it, if the application has said that.
    pub(crate) client: Option<Arc<str>>,
}

impl ParticipantInfo {
    /// Returns whether another participant is the same client with another connection.
    pub(crate) fn is_client_of(&self, other: &Self) -> bool {
        self.replaces == Some(other.id)
            || other.replaces == Some(self.id)
            || self.client.is_some() && self.client == other.client
    }
}

/// Options of a participant. A name alone is enough: `"ada".into()`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ParticipantOptions {
    /// Name by which the others know it.
    pub(crate) name: Arc<str>,
    pub(crate) metadata: Arc<Value>,
    pub(crate) replaces: Option<ParticipantId>,
    pub(crate) client: Option<Arc<str>>,
}

impl ParticipantOptions {
    /// Creates the options of a participant with this name.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self { name: name.into(), metadata: Arc::default(), replaces: None, client: None }
    }

    /// Sets what the [policy](MediaPolicy) of the room knows of the participant, such as its role. The others are not
    /// told. Default: `null`.
    pub fn metadata(self, metadata: impl Into<Value>) -> Self {
        Self { metadata: Arc::new(metadata.into()), ..self }
    }

    /// Says in whose place the participant comes: the same client with another connection. Neither gets anything of the
    /// other until the earlier one leaves. Default: none.
    pub fn replaces(self, earlier: ParticipantId) -> Self {
        Self { replaces: Some(earlier), ..self }
    }

    /// Names the client behind the participant, which no other client can be: the tracks of its next connection are
    /// [muted](crate::MediaRoom::mute) as those of this one. The others are not told. Default: none; then that holds
    /// for a participant that it [replaces](Self::replaces).
    pub fn client(self, client: impl Into<Arc<str>>) -> Self {
        Self { client: Some(client.into()), ..self }
    }

    /// Returns what the room knows of the participant.
    pub(crate) fn info(self, id: ParticipantId) -> ParticipantInfo {
        let Self { name, metadata, replaces, client } = self;
        ParticipantInfo { id, name, metadata, replaces, client }
    }
}

impl<T: Into<Arc<str>>> From<T> for ParticipantOptions {
    fn from(name: T) -> Self {
        Self::new(name)
    }
}

/// Policy of a media room. By default all may publish, and all receive everything.
///
/// It is asked while the room is locked, once for each track and viewer: it must neither block nor call the room. When
/// a participant's role changes, the application says so by
/// [`MediaRoom::set_metadata`](crate::MediaRoom::set_metadata); when the policy's own state changes, by
/// [`MediaRoom::review`](crate::MediaRoom::review). One that panics has refused.
///
/// ```
/// use callboard_media_rooms::{MediaPolicy, ParticipantInfo, TrackInfo};
///
/// /// Teachers are seen by all, students by teachers alone.
/// struct Lecture;
///
/// fn teaches(one: &ParticipantInfo) -> bool {
///     one.metadata["role"] == "teacher"
/// }
///
/// impl MediaPolicy for Lecture {
///     fn may_receive(&self, viewer: &ParticipantInfo, publisher: &ParticipantInfo, _: &TrackInfo) -> bool {
///         teaches(publisher) || teaches(viewer)
///     }
/// }
/// ```
pub trait MediaPolicy: Send + Sync + 'static {
    /// Returns whether a participant may publish this track. If not, nothing of it is forwarded, the others are not
    /// told of it, and the publisher is told [`MediaEvent::Refused`](crate::MediaEvent::Refused).
    fn may_publish(&self, publisher: &ParticipantInfo, track: &TrackInfo) -> bool {
        _ = (publisher, track);
        true
    }

    /// Returns whether another participant may receive this track. If not, that one is not told of it and gets nothing
    /// of it. Sound that is hidden from anyone is not compared with other voices: none is told when its publisher
    /// speaks, and it is forwarded to all others also where it is not one of the loudest.
    fn may_receive(
        &self,
        viewer: &ParticipantInfo,
        publisher: &ParticipantInfo,
        track: &TrackInfo,
    ) -> bool {
        _ = (viewer, publisher, track);
        true
    }
}

/// Policy of a room without one: all may do everything.
struct Open;

impl MediaPolicy for Open {}

/// The policy of a room.
#[derive(Clone)]
pub(crate) struct Policy(Arc<dyn MediaPolicy>);

impl Policy {
    pub(crate) fn new(policy: Arc<dyn MediaPolicy>) -> Self {
        Self(policy)
    }

    pub(crate) fn may_publish(&self, publisher: &ParticipantInfo, track: &TrackInfo) -> bool {
        allows(|| self.0.may_publish(publisher, track))
    }

    pub(crate) fn may_receive(
        &self,
        viewer: &ParticipantInfo,
        publisher: &ParticipantInfo,
        track: &TrackInfo,
    ) -> bool {
        let is_itself =
            viewer.replaces == Some(publisher.id) || publisher.replaces == Some(viewer.id);
        !is_itself && allows(|| self.0.may_receive(viewer, publisher, track))
    }
}

/// Returns what is decided; a decision that panics, which the panic hook has reported, is a refusal.
fn allows(decide: impl FnOnce() -> bool) -> bool {
    catch_unwind(AssertUnwindSafe(decide)).unwrap_or(false)
}

impl Default for Policy {
    fn default() -> Self {
        Self(Arc::new(Open))
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy").finish_non_exhaustive()
    }
}
