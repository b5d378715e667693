//! `loop.timer`: calls a function after a delay, once or periodically.

use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use reactor::{Time, TimerKey};

use super::{Kind, Watcher};
use crate::args::from_python;
use crate::cell::GilCell;
use crate::event_loop::loop_::{Due, Loop};

/// The event number that callbacks get.
const TIMER: u32 = 256;

/// The schedule of a timer.
#[derive(Debug)]
pub struct Schedule {
    after: f64,
    repeat: f64,
    due: Option<Time>,
    key: Option<TimerKey>,
}

/// Converts a delay in seconds: one that is not positive becomes zero, one that is too long the longest duration.
pub fn delay(seconds: f64) -> Duration {
    if seconds > 0.0 {
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    } else {
        Duration::ZERO
    }
}

fn seconds(time: Time) -> f64 {
    if time == Time::FAR {
        f64::INFINITY
    } else {
        time.as_nanos() as f64 / 1e9
    }
}

pub(super) fn arm(watcher: &Py<Watcher>, py: Python<'_>, cell: &GilCell<Schedule>) -> PyResult<()> {
    let after = cell.with(py, |schedule| schedule.after);
    let now = watcher.get().loop_().cached_now();
    schedule(watcher, py, cell, now.after(delay(after)));
    Ok(())
}

pub(super) fn disarm(loop_: &Loop, py: Python<'_>, cell: &GilCell<Schedule>) {
    if let Some(key) = cell.with(py, |schedule| schedule.key.take()) {
        loop_.cancel_timer(py, key);
    }
}

fn schedule(watcher: &Py<Watcher>, py: Python<'_>, cell: &GilCell<Schedule>, due: Time) {
    let deadline = Due::Watcher(watcher.clone_ref(py));
    let key = watcher.get().loop_().set_timer(py, due, deadline);
    cell.with(py, |schedule| {
        schedule.key = Some(key);
        schedule.due = Some(due);
    });
}

/// Fires a timer whose deadline has passed, and schedules its next period.
pub fn expired(watcher: Py<Watcher>, py: Python<'_>, loop_: &Loop, now: Time) {
    let this = watcher.get();
    let cell = match &*this.kind {
        Kind::Timer(cell) => cell,
        Kind::Stat(cell) => return super::stat::check(&watcher, py, cell),
        _ => return,
    };
    let (due, repeat) = cell.with(py, |schedule| {
        schedule.key = None;
        (schedule.due.unwrap_or(now), schedule.repeat)
    });
    if repeat > 0.0 {
        // Periods are counted from due times, so that they do not drift. A late timer does not catch up, and one with a period
        // below the clock's resolution has to let others run.
        let next = due
            .after(delay(repeat))
            .max(now.after(Duration::from_nanos(1)));
        schedule(&watcher, py, cell, next);
    } else {
        this.deactivate(py);
    }
    Watcher::fire(&watcher, py, loop_, TIMER);
}

/// Calls its function once `after` seconds have passed, and then, if `repeat` is not zero, every `repeat` seconds.
#[pyclass(extends = Watcher, frozen, subclass, name = "timer", module = "gevent.core")]
#[derive(Debug)]
pub struct Timer;

impl Timer {
    fn cell<'a>(slf: &'a Bound<'_, Self>) -> &'a GilCell<Schedule> {
        match &*slf.as_super().get().kind {
            Kind::Timer(cell) => cell,
            _ => unreachable!("a timer is made of a timer kind"),
        }
    }
}

#[pymethods]
impl Timer {
    #[new]
    #[pyo3(signature = (r#loop, after = 0.0, repeat = 0.0, r#ref = true, priority = None))]
    pub(crate) fn new(
        r#loop: Py<Loop>,
        #[pyo3(from_py_with = from_python)] after: f64,
        #[pyo3(from_py_with = from_python)] repeat: f64,
        r#ref: bool,
        #[pyo3(from_py_with = from_python)] priority: Option<i32>,
    ) -> PyResult<PyClassInitializer<Self>> {
        if repeat < 0.0 {
            return Err(PyValueError::new_err(format!(
                "repeat must be positive or zero: {repeat:?}"
            )));
        }
        let schedule = Schedule {
            after,
            repeat,
            due: None,
            key: None,
        };
        Ok(
            Watcher::base(r#loop, Kind::Timer(GilCell::new(schedule)), r#ref, priority)
                .add_subclass(Self),
        )
    }

    /// Start the timer: call `callback` with `args` when it is due.
    ///
    /// The delay is counted from the time that the loop last noted (`loop.now()`), which is that of its last poll; with
    /// `update`, the loop notes the present first.
    #[pyo3(signature = (callback, *args, update = None))]
    fn start(
        slf: &Bound<'_, Self>,
        callback: &Bound<'_, PyAny>,
        args: Bound<'_, PyTuple>,
        update: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let watcher = slf.as_super();
        if let Some(update) = update
            && update.is_truthy()?
        {
            watcher.get().loop_().update_time();
        }
        Watcher::start_with(watcher, callback, args)
    }

    /// Start the timer anew with its period as delay; without a period, stop it.
    ///
    /// With `update`, the loop notes the present first.
    #[pyo3(signature = (callback, *args, update = true))]
    fn again(
        slf: &Bound<'_, Self>,
        callback: &Bound<'_, PyAny>,
        args: Bound<'_, PyTuple>,
        update: bool,
    ) -> PyResult<()> {
        let py = slf.py();
        super::check_callable(callback)?;
        let watcher = slf.as_super();
        let this = watcher.get();
        let loop_ = this.loop_();
        loop_.kernel(py)?;
        let now = if update {
            loop_.update_time()
        } else {
            loop_.cached_now()
        };
        let cell = Self::cell(slf);
        disarm(loop_, py, cell);
        let repeat = cell.with(py, |schedule| schedule.repeat);
        if repeat > 0.0 {
            schedule(watcher.as_unbound(), py, cell, now.after(delay(repeat)));
            if !this.is_active(py) {
                this.activate(py);
            }
        } else {
            this.deactivate(py);
        }
        this.set_call(py, Some(callback.clone().unbind()), Some(args.unbind()));
        Ok(())
    }

    /// The time at which the timer is due, in seconds of the monotonic clock; before its start, the delay.
    #[getter]
    fn at(slf: &Bound<'_, Self>) -> f64 {
        Self::cell(slf).with(slf.py(), |schedule| {
            schedule.due.map_or(schedule.after, seconds)
        })
    }

    /// The period in seconds, zero for a timer that is due once.
    #[getter]
    fn repeat(slf: &Bound<'_, Self>) -> f64 {
        Self::cell(slf).with(slf.py(), |schedule| schedule.repeat)
    }

    #[setter]
    fn set_repeat(
        slf: &Bound<'_, Self>,
        #[pyo3(from_py_with = from_python)] value: f64,
    ) -> PyResult<()> {
        if value < 0.0 {
            return Err(PyValueError::new_err(format!(
                "repeat must be positive or zero: {value:?}"
            )));
        }
        Self::cell(slf).with(slf.py(), |schedule| schedule.repeat = value);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_of_any_kind_is_a_duration() {
        for none in [0.0, -1.0, f64::NEG_INFINITY, f64::NAN] {
            assert_eq!(delay(none), Duration::ZERO);
        }
        assert_eq!(delay(1.5), Duration::from_millis(1500));
        for long in [1e300, f64::INFINITY] {
            assert_eq!(delay(long), Duration::MAX);
            assert_eq!(Time::now().after(delay(long)), Time::FAR);
        }
        assert_eq!(seconds(Time::FAR), f64::INFINITY);
    }
}
