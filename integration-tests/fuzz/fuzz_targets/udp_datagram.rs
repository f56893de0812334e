//! A datagram from anyone, at a routing table that knows some connections: it is nobody's, or the right one's.

#![no_main]

use std::net::SocketAddr;

use callboard_transport::mux::{Demux, PacketClass, Stun};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|datagram: &[u8]| {
    let (known, unknown) =
        (SocketAddr::from(([192, 0, 2, 1], 1)), SocketAddr::from(([192, 0, 2, 2], 2)));
    let mut demux = Demux::default();
    let (by_name, by_address) = (demux.open("by name"), demux.open("by address"));
    demux.add_ufrag(by_name, "evtj").unwrap();
    demux.validate(by_address, known);
    demux.expect_response(by_name, [7; 12]);

    for source in [known, unknown] {
        let Ok((_, class, target)) = demux.find(source, datagram) else { continue };
        match (class, Stun::parse(datagram)) {
            (PacketClass::Stun, Some(Stun::Request { ufrag, .. })) => {
                assert_eq!((ufrag, *target), (Some("evtj"), "by name"))
            }
            (PacketClass::Stun, Some(Stun::Response { transaction })) => {
                assert_eq!((transaction, *target), ([7; 12], "by name"))
            }
            _ => assert_eq!((source, *target), (known, "by address")),
        }
    }
    assert_eq!(demux.entries(), (1, 1, 1), "strangers leave nothing behind");
});
