//! Tests that need an interpreter, and parts of the probe that Python cannot reach.

use std::ffi::CString;
use std::thread;
use std::time::{Duration, Instant};

use pyo3::prelude::*;

use super::gil::{self, View};
use super::sampler::Sampler;
use super::{Inner, Probe};

fn blind_probe() -> Probe {
    static BLIND: View = View::Unseen;
    let forks = super::clocks::forks();
    let inner = Inner { sampler: Sampler::start(&BLIND), forks, number: 0, begun: None };
    Probe { inner: inner.into(), gil: &BLIND }
}

fn spin(seconds: f64) {
    let begun = Instant::now();
    while begun.elapsed().as_secs_f64() < seconds {
        std::hint::spin_loop();
    }
}

fn spin_in_python(py: Python<'_>) {
    let code = "import time\nuntil = time.perf_counter() + 0.3\nwhile time.perf_counter() < until: pass";
    py.run(&CString::new(code).unwrap(), None, None).unwrap();
}

/// Observes `work` with a probe that sees nothing, while a second thread waits for a checkpoint.
fn knocked(work: impl FnOnce(Python<'_>)) -> super::Sample {
    Python::initialize();
    let probe = blind_probe();
    thread::scope(|scope| {
        Python::attach(|py| {
            probe.begin(py, 0.0).unwrap();
            let pilot = scope.spawn(|| Python::attach(|py| probe.wait_checkpoint(py, 0.2).unwrap()));
            work(py);
            probe.end(py).unwrap();
            py.detach(|| pilot.join().unwrap()).unwrap()
        })
    })
}

#[test]
fn every_way_to_see_the_gil_that_fits_this_interpreter_tells_the_truth() {
    Python::initialize();
    Python::attach(|py| {
        let views: Vec<View> = gil::candidates(py).collect();

        assert!(!views.is_empty());
        for view in views {
            assert!(gil::tells_the_truth(py, &view), "{}", view.method());
        }
    });
}

#[test]
fn a_view_that_always_says_no_is_not_believed() {
    Python::initialize();
    Python::attach(|py| assert!(!gil::tells_the_truth(py, &View::Unseen)));
}

#[test]
fn the_search_leaves_the_switch_interval_as_it_was() {
    Python::initialize();
    Python::attach(|py| {
        let interval =
            || -> f64 { py.import("sys").unwrap().call_method0("getswitchinterval").unwrap().extract().unwrap() };
        let before = interval();
        assert!(gil::candidates(py).count() > 0);

        assert!((interval() - before).abs() < 1e-9);
    });
}

/// One test, since tests run side by side, and the one that keeps the GIL would be heard by the other.
#[test]
fn knocking_tells_a_call_that_keeps_the_gil_from_one_that_lets_it_go() {
    let kept = knocked(spin_in_python);
    let let_go = knocked(|py| py.detach(|| spin(0.3)));

    assert!(kept.held_share > 0.5, "{kept:?}");
    assert!(let_go.held_share < 0.5, "{let_go:?}");
    assert_eq!((kept.samples, kept.supported), (0, false));
}

#[test]
fn a_look_that_comes_after_the_end_is_thrown_away() {
    Python::initialize();
    Python::attach(|py| {
        let probe = Probe::new(py);
        for _ in 0..200 {
            probe.begin(py, 0.0).unwrap();
            spin(60e-6);
            let first = probe.end(py).unwrap();
            probe.begin(py, 1e6).unwrap();
            thread::sleep(Duration::from_micros(50));
            let second = probe.end(py).unwrap();

            assert_eq!(second.samples, 0, "{first:?} {second:?}");
        }
    });
}
