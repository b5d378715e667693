//! Compares the timers with a model that sorts.

use std::time::Duration;

use proptest::prelude::*;
use reactor::{Time, TimerKey, Timers};

#[derive(Clone, Debug)]
enum Op {
    Insert(u64),
    /// Cancels one of the keys ever handed out.
    Cancel(prop::sample::Index),
    /// Cancels the newest key.
    CancelLast,
    Pop(u64),
    Clear,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        // Some deadlines are often equal, others spread far enough to build a deep heap.
        40 => (0..12u64).prop_map(Op::Insert),
        80 => (0..1000u64).prop_map(Op::Insert),
        40 => any::<prop::sample::Index>().prop_map(Op::Cancel),
        10 => Just(Op::CancelLast),
        5 => (0..40u64).prop_map(Op::Pop),
        1 => (0..1000u64).prop_map(Op::Pop),
        1 => Just(Op::Clear),
    ]
}

/// Deadline and insertion number of each pending timer, in firing order.
type Model = Vec<(u64, usize)>;

fn check_cancel(timers: &mut Timers<usize>, model: &mut Model, key: TimerKey, id: usize) {
    let expected = model.iter().position(|&(_, other)| other == id);
    assert_eq!(timers.get(key).copied(), expected.map(|_| id));
    assert_eq!(timers.cancel(key), expected.map(|_| id));
    assert_eq!(timers.cancel(key), None);
    if let Some(position) = expected {
        model.remove(position);
    }
}

proptest! {
    #[test]
    fn behaves_like_a_sorted_list(ops in prop::collection::vec(op(), 1..400)) {
        let start = Time::now();
        let at = |deadline: u64| start.after(Duration::from_millis(deadline));
        let mut timers = Timers::new();
        let mut keys = Vec::new();
        let mut model = Model::new();
        for op in ops {
            match op {
                Op::Insert(deadline) => {
                    let id = keys.len();
                    keys.push(timers.insert(at(deadline), id));
                    let position = model.partition_point(|&entry| entry < (deadline, id));
                    model.insert(position, (deadline, id));
                    prop_assert_eq!(timers.deadline(keys[id]), Some(at(deadline)));
                }
                Op::Cancel(index) if !keys.is_empty() => {
                    let id = index.index(keys.len());
                    check_cancel(&mut timers, &mut model, keys[id], id);
                }
                Op::CancelLast if !keys.is_empty() => {
                    let id = keys.len() - 1;
                    check_cancel(&mut timers, &mut model, keys[id], id);
                }
                Op::Cancel(_) | Op::CancelLast => {}
                Op::Pop(now) => {
                    let due = model.partition_point(|&(deadline, _)| deadline <= now);
                    for (_, id) in model.drain(..due) {
                        prop_assert_eq!(timers.pop_expired(at(now)), Some((keys[id], id)));
                    }
                    prop_assert_eq!(timers.pop_expired(at(now)), None);
                }
                Op::Clear => {
                    let mut values = timers.clear();
                    values.sort_unstable();
                    let mut expected: Vec<_> = model.drain(..).map(|(_, id)| id).collect();
                    expected.sort_unstable();
                    prop_assert_eq!(values, expected);
                }
            }
            prop_assert_eq!(timers.len(), model.len());
            prop_assert_eq!(timers.is_empty(), model.is_empty());
            prop_assert_eq!(timers.next_deadline(), model.first().map(|&(first, _)| at(first)));
        }
    }
}

#[test]
fn a_key_stays_stale_when_its_place_is_reused() {
    let mut timers = Timers::new();
    let first = timers.insert(Time::FAR, "first");
    assert_eq!(timers.cancel(first), Some("first"));
    let second = timers.insert(Time::FAR, "second");
    assert_ne!(first, second);
    assert_eq!(timers.get(first), None);
    assert_eq!(timers.deadline(first), None);
    assert_eq!(timers.cancel(first), None);
    assert_eq!(timers.get(second), Some(&"second"));
}

#[test]
fn a_key_is_small() {
    assert_eq!(size_of::<TimerKey>(), 8);
}

#[test]
fn a_dropped_drain_has_emptied_the_timers() {
    let mut timers = Timers::new();
    let keys: Vec<_> = (0..5).map(|n| timers.insert(Time::FAR, n)).collect();
    drop(timers.drain());
    assert!(timers.is_empty());
    assert_eq!(timers.next_deadline(), None);
    assert!(keys.into_iter().all(|key| timers.cancel(key).is_none()));
}
