//! Core of the server's offers: when it may offer, and what follows when an offer is late or is not answered. It takes
//! no times: its shell runs the timers.

/// State of the server's offers.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    current: Round,
    pause: Pause,
}

/// Number of a round of offer and answer, by which a timer recognises that its round is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Round(u64);

/// Reason why no offer is made meanwhile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Pause {
    #[default]
    None,
    /// The client has left an offer unanswered: the next one follows a round that the client starts.
    Unanswered,
    /// The peer connection took too long to make an offer: the next one follows after a while. `rolled_back`: whether
    /// it has been told to roll back what it may still make.
    Late { rolled_back: bool },
}

/// What follows when the pause after a late offer is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AfterPause {
    Offer,
    /// Roll the late offer back, for which there was no room before, and pause again.
    RollBack,
    /// There has been another round meanwhile.
    Nothing,
}

impl Rounds {
    pub(super) fn may_offer(&self) -> bool {
        self.pause == Pause::None
    }

    /// Notes that an offer has been made; returns its round.
    pub(super) fn offered(&mut self) -> Round {
        self.next()
    }

    /// Returns whether the offer of this round is still open.
    pub(super) fn is_unanswered(&self, round: Round) -> bool {
        self.current == round
    }

    /// Notes that the open offer is taken back, since the client has not answered it.
    pub(super) fn withdraw(&mut self) {
        self.pause = Pause::Unanswered;
    }

    /// Notes that the peer connection has not made an offer in time; returns the round of the pause.
    pub(super) fn late(&mut self, rolled_back: bool) -> Round {
        self.pause = Pause::Late { rolled_back };
        self.next()
    }

    /// Handles the end of the pause of this round.
    pub(super) fn pause_over(&mut self, round: Round) -> AfterPause {
        match self.pause {
            Pause::Late { rolled_back: true } if self.current == round => {
                self.pause = Pause::None;
                AfterPause::Offer
            }
            Pause::Late { rolled_back: false } if self.current == round => AfterPause::RollBack,
            _ => AfterPause::Nothing,
        }
    }

    /// Notes that no offer is open any more: the client has answered, or its own offer was answered, or the peer
    /// connection is another one.
    pub(super) fn settled(&mut self) {
        self.pause = Pause::None;
        self.next();
    }

    fn next(&mut self) -> Round {
        self.current.0 += 1;
        self.current
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_offer_is_made_again_after_a_pause() {
        let mut rounds = Rounds::default();
        assert!(rounds.may_offer());

        let pause = rounds.late(true);
        assert!(!rounds.may_offer(), "not before its time");
        assert_eq!(rounds.pause_over(pause), AfterPause::Offer);
        assert!(rounds.may_offer());
        assert_eq!(rounds.pause_over(pause), AfterPause::Nothing, "once");
    }

    #[test]
    fn a_late_offer_that_could_not_be_rolled_back_is_rolled_back_before_another_is_made() {
        let mut rounds = Rounds::default();

        for _ in 0..3 {
            let pause = rounds.late(false);
            assert_eq!(rounds.pause_over(pause), AfterPause::RollBack);
            assert!(!rounds.may_offer(), "the first one may still be made");
        }
        let pause = rounds.late(true);
        assert_eq!(rounds.pause_over(pause), AfterPause::Offer);
    }

    #[test]
    fn a_round_of_the_client_ends_the_pause_after_a_late_offer() {
        let mut rounds = Rounds::default();
        let pause = rounds.late(true);

        rounds.settled();

        assert!(rounds.may_offer());
        assert_eq!(rounds.pause_over(pause), AfterPause::Nothing);
        // Also if the next offer is late in its turn.
        let second = rounds.late(true);
        assert_eq!(rounds.pause_over(pause), AfterPause::Nothing);
        assert!(!rounds.may_offer());
        assert_eq!(rounds.pause_over(second), AfterPause::Offer);
    }

    #[test]
    fn an_offer_is_unanswered_until_its_round_is_over() {
        let mut rounds = Rounds::default();
        let first = rounds.offered();
        assert!(rounds.is_unanswered(first) && rounds.may_offer());

        rounds.settled();
        assert!(!rounds.is_unanswered(first));
        let second = rounds.offered();
        assert!(!rounds.is_unanswered(first) && rounds.is_unanswered(second));
    }

    #[test]
    fn after_an_unanswered_offer_the_next_one_waits_for_the_client() {
        let mut rounds = Rounds::default();
        let pause = rounds.late(true);
        assert_eq!(rounds.pause_over(pause), AfterPause::Offer);
        rounds.offered();

        rounds.withdraw();

        assert!(!rounds.may_offer());
        assert_eq!(rounds.pause_over(pause), AfterPause::Nothing, "no pause ends by itself");
        rounds.settled();
        assert!(rounds.may_offer());
    }
}
