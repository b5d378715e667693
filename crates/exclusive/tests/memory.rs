//! Values are reached by one closure at a time, are dropped once, and do not exist in memory of zeroes. Miri, which runs this
//! too, reports every reference and every read that memory does not allow.

use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use exclusive::{Exclusive, Made};

fn panics<R>(f: impl FnOnce() -> R) -> bool {
    catch_unwind(AssertUnwindSafe(f)).is_err()
}

/// An object as CPython makes one: its memory is zeroes before its fields are written.
struct Object {
    list: Exclusive<Vec<String>>,
    name: Made<Box<str>>,
}

fn blank() -> Object {
    // SAFETY: memory of zeroes is a valid value of both fields' types, by their contract.
    unsafe { MaybeUninit::zeroed().assume_init() }
}

#[test]
fn memory_of_zeroes_holds_nothing() {
    let object = blank();
    assert!(object.list.is_blank());
    assert_eq!(object.list.peek(Vec::len), None);
    assert_eq!(object.name.peek(), None);
    assert!(panics(|| object.list.with(|list| list.push(String::new()))));
    assert!(panics(|| object.name.get().len()));
    assert!(object.list.is_blank());
}

#[test]
fn an_object_is_made_in_its_memory() {
    let mut memory = Box::new(blank());
    memory.list = Exclusive::new(vec!["one".to_owned()]);
    memory.name = Made::new("name".into());
    memory.list.with(|list| list.push("two".to_owned()));
    assert_eq!(memory.list.peek(|list| list.concat()).unwrap(), "onetwo");
    assert_eq!(&**memory.name.get(), "name");
    let moved = *memory;
    moved.list.with(Vec::clear);
    assert_eq!(moved.list.peek(Vec::len), Some(0));
    assert_eq!(moved.name.peek().map(|name| name.len()), Some(4));
}

#[test]
fn one_closure_at_a_time_reaches_the_value() {
    let cell = Exclusive::new(Box::new(1));
    let refused = cell.with(|value| {
        let refused = panics(|| cell.with(|value| **value += 10));
        assert_eq!(cell.peek(|value| **value), None);
        **value += 1;
        refused
    });
    assert!(refused);
    let refused = cell.peek(|value| {
        let refused = panics(|| cell.with(|other| **other += 10));
        assert_eq!(cell.peek(|other| **other), None);
        (refused, **value)
    });
    assert_eq!(refused, Some((true, 2)));
    assert_eq!(cell.with(|value| **value), 2);
}

#[test]
fn a_closure_that_panics_leaves_the_value_to_the_next_one() {
    let cell = Exclusive::new(vec![1]);
    assert!(panics(|| cell.with(|list| {
        list.push(2);
        panic!("in the closure");
    })));
    assert!(panics(|| cell.peek(|_| panic!("in the closure"))));
    assert_eq!(cell.with(std::mem::take), [1, 2]);
}

#[test]
fn a_value_is_dropped_once() {
    let value = Rc::new(());
    let cell = Exclusive::new(Rc::clone(&value));
    let made = Made::new(Rc::clone(&value));
    assert_eq!(Rc::strong_count(&value), 3);
    let taken = cell.with(|inner| Rc::clone(inner));
    drop((cell, made));
    assert_eq!(Rc::strong_count(&value), 2);
    drop(taken);
    drop(blank());
    assert_eq!(Rc::strong_count(&value), 1);
}

#[test]
fn a_value_of_no_size_and_one_in_a_static_are_values_too() {
    thread_local! {
        static CELL: Exclusive<Option<u8>> = const { Exclusive::new(None) };
    }
    let unit = Exclusive::new(());
    unit.with(|()| ());
    assert!(!unit.is_blank());
    CELL.with(|cell| cell.with(|value| *value = Some(3)));
    assert_eq!(CELL.with(|cell| cell.with(|value| *value)), Some(3));
}
