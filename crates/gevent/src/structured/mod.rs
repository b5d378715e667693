//! Structured concurrency: cancel scopes, the shields that hold back exceptions from outside, and the parts of a task
//! group that need the engine or must not be interrupted. The rest of the group is Python (`gevent/_structured.py`).
//!
//! | file | what |
//! |---|---|
//! | `scope.rs` | `CancelScope`: when its cancellation is raised, once, and how it is taken back |
//! | `scope_end.rs` | the end of its block |
//! | `methods.rs` | its Python methods, `move_on_after` and `fail_after` |
//! | `nest.rs` | the scopes that one greenlet is inside of, and the kills that their shields hold back |
//! | `in_task.rs` | scopes that are entered in a coroutine, and cancel its task |
//! | `interruption.rs` | which exception goes on where one interrupted another |
//! | `shielded_kill.rs` | the error of a kill that a shield holds back for too long |
//! | `group_block.rs` | the block of a group, the ends of its children and their cancellation |
//! | `membership.rs` | greenlets that belong to a group |
//! | `context.rs` | greenlets that begin with a copy of their spawner's context |

use pyo3::prelude::*;

use crate::cell::add_class;

pub mod context;
mod group_block;
pub mod in_task;
pub mod interruption;
pub mod membership;
mod methods;
pub mod nest;
pub mod scope;
mod scope_end;
pub mod shielded_kill;

/// Adds the classes and functions of this folder to the module.
///
/// # Errors
/// Fails when a type object cannot be made.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    add_class::<scope::CancelScope>(module)?;
    add_class::<nest::Nest>(module)?;
    add_class::<group_block::GroupBlock>(module)?;
    module.add_function(wrap_pyfunction!(methods::move_on_after, module)?)?;
    module.add_function(wrap_pyfunction!(methods::fail_after, module)?)?;
    module.add_function(wrap_pyfunction!(membership::spawn_in_group, module)?)?;
    module.add_function(wrap_pyfunction!(membership::group_of, module)?)?;
    module.add_function(wrap_pyfunction!(nest::scopes_of, module)?)?;
    module.add_function(wrap_pyfunction!(shielded_kill::check_killed, module)?)?;
    module.add_function(wrap_pyfunction!(context::set_inherit_context, module)?)?;
    Ok(())
}
