//! Tests of the default allocator, of the targets and of starvation.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

const fn kbps(kilobits: u64) -> Bitrate {
    Bitrate::from_kbps(kilobits)
}

fn layer(encoding: usize, kilobits: u64, height: u32, fps: u32) -> Layer {
    Layer { height: Some(height), fps: Some(fps), ..Layer::new(encoding, kbps(kilobits)) }
}

/// Camera with simulcast: 150, 500 and 1,500 kbit/s.
fn camera() -> Demand {
    Demand::new(vec![layer(0, 150, 180, 30), layer(1, 500, 360, 30), layer(2, 1_500, 720, 30)])
}

fn screen() -> Demand {
    let wish = Wish { priority: 255, ..Wish::default() };
    Demand { wish, ..Demand::new(vec![layer(0, 1_000, 1_080, 15)]) }
}

fn granted(budget: Bitrate, demands: &[Demand]) -> Vec<Option<usize>> {
    let mut grants = Vec::new();
    allocate(&mut SpeakerFirst, budget, demands, &mut grants);
    grants.into_iter().map(Grant::layer).collect()
}

fn grants(budget: Bitrate, demands: &[Demand]) -> Vec<Grant> {
    let mut grants = Vec::new();
    allocate(&mut SpeakerFirst, budget, demands, &mut grants);
    grants
}

#[test]
fn each_track_gets_its_lowest_layer_before_one_gets_its_next() {
    let demands = [camera(), camera(), camera()];

    assert_eq!(granted(kbps(600), &demands), [Some(0), Some(0), Some(0)]);
    assert_eq!(granted(kbps(1_000), &demands), [Some(1), Some(0), Some(0)]);
    assert_eq!(granted(kbps(1_450), &demands), [Some(1), Some(1), Some(0)]);
    assert_eq!(granted(kbps(10_000), &demands), [Some(2), Some(2), Some(2)]);
}

#[test]
fn priority_comes_first_then_the_speaker_then_the_order() {
    let speaker = Demand { is_speaker: true, ..camera() };
    let pinned = |priority| {
        let wish = Wish { priority, ..Wish::default() };
        Demand { wish, ..camera() }
    };
    let demands = [camera(), speaker, pinned(1), pinned(2), screen()];

    let flows = |kilobits| {
        let granted = granted(kbps(kilobits), &demands);
        granted.iter().map(|layer| layer.is_some()).collect::<Vec<_>>()
    };

    assert_eq!(flows(1_230), [false, false, false, false, true]);
    assert_eq!(flows(1_410), [false, false, false, true, true]);
    assert_eq!(flows(1_600), [false, false, true, true, true]);
    assert_eq!(flows(1_780), [false, true, true, true, true]);
    assert_eq!(flows(1_960), [true; 5]);
}

#[test]
fn the_first_track_of_a_priority_goes_on_beyond_the_budget() {
    let pinned = |priority| Demand { wish: Wish { priority, ..Wish::default() }, ..camera() };
    let lowest = |cost| Demand { layers: vec![Layer::new(0, kbps(cost))], ..pinned(1) };

    assert_eq!(granted(kbps(1), &[camera(), pinned(1), pinned(2)]), [None, None, Some(0)]);
    assert_eq!(granted(kbps(1), &[camera(), Demand::default()]), [None, None]);
    // One that is too dear, and one that is paused by its wish.
    assert_eq!(granted(kbps(1), &[lowest(201), lowest(200)]), [None, None]);
    assert_eq!(granted(kbps(1), &[lowest(200), lowest(100)]), [Some(0), None]);
    let paused = Demand { wish: Wish { pause: true, ..pinned(2).wish }, ..camera() };
    assert_eq!(granted(kbps(1), &[paused, pinned(1)]), [None, Some(0)]);
}

#[test]
fn what_does_not_fit_is_passed_over() {
    assert_eq!(granted(kbps(500), &[screen(), camera()]), [None, Some(0)]);
}

