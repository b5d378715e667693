//! Python objects of the package that the engine needs, by name: `gevent/_engine.py` maps each name to its object.
//!
//! The extension imports no module of the package on its own. If it did, the two would import each other, and a module could
//! not be moved or renamed without a search through Rust. So the package gives the engine a table of where the objects are
//! ([`set_objects`]), and the engine looks one up when it needs it for the first time. That is late on purpose: most programs
//! never need the links of gevent 0.13, asyncio or TLS, and do not pay for their import.

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString, PyType};

/// The name of each object's module, and the object's name there, by the name that the engine has for it.
static OBJECTS: PyOnceLock<Py<PyDict>> = PyOnceLock::new();

/// One object of the package. It is looked up once and kept for ever, as a module's classes are.
pub struct Registered {
    name: &'static str,
    object: PyOnceLock<Py<PyAny>>,
}

impl Registered {
    /// Declares the object that `gevent/_engine.py` has under this name.
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            object: PyOnceLock::new(),
        }
    }

    /// Returns the object, and finds it first if nothing has asked for it before.
    ///
    /// # Errors
    /// The error that the import of its module raises; `RuntimeError` when the package has given no table.
    pub fn get<'py>(&self, py: Python<'py>) -> PyResult<&Bound<'py, PyAny>> {
        let found = self.object.get_or_try_init(py, || {
            let objects = OBJECTS
                .get(py)
                .ok_or_else(|| PyRuntimeError::new_err("gevent._engine has not been imported"))?;
            // No code in Python runs where the module has been imported, so the error of a signal's handler cannot take
            // the place of the object.
            let place = objects.bind(py).as_any().get_item(self.name)?;
            let (module, name): (Bound<'_, PyString>, Bound<'_, PyString>) = place.extract()?;
            Ok::<_, PyErr>(py.import(module)?.getattr(name)?.unbind())
        });
        found.map(|object| object.bind(py))
    }

    /// Returns the object, which is a class.
    ///
    /// # Errors
    /// The errors of [`get`](Self::get), and `TypeError` when it is no class.
    pub fn class<'py>(&self, py: Python<'py>) -> PyResult<&Bound<'py, PyType>> {
        Ok(self.get(py)?.cast()?)
    }
}

/// `gevent.config`.
pub static CONFIG: Registered = Registered::new("config");
/// The function that gives the engine the settings of every spawn.
pub static APPLY_SPAWN_SETTINGS: Registered = Registered::new("apply_spawn_settings");
/// `gevent.hub.Hub`.
pub static HUB: Registered = Registered::new("Hub");
/// The class of the data of a native thread: `_thread._local`, also where that is patched.
pub static THREAD_STATE: Registered = Registered::new("ThreadState");
/// The class whose instance destroys a thread's hub at the thread's end.
pub static THREAD_END: Registered = Registered::new("ThreadEnd");
/// Links a greenlet to another one, as in gevent 0.13.
pub static LINK: Registered = Registered::new("link");
/// Removes such a link.
pub static UNLINK: Registered = Registered::new("unlink");
/// Spawns a greenlet that is linked in that way to the current one.
pub static SPAWN_LINKED: Registered = Registered::new("spawn_linked");
/// Waits in a coroutine for a greenlet; its module imports asyncio.
pub static AWAIT_GREENLET: Registered = Registered::new("await_greenlet");
/// The class of a queue's mutex and conditions.
pub static QUEUE_CONDITIONS: Registered = Registered::new("Conditions");
/// `gevent.socket.socket`.
pub static SOCKET: Registered = Registered::new("socket");
/// The class of `_sock`: the standard library's own in C, with weak references.
pub static STDLIB_SOCKET: Registered = Registered::new("_wrefsocket");
/// The class of `_sock` once the socket is closed.
pub static CLOSED_SOCKET: Registered = Registered::new("_closedsocket");
/// `gevent.ssl.SSLSocket`.
pub static TLS_SOCKET: Registered = Registered::new("SSLSocket");
/// The steps of a server as the package defines them, by their names.
pub static SERVER_STEPS: Registered = Registered::new("server_steps");
/// Reads the header fields of a request from a file.
pub static HEADERS_FACTORY: Registered = Registered::new("headers_factory");
/// Returns the status, headers and body of an answer that reports an error.
pub static ERROR_RESPONSE: Registered = Registered::new("error_response");
/// Makes a message of header fields.
pub static MESSAGE_OF: Registered = Registered::new("message_of");
/// The class of logs that discard everything.
pub static NOOP_LOG: Registered = Registered::new("NoopLog");

/// Set where the package's objects are: the name of the module of each, and its name there.
#[pyfunction]
pub fn set_objects(py: Python<'_>, objects: Py<PyDict>) {
    // A second table would be the same.
    let _ = OBJECTS.set(py, objects);
}

/// Declares the Rust type of an exception class of the package, for `new_err` and `is_instance_of`.
macro_rules! registered_exception {
    ($name:ident) => {
        #[doc = concat!("The exception class `", stringify!($name), "` of the package.")]
        #[repr(transparent)]
        #[allow(non_camel_case_types)]
        pub struct $name(pyo3::PyAny);

        pyo3::impl_exception_boilerplate!($name);

        pyo3::pyobject_native_type_core!(
            $name,
            $name::type_object_raw,
            stringify!($name),
            "gevent"
        );

        impl $name {
            fn type_object_raw(py: pyo3::Python<'_>) -> *mut pyo3::ffi::PyTypeObject {
                static CLASS: $crate::registered::Registered =
                    $crate::registered::Registered::new(stringify!($name));
                $crate::registered::exception_class(py, &CLASS)
            }
        }
    };
}
pub(crate) use registered_exception;

/// Returns an exception class of the package. Where it cannot be found, it returns `RuntimeError`, as the caller is
/// about to raise or compare an error, and that must not fail.
pub fn exception_class(
    py: Python<'_>,
    registered: &'static Registered,
) -> *mut pyo3::ffi::PyTypeObject {
    match registered.class(py) {
        Ok(class) => class.as_type_ptr(),
        Err(error) => {
            error.write_unraisable(py, None);
            py.get_type::<PyRuntimeError>().as_type_ptr()
        }
    }
}
