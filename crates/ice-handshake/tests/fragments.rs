//! Fragments of messages that never become whole. A separate test, since it measures the memory of its process.

mod wire;

use bytes::Bytes;
use callboard_ice_handshake::handshake::*;
use wire::*;

#[test]
fn t4_fragments_of_messages_that_never_come_cost_no_memory() {
    let fragment = |kind: u8, sequence: u16, length: u32, offset: u32, body: &[u8]| {
        let mut packet = vec![22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0];
        packet.extend(sequence.to_be_bytes());
        packet.extend(((body.len() + 12) as u16).to_be_bytes());
        packet.push(kind);
        packet.extend(&length.to_be_bytes()[1..]);
        packet.extend(sequence.to_be_bytes());
        packet.extend(&offset.to_be_bytes()[1..]);
        packet.extend(&(body.len() as u32).to_be_bytes()[1..]);
        packet.extend(body);
        Bytes::from(packet)
    };
    for version in VERSIONS {
        for role in [Role::Client, Role::Server] {
            let (client, server) = acquainted(version);
            let mut pair = Pair::new(&client, &server).ready();
            pair.step();
            let mut victim = match role {
                Role::Client => pair.client.handshake.take().unwrap(),
                Role::Server => pair.server.handshake.take().unwrap(),
            };
            let before = resident();
            for round in 0..2_000_u32 {
                for kind in [1, 2, 11, 16] {
                    // A message of 16 MiB that is never continued; overlapping fragments; empty fragments.
                    for (offset, body) in
                        [(round * 900, &[7; 900][..]), (round / 2, &[9; 500][..]), (round, &[][..])]
                    {
                        _ = victim.recv_from_peer(
                            pair.now,
                            &fragment(kind, (round % 5) as u16, 0xff_ffff, offset, body),
                        );
                    }
                }
            }
            let grown = resident().saturating_sub(before);
            println!("{version:?} {role:?}: {grown} bytes more");
            assert!(
                grown < 1 << 20,
                "{version:?} {role:?}: {grown} bytes more after 24,000 fragments"
            );
        }
    }
}

/// Returns the resident memory of this process in bytes.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4_096
}
