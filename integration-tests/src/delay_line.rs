//! Link between two networks on which everything takes a while. Not every kernel has netem, so a program does it.

use std::time::Duration;

use crate::namespace::{End, Namespace};
use crate::{PATIENCE, PythonPeer};

/// Such a link, up to the end of this value.
#[derive(Debug)]
pub struct DelayLine {
    _program: PythonPeer,
}

impl DelayLine {
    /// Connects two networks: an interface and its address (`10.0.0.1/24`) in each. What is sent arrives after `delay`,
    /// and some tenths of a millisecond more.
    ///
    /// # Panics
    ///
    /// Without root, and where there is no `/dev/net/tun`.
    pub async fn connect(
        near: (&Namespace, End<'_>),
        far: (&Namespace, End<'_>),
        delay: Duration,
    ) -> Self {
        let (here, (name, _)) = near;
        let (there, (far_name, _)) = far;
        let delay = (delay.as_secs_f64() * 1e3).to_string();
        let mut program = PythonPeer::start(here, "delay_line.py", &[name, far_name, &delay], &[]);
        program.event("ready", PATIENCE).await;
        here.hand_over(far_name, there);
        for (namespace, (name, address)) in [near, far] {
            namespace.ip(&format!("link set {name} addrgenmode none"));
            namespace.ip(&format!("address add {address} dev {name}"));
            namespace.ip(&format!("link set {name} up"));
        }
        Self { _program: program }
    }
}
