//! Datagram from any address, for a routing table with some connections: it belongs to none, or to the right one.

#![no_main]

use std::net::SocketAddr;

use callboard_transport::mux::{Demux, PacketClass, StunClass};
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
        let Ok(found) = demux.find(source, datagram) else { continue };
        assert_eq!(found.stun.is_some(), found.class == PacketClass::Stun);
        match found.stun.map(|stun| (stun.class, stun)) {
            Some((StunClass::Request, stun)) => {
                assert_eq!((stun.ufrag(), *found.target), (Some("evtj"), "by name"))
            }
            Some((StunClass::Response, stun)) => {
                assert_eq!((stun.transaction, *found.target), ([7; 12], "by name"))
            }
            _ => assert_eq!((source, *found.target), (known, "by address")),
        }
    }
    assert_eq!(demux.entries(), (1, 1, 1), "strangers leave nothing behind");
});
