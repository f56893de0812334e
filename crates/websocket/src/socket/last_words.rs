//! How long the socket of a suspended client is read, so that what it sends before it has read the goodbye is handled.

use std::time::Duration;

/// Decides at each look whether the close frame of the client is still waited for. One that sends something else
/// has not read ours yet: no other process would get that.
pub(super) struct LastWords {
    /// Looks that are left.
    looks: u32,
    /// Looks without anything heard that are left. More than one, because after a standstill of the socket's thread the
    /// first look comes before what has arrived meanwhile.
    silent: u32,
}

impl Default for LastWords {
    fn default() -> Self {
        Self { looks: LOOKS, silent: SILENT_LOOKS }
    }
}

impl LastWords {
    /// Handles a look, which comes each [`LOOK`]; returns whether there is another.
    pub(super) fn look(&mut self, heard: bool) -> bool {
        self.silent = if heard { SILENT_LOOKS } else { self.silent.saturating_sub(1) };
        self.looks = self.looks.saturating_sub(1);
        self.looks > 0 && self.silent > 0
    }
}

/// Interval at which it is looked whether a client that is suspended sends.
pub(super) const LOOK: Duration = Duration::from_millis(250);
/// Number of looks that find nothing, after which its close frame is not waited for: a second.
const SILENT_LOOKS: u32 = 4;
/// Number of looks at most.
const LOOKS: u32 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns how many looks there are if something is heard before those for which this is true.
    fn looks(heard: impl Fn(u32) -> bool) -> u32 {
        let mut words = LastWords::default();
        (1..).find(|look| !words.look(heard(*look))).unwrap()
    }

    #[test]
    fn a_silent_client_is_waited_for_a_second() {
        assert_eq!(looks(|_| false) * LOOK, Duration::from_secs(1));
    }

    #[test]
    fn each_message_of_a_client_begins_the_second_anew() {
        assert_eq!(looks(|look| look == 3), 3 + SILENT_LOOKS);
        assert_eq!(looks(|look| look == 3 || look == 6), LOOKS);
    }

    #[test]
    fn a_client_that_does_not_stop_sending_is_heard_for_no_longer_than_this() {
        assert_eq!(looks(|_| true) * LOOK, Duration::from_millis(2_500));
    }
}
