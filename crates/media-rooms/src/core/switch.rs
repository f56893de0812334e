//! Choice of what flows to one viewer: one encoding of a track at a time, changed only where a decoder can follow.

/// Encoding of a track: its place among the encodings of simulcast, the lowest first; 0 where there is only one.
pub(crate) type Encoding = u8;

/// Switch between the encodings and temporal layers of one track.
#[derive(Clone, Debug, Default)]
pub(crate) struct Switch {
    current: Option<Encoding>,
    target: Option<Encoding>,
    layers: Layers,
}

/// Temporal layers: changed between frames, never within one.
#[derive(Clone, Copy, Debug, Default)]
struct Layers {
    /// Highest layer that flows, and the one that flowed before.
    now: u8,
    before: u8,
    wanted: u8,
    /// Time of the newest frame.
    frame: u32,
}

/// Packet, as far as the switch looks at it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) encoding: Encoding,
    /// Whether a decoder can begin here.
    pub(crate) entry: bool,
    pub(crate) temporal: u8,
    pub(crate) layer_sync: bool,
    pub(crate) timestamp: u32,
}

/// Decision on a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Not of the encoding that flows.
    Ignore,
    /// The first of the encoding that flows from now on.
    Begin,
    Forward,
    /// Of the encoding that flows, but of a temporal layer that does not.
    LeaveOut,
}

impl Switch {
    /// Sets what should flow: this encoding, with temporal layers up to this one.
    pub(crate) fn aim(&mut self, encoding: Encoding, temporal: u8) {
        self.layers.wanted = temporal;
        self.target = Some(encoding).filter(|_| self.current != Some(encoding));
    }

    /// Lets nothing flow.
    pub(crate) fn pause(&mut self) {
        (self.current, self.target) = (None, None);
    }

    /// Returns the encoding that flows.
    pub(crate) fn current(&self) -> Option<Encoding> {
        self.current
    }

    /// Returns the encoding that needs a key frame.
    pub(crate) fn waits_for(&self) -> Option<Encoding> {
        self.target
    }

    /// Decides on a packet.
    pub(crate) fn decide(&mut self, seen: Seen) -> Verdict {
        if self.waits_for() == Some(seen.encoding) {
            if !seen.entry {
                return Verdict::Ignore;
            }
            (self.current, self.target) = (Some(seen.encoding), None);
            self.layers.begin(seen);
            return Verdict::Begin;
        }
        if self.current != Some(seen.encoding) {
            Verdict::Ignore
        } else if seen.temporal <= self.layers.up_to(seen) {
            Verdict::Forward
        } else {
            Verdict::LeaveOut
        }
    }
}

impl Layers {
    fn begin(&mut self, seen: Seen) {
        (self.now, self.before, self.frame) = (self.wanted, self.wanted, seen.timestamp);
    }

    /// Returns the highest layer that flows in the packet's frame.
    fn up_to(&mut self, seen: Seen) -> u8 {
        let age = self.frame.wrapping_sub(seen.timestamp).cast_signed();
        if age > 0 {
            // It comes late, and may be one of a frame that was left out.
            return self.now.min(self.before);
        }
        if age < 0 {
            (self.frame, self.before) = (seen.timestamp, self.now);
            if self.wanted < self.now {
                self.now = self.wanted;
            } else if seen.layer_sync && seen.temporal > self.now {
                self.now = seen.temporal.min(self.wanted);
            }
        }
        self.now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(encoding: Encoding, entry: bool) -> Seen {
        Seen { encoding, entry, temporal: 0, layer_sync: false, timestamp: 0 }
    }

    fn layer(timestamp: u32, temporal: u8, layer_sync: bool) -> Seen {
        Seen { encoding: 0, entry: false, temporal, layer_sync, timestamp }
    }

    #[test]
    fn a_viewer_begins_with_a_key_frame() {
        let mut switch = Switch::default();
        assert_eq!(switch.decide(seen(0, true)), Verdict::Ignore, "nothing is wished");

        switch.aim(0, 0);

        assert_eq!(switch.waits_for(), Some(0));
        assert_eq!(switch.decide(seen(0, false)), Verdict::Ignore);
        assert_eq!(switch.decide(seen(1, true)), Verdict::Ignore, "another encoding");
        assert_eq!(switch.decide(seen(0, true)), Verdict::Begin);
        assert_eq!(switch.decide(seen(0, false)), Verdict::Forward);
        assert_eq!(switch.waits_for(), None);
    }

    #[test]
    fn the_old_encoding_flows_until_the_new_one_begins() {
        let mut switch = Switch::default();
        switch.aim(0, 0);
        switch.decide(seen(0, true));

        switch.aim(2, 0);

        assert_eq!(switch.decide(seen(2, false)), Verdict::Ignore);
        assert_eq!(switch.decide(seen(0, true)), Verdict::Forward);
        assert_eq!(switch.decide(seen(2, true)), Verdict::Begin);
        assert_eq!(switch.decide(seen(0, true)), Verdict::Ignore);
        assert_eq!(switch.current(), Some(2));
    }

    #[test]
    fn temporal_layers_go_down_with_the_next_frame_and_up_where_they_can() {
        let mut switch = Switch::default();
        switch.aim(0, 2);
        switch.decide(Seen { entry: true, ..layer(0, 0, false) });
        assert_eq!(switch.decide(layer(10, 2, false)), Verdict::Forward);

        switch.aim(0, 0);

        assert_eq!(switch.decide(layer(10, 2, false)), Verdict::Forward, "within the frame");
        assert_eq!(switch.decide(layer(20, 1, false)), Verdict::LeaveOut);
        assert_eq!(switch.decide(layer(30, 0, false)), Verdict::Forward);

        switch.aim(0, 2);

        assert_eq!(switch.decide(layer(40, 1, false)), Verdict::LeaveOut, "it refers to layer 1");
        assert_eq!(switch.decide(layer(50, 1, true)), Verdict::Forward);
        assert_eq!(switch.decide(layer(60, 2, false)), Verdict::LeaveOut);
        assert_eq!(switch.decide(layer(70, 2, true)), Verdict::Forward);
        assert_eq!(switch.decide(layer(80, 2, false)), Verdict::Forward);
    }

    #[test]
    fn what_comes_late_of_a_frame_that_was_left_out_is_left_out() {
        let mut switch = Switch::default();
        switch.aim(0, 0);
        switch.decide(Seen { entry: true, ..layer(u32::MAX, 0, false) });
        assert_eq!(switch.decide(layer(10, 1, false)), Verdict::LeaveOut);
        switch.aim(0, 1);

        assert_eq!(switch.decide(layer(20, 1, true)), Verdict::Forward);
        assert_eq!(switch.decide(layer(10, 1, false)), Verdict::LeaveOut);
        assert_eq!(switch.decide(layer(10, 0, false)), Verdict::Forward);
    }

    #[test]
    fn a_paused_viewer_begins_anew() {
        let mut switch = Switch::default();
        switch.aim(0, 0);
        switch.decide(seen(0, true));
        switch.pause();

        assert_eq!(switch.decide(seen(0, true)), Verdict::Ignore);
        switch.aim(0, 0);
        assert_eq!(switch.decide(seen(0, false)), Verdict::Ignore);
        assert_eq!(switch.decide(seen(0, true)), Verdict::Begin);
    }
}