#[test]
fn a_tenth_of_the_budget_is_left_and_an_upgrade_needs_a_tenth_more() {
    let mut demand = camera();
    assert_eq!(granted(kbps(611), &[demand.clone()]), [Some(0)]);
    assert_eq!(granted(kbps(612), &[demand.clone()]), [Some(1)]);

    demand.current = Some(1);
    assert_eq!(granted(kbps(556), &[demand.clone()]), [Some(1)]);
    assert_eq!(granted(kbps(555), &[demand]), [Some(0)]);
}

#[test]
fn the_lowest_layer_that_reaches_the_wish_is_enough() {
    let wish = |height, fps| Wish { height, fps, ..Wish::default() };
    let temporal = |wish| {
        let layers = vec![
            layer(0, 100, 180, 15),
            layer(0, 150, 180, 30),
            layer(1, 400, 360, 15),
            layer(1, 600, 360, 30),
            layer(2, 1_500, 720, 30),
        ];
        granted(kbps(100_000), &[Demand { wish, ..Demand::new(layers) }])[0]
    };

    assert_eq!(temporal(wish(None, None)), Some(4));
    assert_eq!(temporal(wish(Some(2_160), None)), Some(4));
    assert_eq!(temporal(wish(Some(200), None)), Some(3));
    assert_eq!(temporal(wish(Some(200), Some(10))), Some(2));
    assert_eq!(temporal(wish(Some(0), Some(0))), Some(0));
    assert_eq!(temporal(Wish { pause: true, ..Wish::default() }), None);
}

#[test]
fn the_lowest_layer_is_granted_where_none_is_as_wished() {
    let layers = vec![layer(0, 150, 180, 30), layer(1, 400, 360, 15)];
    let wish = Wish { height: Some(100), fps: Some(10), ..Wish::default() };

    assert_eq!(granted(kbps(10_000), &[Demand { wish, ..Demand::new(layers) }]), [Some(0)]);
}

#[test]
fn a_layer_that_costs_no_less_than_a_better_one_is_not_used() {
    let layers = vec![layer(0, 100, 180, 30), layer(1, 400, 360, 15), layer(2, 300, 720, 30)];
    let demands = [Demand::new(layers)];

    assert_eq!(granted(kbps(350), &demands), [Some(0)]);
    assert_eq!(granted(kbps(400), &demands), [Some(2)]);
}

#[test]
fn without_layers_or_bandwidth_all_is_paused() {
    assert_eq!(granted(kbps(1_000), &[Demand::default()]), [None]);
    assert_eq!(granted(Bitrate::ZERO, &[camera(), screen()]), [None, None]);
    assert_eq!(granted(kbps(1_000), &[]), []);
}

#[test]
fn bitrates_of_any_size_are_calculated_with() {
    let most = Bitrate::from_bps(u64::MAX);
    let demands = vec![Demand::new(vec![Layer::new(0, most)]); 3];

    assert_eq!(granted(most, &demands), [None; 3]);
    assert_eq!(
        Targets::new(Bitrate::ZERO, &demands, &[Grant::Paused; 3]),
        Targets { minimum: most, desired: most }
    );
    assert_eq!(kbps(64).to_string(), "64 kbit/s");
}

/// Allocator of an application that answers nonsense.
struct Nonsense;

impl Allocator for Nonsense {
    fn allocate(&mut self, _: Bitrate, _: &[Demand], grants: &mut Vec<Grant>) {
        grants.extend([Grant::Layer(2), Grant::Layer(3)]);
    }
}

#[test]
fn what_an_allocator_does_not_answer_properly_is_paused() {
    let mut grants = vec![Grant::Layer(9); 9];

    allocate(&mut Nonsense, kbps(1), &[camera(), camera(), camera()], &mut grants);
    assert_eq!(grants, [Grant::Layer(2), Grant::Paused, Grant::Paused]);

    allocate(&mut Nonsense, kbps(1), &[], &mut grants);
    assert_eq!(grants, []);
}

