//! What is kept of a remote description once its round is over.

use std::collections::HashSet;

use super::checked::Checked;
use super::{extensions, formats};
use crate::sdp;

impl Checked {
    /// Drops what is not read after the round, which is most of it: the text is kept separately.
    pub(super) fn settle(&mut self) {
        let mut told = HashSet::new();
        self.sdp
            .session_mut()
            .settle(|name, value| name == "extmap" && extensions::is_known(value));
        for section in self.sdp.media_mut() {
            // A payload type means the same in every section that describes it.
            let mut news = formats::known(section);
            news.retain(|format| told.insert(format.clone()));
            let is_news = |value: &str| {
                let format = value.split_whitespace().next().unwrap_or_default();
                news.iter().any(|one| one == format)
            };
            section.settle(|name, value| match name {
                "mid" | "sctpmap" | "max-message-size" | "bundle-only" => true,
                "extmap" => extensions::is_known(value),
                "rtpmap" | "fmtp" => is_news(value),
                name => sdp::is_direction(name),
            });
        }
    }
}
