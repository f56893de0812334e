//! What another process needs to let a client come back, and the link that it makes of that.

use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use callboard_outbox::Outbox;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::state::LinkState;
use super::{EdgeTexts, LinkOptions, ResumeTokens, Shared, SocketLink};
use crate::admission::Admission;
use crate::counters::SocketCounters;
use crate::resume_tokens::TokenDigest;

/// The tokens with which a client may come back, as their digests: no one learns a token from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resumption {
    token: Option<TokenDigest>,
    /// The token with which it has come back last, if it may not have read the newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    used: Option<TokenDigest>,
}

impl SocketLink {
    /// Returns with which tokens the client may come back to another process, and how long it may stay away from now
    /// on; none if it cannot come back.
    pub fn resumption(&self) -> Option<(Resumption, Duration)> {
        if self.outbox.is_closed() {
            return None;
        }
        let (token, used, left) = self.lock().link.resumption(Instant::now())?;
        Some((Resumption { token, used }, left))
    }

    /// Ends the session here, because another process goes on with it, to which the client has come with this token:
    /// its socket is closed as "resumed elsewhere", and what waits stays in the outbox. Returns what the other process
    /// needs; none if the client could not resume the session here either. Of several calls one has the session.
    pub fn take(&self, token: TokenDigest) -> Option<(Resumption, Duration)> {
        let mut shared = self.lock();
        if !shared.link.may_resume(Instant::now(), token, self.outbox.is_closed()) {
            return None;
        }
        let effects = shared.link.taken();
        self.apply(&mut shared, effects);
        Some((Resumption { token: Some(token), used: None }, shared.link.grace()))
    }

    /// Creates the link of an owner whose client was disconnected by an earlier process: it waits in this outbox's
    /// place, and may come back until then. `admission` is its place among the connections meanwhile.
    pub fn restored(
        options: LinkOptions,
        texts: impl EdgeTexts,
        (outbox, admission): (Arc<Outbox>, Option<Admission>),
        (Resumption { token, used }, until): (Resumption, Instant),
        tokens: Arc<ResumeTokens>,
        counters: Arc<SocketCounters>,
    ) -> Arc<Self> {
        let LinkOptions { address, resume_grace, close_grace, max_frame, requested, .. } = options;
        let link = Arc::new_cyclic(|itself: &Weak<Self>| Self {
            outbox,
            address,
            requested,
            close_grace,
            max_frame,
            texts: Box::new(texts),
            tokens,
            counters,
            shared: Mutex::new(Shared {
                link: LinkState::restored(resume_grace, until, token, used),
                owner: None,
                socket: None,
                admission: admission.map(Box::new),
            }),
            itself: Weak::clone(itself),
        });
        for token in [token, used].into_iter().flatten() {
            link.tokens.restore(token, Arc::downgrade(&link));
        }
        let this = Arc::downgrade(&link);
        link.outbox.when_closed(move |close| {
            if let Some(this) = this.upgrade() {
                this.outbox_closed(close);
            }
        });
        link
    }
}
