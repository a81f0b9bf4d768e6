//! How long does a decision take, and does it cost less than it saves?

use std::hint::black_box;
use std::time::Instant;

use pointsman_plan::{Job, Machine, Observation, Seconds, decide, turning_points};

const ROUNDS: u32 = 20_000;

#[allow(clippy::print_stdout, reason = "the figures are what a benchmark is for")]
fn main() {
    for cores in [2.0, 64.0] {
        let machine = Machine { cores, ..Machine::default() };
        let observation =
            Observation { calls: 3, held: Seconds::new(1e-3), wait: Seconds::new(1e-3), ..Observation::default() };
        let job = Job::of(1000);
        let start = Instant::now();
        for _ in 0..ROUNDS {
            black_box(decide(black_box(&observation), &machine, &job));
        }
        let one = start.elapsed() / ROUNDS;
        let start = Instant::now();
        let points = turning_points(&observation, &machine, &job);
        println!("{cores} cores: decide {one:?}, {} turning points {:?}", points.len(), start.elapsed());
    }
}