#[test]
fn targets_are_the_next_step_and_all_wishes() {
    let demands = [camera(), camera()];

    let targets = Targets::new(Bitrate::ZERO, &demands, &[Grant::Layer(1), Grant::Layer(0)]);
    assert_eq!(targets.minimum.as_bps(), 1_222_223, "1,000 kbit/s with both margins");
    assert_eq!(targets.desired.as_bps(), 3_666_667, "3,000 kbit/s");

    let all = Targets::new(Bitrate::ZERO, &demands, &[Grant::Layer(2), Grant::Layer(2)]);
    assert_eq!(all, Targets { minimum: Bitrate::ZERO, desired: targets.desired });

    let paused = Demand { wish: Wish { pause: true, ..Wish::default() }, ..camera() };
    let more =
        Targets::new(Bitrate::ZERO, &[camera(), paused], &[Grant::Layer(1), Grant::Layer(2)]);
    assert_eq!(more.desired.as_bps(), 1_833_334, "1,500 kbit/s");
    assert_eq!(more.minimum, more.desired, "an allocator may grant more than is wished");
}

#[test]
fn an_allocator_that_grants_less_than_the_budget_bears_is_not_helped_to_more() {
    let demands = [camera(), camera()];

    let targets = Targets::new(kbps(2_000), &demands, &[Grant::Layer(1), Grant::Layer(0)]);
    assert_eq!(targets.minimum, Bitrate::ZERO);
    assert_eq!(targets.desired.as_bps(), 794_445, "650 kbit/s with both margins");

    let targets = Targets::new(kbps(2_000), &demands, &[Grant::Paused, Grant::Paused]);
    assert_eq!(targets, Targets::default());
}

/// Guide with an estimate of 1 kbit/s, and the time in seconds from its beginning.
struct Hungry {
    guide: guide::Guide,
    start: Instant,
    demands: Vec<Demand>,
}

impl Hungry {
    fn new(demands: Vec<Demand>) -> Self {
        #[expect(clippy::disallowed_methods, reason = "a start to count from")]
        let start = Instant::now();
        Self { guide: guide::Guide::default(), start, demands }
    }

    fn advice(&mut self, at: u64, estimate: Option<Bitrate>, grant: Grant) -> guide::Advice {
        let now = self.start + Duration::from_secs(at);
        let grants = vec![grant; self.demands.len()];
        self.guide.handle_grants(now, (estimate, Bitrate::ZERO), &self.demands, &grants)
    }

    /// Returns the bitrate of a reset at this time, if there is one, while all is paused.
    fn starves(&mut self, at: u64) -> Option<Bitrate> {
        self.advice(at, Some(kbps(1)), Grant::Paused).reset
    }

    /// Returns when the next reset is due.
    fn due(&self) -> Option<u64> {
        Some(self.guide.poll_timeout()?.duration_since(self.start).as_secs())
    }
}

#[test]
fn a_viewer_for_whom_nothing_flows_is_reset_after_five_seconds_and_then_more_seldom() {
    let mut viewer = Hungry::new(vec![camera(), screen()]);

    assert_eq!(viewer.starves(0), None);
    assert_eq!(viewer.due(), Some(5));
    assert_eq!(viewer.starves(4), None);
    let reset = viewer.starves(5).expect("a reset");
    assert_eq!(granted(reset, &viewer.demands), [Some(0), None], "it suffices for the cheapest");
    assert_eq!(viewer.starves(14), None);
    assert!(viewer.starves(15).is_some());

    // The reset itself lets something flow for a while.
    assert_eq!(viewer.advice(16, Some(reset), Grant::Layer(0)).reset, None);
    assert_eq!(viewer.due(), None);
    assert_eq!(viewer.starves(20), None);
    assert_eq!(viewer.due(), Some(40));
    assert!(viewer.starves(40).is_some());
    assert_eq!(viewer.due(), Some(80));
    assert!(viewer.starves(80).is_some() && viewer.starves(140).is_some());
    assert_eq!(viewer.due(), Some(200), "once a minute at last");

    viewer.advice(150, Some(reset), Grant::Layer(0));
    viewer.advice(170, Some(reset), Grant::Layer(0));
    assert_eq!(viewer.starves(180), None);
    assert_eq!(viewer.due(), Some(185), "after half a minute without starvation");
}

