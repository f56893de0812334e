//! Benchmark of the routing table's lookup with 1, 100 and 10,000 connections: its cost must stay flat.

use std::hint::black_box;
use std::net::SocketAddr;

use callboard_transport::mux::Demux;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

fn demux(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("demux");
    for routes in [1_u32, 100, 10_000] {
        let mut demux = Demux::default();
        for number in 0..routes {
            let id = demux.open(number);
            demux.add_ufrag(id, &format!("user{number:08}")).expect("each is somebody else's");
            demux.validate(id, address(number));
        }
        let numbers: Vec<u32> = (0..1_000).map(|round| (round * 7_919) % routes).collect();
        let requests: Vec<Vec<u8>> = numbers.iter().map(|number| request(*number)).collect();
        group.bench_with_input(BenchmarkId::new("by address", routes), &demux, |bencher, demux| {
            let mut turn = numbers.iter().cycle();
            bencher.iter(|| {
                let number = *turn.next().expect("it goes round");
                black_box(demux.find(address(number), &[128; 12]).expect("it is known"));
            });
        });
        group.bench_with_input(BenchmarkId::new("by ufrag", routes), &demux, |bencher, demux| {
            let mut turn = requests.iter().cycle();
            bencher.iter(|| {
                black_box(
                    demux
                        .find(address(0), turn.next().expect("it goes round"))
                        .expect("it is known"),
                )
            });
        });
        group.bench_with_input(BenchmarkId::new("nobody's", routes), &demux, |bencher, demux| {
            bencher.iter(|| black_box(demux.find(address(u32::MAX), &[128; 12]).unwrap_err()));
        });
    }
    group.finish();
}

fn address(number: u32) -> SocketAddr {
    SocketAddr::from((number.to_be_bytes(), 5_000))
}

fn request(number: u32) -> Vec<u8> {
    let name = format!("user{number:08}:peer0000");
    let mut request = vec![0, 1, 0, 28, 0x21, 0x12, 0xa4, 0x42];
    request.extend([7; 12]);
    request.extend([0, 6, 0, name.len() as u8]);
    request.extend(name.as_bytes());
    request.resize(48, 0);
    request
}

criterion_group!(benches, demux);
criterion_main!(benches);
