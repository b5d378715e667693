//! The error of a kill that a shield holds back for longer than the caller of `kill` waits.

use pyo3::prelude::*;

use crate::greenlets::greenlet::Greenlet;
use crate::structured::nest::Nest;
use crate::waiting::timeout::Timeout;

/// Raise `Timeout`, which names the shields, if `greenlet` is alive `timeout` seconds after it was killed because it is in a
/// `CancelScope` with a shield.
#[pyfunction]
#[pyo3(signature = (greenlet, timeout))]
pub fn check_killed(
    greenlet: &Bound<'_, PyAny>,
    timeout: Option<Bound<'_, PyAny>>,
) -> PyResult<()> {
    let py = greenlet.py();
    let is_over = match greenlet.cast::<Greenlet>() {
        Ok(ours) => Greenlet::is_ready(ours),
        Err(_) => greenlet.getattr(pyo3::intern!(py, "dead"))?.is_truthy()?,
    };
    let Some(timeout) = timeout.filter(|_| !is_over) else {
        return Ok(());
    };
    let shields = Nest::of(greenlet).map_or_else(Vec::new, |nest| nest.get().shields(py));
    if shields.is_empty() {
        return Ok(());
    }
    let mut names = Vec::new();
    for shield in shields.iter().rev() {
        names.push(shield.bind(py).repr()?.to_string());
    }
    let text = format!(
        "{} puts its kill off to the end of {}",
        greenlet.repr()?,
        names.join(", in ")
    );
    let seconds = match timeout.cast::<Timeout>() {
        Ok(given) => given.getattr(pyo3::intern!(py, "seconds"))?,
        Err(_) => timeout,
    };
    let error = py.get_type::<Timeout>().call1((seconds, text))?;
    Err(PyErr::from_value(error))
}
