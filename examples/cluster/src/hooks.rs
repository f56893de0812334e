//! Functions that pages call.

use std::future::ready;

use callboard_signaling::Rejection;
use callboard_signaling::rpc::{HookContext, HookNameError, Hooks};

use crate::faults::{Fault, Order};
use crate::guest::Place;

/// Returns both, in the plugin `cluster`: where a page is, and faults, if it may order them. Then who may open the page
/// may kill nodes.
pub(crate) fn hooks(place: Place) -> Result<Hooks, HookNameError> {
    let allowed = place.has_faults();
    let order = move |(node, fault): (String, Fault), _: HookContext| {
        let passed = match allowed {
            true => Order::pass_on(node, fault).map_err(|error| Rejection::new(error.to_string())),
            false => Err(Rejection::new("faults are off")),
        };
        ready(passed)
    };
    let told =
        move |(): (), context: HookContext| ready(Ok::<_, Rejection>(place.told(&context.room)));
    Hooks::builder()
        .plugin("cluster", |cluster| cluster.hook("fault", order).hook("place", told))
        .build()
}