#[test]
fn a_viewer_whose_estimate_is_gone_does_not_starve() {
    let mut viewer = Hungry::new(vec![camera()]);
    viewer.starves(0);
    let told = viewer.advice(1, Some(kbps(1)), Grant::Paused).targets.expect("targets");
    viewer.guide.told(told);
    assert_eq!(viewer.advice(2, Some(kbps(1)), Grant::Paused).targets, None);

    assert_eq!(viewer.advice(3, None, Grant::Paused), guide::Advice::default());

    assert_eq!(viewer.due(), None);
    // With the next estimate it is told its targets anew.
    assert_eq!(viewer.advice(4, Some(kbps(1)), Grant::Paused).targets, Some(told));
    assert_eq!(viewer.due(), Some(9));
}

#[test]
fn a_viewer_that_wishes_nothing_does_not_starve() {
    let wish = Wish { pause: true, ..Wish::default() };
    let mut viewer = Hungry::new(vec![Demand { wish, ..camera() }, Demand::default()]);

    assert_eq!(viewer.starves(0), None);

    assert_eq!(viewer.due(), None);
}

fn demand() -> impl Strategy<Value = Demand> {
    let layer = (0..2_000u64, proptest::option::of(0..1_080u32), proptest::option::of(0..60u32));
    let layers = proptest::collection::vec(layer, 0..7).prop_map(|layers| {
        let layers = layers.into_iter().enumerate();
        let layers = layers.map(|(encoding, (kilobits, height, fps))| {
            let layer = Layer::new(encoding, kbps(kilobits));
            Layer { height, fps, ..layer }
        });
        layers.collect::<Vec<_>>()
    });
    let wish = (
        proptest::option::of(0..1_080u32),
        proptest::option::of(0..60u32),
        0..3u8,
        proptest::bool::weighted(0.1),
    );
    (any::<bool>(), wish, layers, proptest::option::of(0..7usize)).prop_map(
        |(is_speaker, (height, fps, priority, pause), layers, current)| Demand {
            is_speaker,
            wish: Wish { height, fps, priority, pause },
            current: current.filter(|&current| current < layers.len()),
            layers,
        },
    )
}

/// Returns the demands as if these grants flowed.
fn flowing(demands: &[Demand], grants: &[Grant]) -> Vec<Demand> {
    let flowing = demands.iter().zip(grants);
    flowing.map(|(demand, grant)| Demand { current: grant.layer(), ..demand.clone() }).collect()
}

/// Steps in the order in which the allocator considers them, and whether they are granted.
fn decisions(demands: &[Demand], grants: &[Grant]) -> Vec<bool> {
    let mut order: Vec<_> = (0..demands.len()).collect();
    order.sort_by_key(|&index| {
        let demand = &demands[index];
        (255 - demand.wish.priority, !demand.is_speaker, index)
    });
    let ladders: Vec<_> = demands.iter().map(ladder::Ladder::of).collect();
    let steps = |index: usize| {
        let ladder = &ladders[index];
        std::iter::successors(ladder.after(None), |&at| ladder.after(Some(at)))
    };
    let rounds = (0..7).flat_map(|round| order.iter().map(move |&index| (round, index)));
    rounds
        .filter_map(|(round, index)| {
            let step = steps(index).nth(round)?;
            Some(grants[index].layer().is_some_and(|layer| layer >= step))
        })
        .collect()
}

