//! Waiting for a greenlet's end: `join` and `get`.

use std::ffi::CStr;

use pyo3::prelude::*;

use crate::args;
use crate::ffi::blocking::{Blocking, First, Step};
use crate::greenlets::greenlet::Greenlet;
use crate::hub;
use crate::waiting::deadline::Deadline;
use crate::waiting::links::Link;
use crate::waiting::reason::{Reason, WaitKind};
use crate::waiting::timeout::Timeout;

impl Greenlet {
    /// Returns the step of a call that waits until the greenlet is over or the deadline passes, and then returns the
    /// result of `then`. A deadline that passed is given to `then`.
    fn when_over(
        slf: &Bound<'_, Self>,
        kind: WaitKind,
        mut deadline: Deadline,
        then: fn(&Bound<'_, Self>, Option<&Deadline>) -> PyResult<Py<PyAny>>,
    ) -> PyResult<Step> {
        let py = slf.py();
        let wait = hub::new_wait_for(py, Reason::on(kind, slf))?;
        deadline.begin(py, &wait)?;
        let ticket = Self::with(slf, |state| state.add_link(py, Link::Wait(wait.clone())));
        let greenlet = slf.clone().unbind();
        wait.set_then(
            py,
            Box::new(move |py, wait, woken| {
                let slf = greenlet.bind(py);
                let left = Self::with(slf, |state| state.remove_link(ticket));
                drop(left);
                let over = deadline.end(py, wait, woken)?.is_some();
                then(slf, (!over).then_some(&deadline)).map(Step::Done)
            }),
        );
        Ok(Step::Park(wait))
    }

    fn result_or_none(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        Self::result(slf).unwrap_or_else(|| Ok(slf.py().None()))
    }
}

/// `Greenlet.join`.
pub struct Join;

impl Blocking for Join {
    type Owner = Greenlet;
    const NAME: &'static CStr = c"join";
    const DOC: &'static CStr = c"join($self, /, timeout=None)\n--\n\n\
Wait until it is over, or for `timeout` seconds. Returns None in any case.";
    const PARAMETERS: &'static [&'static str] = &["timeout"];

    fn begin(slf: &Bound<'_, Greenlet>, arguments: &[Option<Bound<'_, PyAny>>]) -> PyResult<First> {
        if Greenlet::is_ready(slf) {
            return Ok(Step::Done(slf.py().None()).into());
        }
        let deadline = Deadline::of(arguments[0].as_ref())?;
        Greenlet::when_over(slf, WaitKind::Join, deadline, |slf, _| Ok(slf.py().None()))
            .map(Into::into)
    }
}

/// `Greenlet.get`.
pub struct GetEnd;

impl Blocking for GetEnd {
    type Owner = Greenlet;
    const NAME: &'static CStr = c"get";
    const DOC: &'static CStr = c"get($self, /, block=True, timeout=None)\n--\n\n\
Return the function's result or raise its error, waiting for it at most `timeout` seconds.\n\n\
Raises `gevent.Timeout` when it is not over by then, or at once with ``block=False``.";
    const PARAMETERS: &'static [&'static str] = &["block", "timeout"];

    fn begin(slf: &Bound<'_, Greenlet>, arguments: &[Option<Bound<'_, PyAny>>]) -> PyResult<First> {
        if Greenlet::is_ready(slf) {
            return Greenlet::result_or_none(slf).map(|result| Step::Done(result).into());
        }
        if !args::flag(arguments[0].as_ref())? {
            return Err(Timeout::error(slf.py(), None)?);
        }
        let deadline = Deadline::of(arguments[1].as_ref())?;
        let step = Greenlet::when_over(slf, WaitKind::Get, deadline, |slf, passed| match passed {
            Some(deadline) => Err(deadline.error(slf.py())?),
            None => Greenlet::result_or_none(slf),
        });
        step.map(Into::into)
    }
}
