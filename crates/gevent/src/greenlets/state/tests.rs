//! The stages of a greenlet, tested without one.

use super::*;

fn in_python(test: impl FnOnce(Python<'_>)) {
    Python::initialize();
    Python::attach(test);
}

#[test]
fn only_a_greenlet_with_a_loop_is_scheduled() {
    in_python(|py| {
        let mut state = State::blank();
        assert!(!state.can_be_scheduled());
        assert!(matches!(state.schedule(py), Scheduled::Refused));
        assert!(!state.begin());
        assert!(state.may_begin() && !state.is_active() && !state.is_over());
    });
}

#[test]
fn each_stage_allows_what_it_allows() {
    in_python(|py| {
        let mut state = State::blank();
        state.stage = Stage::Scheduled;
        assert!(matches!(state.schedule(py), Scheduled::Before));
        assert!(state.is_active() && state.may_begin());
        assert!(state.begin());
        assert!(!state.begin(), "a greenlet begins once");
        assert!(state.is_active() && !state.may_begin());
        assert!(matches!(state.cancel(py), Cancelled::TooLate));
        assert!(state.visited().is_some());
        assert!(state.end(Ended::Value(py.None())).is_none());
        assert!(state.has_ended() && state.has_succeeded() && state.is_over());
        assert!(!state.is_active() && state.visited().is_none());
        assert!(matches!(state.cancel(py), Cancelled::TooLate));
        assert!(matches!(state.end_of(py), Some(Ended::Value(_))));
    });
}

#[test]
fn a_cancelled_greenlet_never_begins() {
    in_python(|py| {
        for stage in [Stage::New, Stage::Scheduled] {
            let mut state = State::blank();
            state.stage = stage;
            assert!(matches!(state.cancel(py), Cancelled::Now(None)));
            assert!(matches!(state.cancel(py), Cancelled::Before));
            assert!(!state.begin());
            assert!(state.is_over() && !state.has_ended() && !state.is_active());
        }
    });
}

#[test]
fn greenlets_that_end_are_numbered_in_that_order() {
    in_python(|py| {
        let (mut first, mut second) = (State::blank(), State::blank());
        let before = ended();
        drop(first.end(Ended::Value(py.None())));
        drop(second.end(Ended::Error(py.None(), None)));
        assert!(first.end_order() < second.end_order());
        assert!(ended() >= before + 2);
        assert!(first.has_succeeded() && !second.has_succeeded());
    });
}

#[test]
fn callables_are_left_to_the_hub() {
    in_python(|py| {
        let mut state = State::blank();
        assert!(matches!(state.begin_notifying(py), Notifying::Nobody));
        let ticket = state.add_link(py, Link::Callable(py.None()));
        assert!(state.has_links());
        // Without a loop there is no hub that could notify them.
        assert!(matches!(state.begin_notifying(py), Notifying::Nobody));
        state.end_notifying();
        drop(state.remove_link(ticket));
        assert!(!state.has_links() && state.next_link().is_none());
    });
}