proptest! {
    #[test]
    fn grants_cost_more_than_nine_tenths_of_the_budget_only_where_one_is_pinned(
        demands in proptest::collection::vec(demand(), 0..12), budget in 0..20_000u64,
    ) {
        let grants = grants(kbps(budget), &demands);

        prop_assert_eq!(grants.len(), demands.len());
        let total = total(&demands, &grants);
        if total > kbps(budget).percent(90) {
            let flows = |(demand, grant): &(&Demand, &Grant)| {
                grant.layer().is_some().then_some(demand.wish.priority)
            };
            let flowing: Vec<_> = demands.iter().zip(&grants).filter_map(|it| flows(&it)).collect();
            prop_assert!(total <= kbps(200) && flowing.len() == 1 && flowing[0] > 0);
        }
        for (demand, grant) in demands.iter().zip(&grants) {
            prop_assert!(!demand.wish.pause || *grant == Grant::Paused);
        }
    }

    /// With a larger budget, the first decision that changes is one for more.
    #[test]
    fn more_budget_is_never_less_for_what_comes_first(
        demands in proptest::collection::vec(demand(), 0..12),
        budget in 0..20_000u64,
        more in 0..5_000u64,
    ) {
        let less = decisions(&demands, &grants(kbps(budget), &demands));
        let more = decisions(&demands, &grants(kbps(budget + more), &demands));

        prop_assert!(more >= less, "{:?} {:?}", less, more);
    }

    #[test]
    fn no_track_is_paused_or_kept_low_for_which_there_is_bandwidth(
        demands in proptest::collection::vec(demand(), 0..12), budget in 0..20_000u64,
    ) {
        let grants = grants(kbps(budget), &demands);

        let used = total(&demands, &grants);
        for (demand, grant) in demands.iter().zip(&grants) {
            let granted = grant.layer();
            if let Some(next) = ladder::Ladder::of(demand).after(granted) {
                let total = used - ladder::cost(demand, granted) + ladder::cost(demand, Some(next));
                prop_assert!(total.percent(110) > kbps(budget).percent(90));
            }
        }
        let lowest: Bitrate = demands
            .iter()
            .map(|demand| ladder::cost(demand, ladder::Ladder::of(demand).after(None)))
            .sum();
        if lowest.percent(110) <= kbps(budget).percent(90) {
            for (demand, grant) in demands.iter().zip(&grants) {
                let may_flow = !demand.wish.pause && !demand.layers.is_empty();
                prop_assert_eq!(grant.layer().is_some(), may_flow, "all lowest layers fit");
            }
        }
    }

    #[test]
    fn grants_that_flow_are_granted_again(
        demands in proptest::collection::vec(demand(), 0..12), budget in 0..20_000u64,
    ) {
        let first = grants(kbps(budget), &demands);
        prop_assert_eq!(&grants(kbps(budget), &demands), &first);

        let again = grants(kbps(budget), &flowing(&demands, &first));

        prop_assert_eq!(again, first);
    }

    /// What the estimator looks for is enough for the next step, until all wishes are met.
    #[test]
    fn a_viewer_climbs_from_target_to_target(
        mut demands in proptest::collection::vec(demand(), 0..6), budget in 0..5_000u64,
    ) {
        let mut budget = kbps(budget);
        for _ in 0..2_000 {
            let granted = grants(budget, &demands);
            demands = flowing(&demands, &granted);
            let targets = Targets::new(budget, &demands, &granted);
            prop_assert!(targets.minimum <= targets.desired);
            if targets.minimum == Bitrate::ZERO {
                let wished = demands.iter().map(|demand| ladder::Ladder::of(demand).top());
                prop_assert!(wished.eq(granted.iter().map(|grant| grant.layer())));
                return Ok(());
            }
            prop_assert_ne!(&grants(targets.minimum.max(budget), &demands), &granted);
            budget = targets.minimum.max(budget);
        }
        prop_assert!(false, "it does not reach its wishes");
    }
}
