//! The time of each hot part: `cargo bench -p micro`, or `cargo bench -p micro -- frame` for one.

use criterion::{Criterion, criterion_group, criterion_main};

fn hot(criterion: &mut Criterion) {
    for case in micro::CASES {
        criterion.bench_function(case.name, |bencher| bencher.iter((case.prepare)()));
    }
}

criterion_group!(benches, hot);
criterion_main!(benches);
