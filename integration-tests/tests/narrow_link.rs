//! Division of bandwidth in a media room, to a viewer of three over a link that becomes narrow, and wide again.

use integration_tests::narrow_link::{LONGEST, LinkCut};

#[test]
fn a_narrow_link_is_divided_and_the_track_of_highest_priority_goes_on() {
    _ = env_logger::builder().is_test(true).try_init();
    let cut = LinkCut::run();

    println!("{cut:?}");
    assert!([cut.estimated, cut.gave_way, cut.wide_again].into_iter().all(|took| took < LONGEST));
    assert!(cut.packets > 0 && !cut.was_paused, "it was paused");
}
