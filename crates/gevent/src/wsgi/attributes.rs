//! The attributes of a handler, which describe its connection and its current request and response.
//!
//! The heads of requests and responses become Python objects when an attribute is read. An attribute that is set
//! takes the place of what was decoded.

use http1::{Head, Version};
use pyo3::PyTraverseError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString, PyTuple};
use reactor::Time;

use crate::args::Flag;
use crate::cell::GilCell;
use crate::ffi::text;
use crate::registered::MESSAGE_OF;
use crate::wsgi::exchange::{Exchange, Slot};
use crate::wsgi::overriding::Steps;
use crate::wsgi::request_file::RequestFile;
use crate::wsgi::service::Service;

/// The state of a handler: its connection, and the request and response that are under way.
pub struct State {
    pub(crate) socket: Option<Py<PyAny>>,
    pub(crate) client_address: Option<Py<PyAny>>,
    pub(crate) server: Option<Py<PyAny>>,
    pub(crate) rfile: Option<Py<PyAny>>,
    /// The object that `rfile` returns, if it is a `RequestFile`.
    pub(crate) reader: Option<Py<RequestFile>>,
    pub(crate) service: Option<Py<Service>>,
    /// Host and port of the client, as they go into environments.
    pub(crate) remote: Option<(Py<PyString>, Py<PyString>)>,
    pub(crate) steps: Steps,
    /// The number of the response that may be sent now. It grows when one is over.
    pub(crate) serial: u64,
    pub(crate) close_connection: bool,
    /// True if nothing more can be sent.
    pub(crate) broken: bool,
    /// True if the server counts the connection.
    pub(crate) counted: bool,
    /// True if the connection is to make room for another one.
    pub(crate) evicted: bool,
    /// True once a 101 was sent: the connection speaks another protocol.
    pub(crate) upgraded: bool,
    /// True as long as nothing has come from the client.
    pub(crate) fresh: bool,
    /// True if the client is to be given time to read the last answer.
    pub(crate) lingers: bool,
    /// The time at which the head that is being received has to be complete.
    pub(crate) head_due: Option<Time>,
    /// The time at which an idle connection ends. It is kept over several waits where a wake-up may bring no byte of a
    /// request, as a TLS record without data does.
    pub(crate) idle_due: Option<Time>,
    pub(crate) exchange: Option<Box<Exchange>>,
}

/// The base of `WSGIHandler`: its attributes.
#[pyclass(
    frozen,
    subclass,
    dict,
    weakref,
    name = "HandlerAttributes",
    module = "gevent._core"
)]
#[derive(Debug)]
pub struct Attributes {
    pub(crate) state: GilCell<State>,
}

impl Attributes {
    /// Returns the attributes of a handler before `__init__`.
    pub fn blank() -> Self {
        Self {
            state: GilCell::new(State {
                socket: None,
                client_address: None,
                server: None,
                rfile: None,
                reader: None,
                service: None,
                remote: None,
                steps: Steps::default(),
                serial: 0,
                close_connection: false,
                broken: false,
                counted: false,
                evicted: false,
                upgraded: false,
                fresh: true,
                lingers: false,
                head_due: None,
                idle_due: None,
                exchange: None,
            }),
        }
    }

    /// Calls `f` with the exchange, which is begun if there is none. `f` must keep to the rules of a cell: it must not
    /// call Python or drop an object.
    #[inline]
    pub fn exchange<R>(&self, py: Python<'_>, f: impl FnOnce(&mut Exchange) -> R) -> R {
        self.state.with(py, |state| {
            f(state.exchange.get_or_insert_with(|| Exchange::new(py)))
        })
    }

    /// Calls `f` with the exchange for reading, if there is one.
    #[inline]
    fn glance<R>(&self, py: Python<'_>, f: impl FnOnce(&Exchange) -> R) -> Option<R> {
        self.state
            .with(py, |state| state.exchange.as_deref().map(f))
    }

    /// Returns the object in a slot, if there is one.
    #[inline]
    pub fn get<'py>(&self, py: Python<'py>, slot: Slot) -> Option<Bound<'py, PyAny>> {
        self.glance(py, |exchange| exchange.slot(py, slot))
            .flatten()
    }

    /// Returns true if a slot holds something.
    #[inline]
    pub fn is_set(&self, py: Python<'_>, slot: Slot) -> bool {
        self.glance(py, |exchange| exchange.is_set(slot))
            .unwrap_or(false)
    }

    /// Puts an object into a slot.
    #[inline]
    pub fn put(&self, py: Python<'_>, slot: Slot, object: Option<Py<PyAny>>) {
        let old = self.exchange(py, |exchange| exchange.put(slot, object));
        drop(old);
    }

    /// Ends the exchange, and returns its memory to the pool.
    pub fn forget(&self, py: Python<'_>) {
        let exchange = self.state.with(py, |state| {
            state.serial += 1;
            state.exchange.take()
        });
        if let Some(mut exchange) = exchange {
            let objects = exchange.reset();
            exchange.keep(py);
            drop(objects);
        }
    }

    /// Begins another exchange in the place of the one before.
    pub fn renew(&self, py: Python<'_>) {
        self.response_over(py);
        let old = self.exchange(py, Exchange::reset);
        drop(old);
    }

    /// Invalidates the `start_response` and `write` that an application may have kept beyond its request.
    #[inline]
    pub fn response_over(&self, py: Python<'_>) {
        self.state.with(py, |state| state.serial += 1);
    }

    /// Returns a text of the request's head, and keeps it in its slot.
    fn text<'py>(
        &self,
        py: Python<'py>,
        slot: Slot,
        of: impl FnOnce(&Head) -> Vec<u8>,
    ) -> PyResult<Bound<'py, PyAny>> {
        if let Some(known) = self.get(py, slot) {
            return Ok(known);
        }
        let bytes = self.glance(py, |exchange| exchange.decoded.then(|| of(&exchange.head)));
        let Some(bytes) = bytes.flatten() else {
            return Ok(py.None().into_bound(py));
        };
        let made = text::from_latin1(py, &bytes)?.into_any();
        self.put(py, slot, Some(made.clone().unbind()));
        Ok(made)
    }

    /// Returns true if the request is of HTTP/1.0.
    pub fn is_http10(&self, py: Python<'_>) -> bool {
        match self.get(py, Slot::RequestVersion) {
            Some(version) => version
                .extract::<&str>()
                .is_ok_and(|text| text == "HTTP/1.0"),
            None => self
                .glance(py, |exchange| {
                    exchange.decoded && exchange.head.version() == Version::Http10
                })
                .unwrap_or(false),
        }
    }

    /// Returns true if the client asks for a head alone.
    pub fn is_head(&self, py: Python<'_>) -> bool {
        match self.get(py, Slot::Command) {
            Some(command) => command.extract::<&str>().is_ok_and(|text| text == "HEAD"),
            None => self
                .glance(py, |exchange| exchange.decoded && exchange.head.is_head())
                .unwrap_or(false),
        }
    }

    /// Returns true if the application called `start_response`, or a status was set.
    pub fn has_status(&self, py: Python<'_>) -> bool {
        match self.get(py, Slot::Status) {
            Some(status) => status.is_truthy().unwrap_or(false),
            None => self
                .glance(py, |exchange| !exchange.out.is_empty())
                .unwrap_or(false),
        }
    }

    /// Returns the response's code and reason: those that were set from Python, or else the bytes that `start_response`
    /// was given.
    pub fn stated_status<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.get(py, Slot::Status).or_else(|| {
            let bytes = self.glance(py, |exchange| status_of(&exchange.out).map(<[u8]>::to_vec));
            Some(PyBytes::new(py, &bytes??).into_any())
        })
    }

    /// Returns the request's fields, as pairs of strings.
    fn pairs<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyList>>> {
        let fields = self.glance(py, |exchange| {
            exchange.decoded.then(|| {
                let fields = exchange.head.fields();
                fields
                    .map(|field| (field.name.to_owned(), field.value.to_vec()))
                    .collect::<Vec<_>>()
            })
        });
        let Some(fields) = fields.flatten() else {
            return Ok(None);
        };
        let pairs = PyList::empty(py);
        for (name, value) in fields {
            pairs.append((name, text::from_latin1(py, &value)?))?;
        }
        Ok(Some(pairs))
    }
}

/// Yields the lines of a response's head after its first, as name and value.
fn lines(out: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut lines = out.split(|&byte| byte == b'\n');
    lines.next();
    lines.filter_map(|line| {
        let line = line.strip_suffix(b"\r")?;
        let colon = memchr::memchr(b':', line)?;
        Some((&line[..colon], line.get(colon + 2..).unwrap_or_default()))
    })
}

/// Returns the code and reason of a response's head.
pub fn status_of(out: &[u8]) -> Option<&[u8]> {
    let end = memchr::memchr(b'\r', out)?;
    out.get("HTTP/1.1 ".len()..end)
}

macro_rules! attributes {
    (
        objects { $($slot:ident $plain:ident $set_plain:ident;)* }
        connection { $($link:ident $set_link:ident;)* }
        numbers { $($number:ident $set_number:ident: $kind:ty, $default:expr;)* }
        flags { $($flag:ident $set_flag:ident;)* }
    ) => {
        #[pymethods]
        impl Attributes {
            $(
                #[getter]
                fn $plain<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
                    self.get(py, Slot::$slot)
                }

                #[setter($plain)]
                fn $set_plain(&self, py: Python<'_>, value: Option<Py<PyAny>>) {
                    self.put(py, Slot::$slot, value);
                }
            )*
            $(
                #[getter]
                fn $link(&self, py: Python<'_>) -> Option<Py<PyAny>> {
                    self.state.with(py, |state| state.$link.as_ref().map(|object| object.clone_ref(py)))
                }

                #[setter]
                fn $set_link(&self, py: Python<'_>, value: Option<Py<PyAny>>) {
                    let old = self.state.with(py, |state| std::mem::replace(&mut state.$link, value));
                    drop(old);
                }
            )*
            $(
                #[getter]
                fn $number(&self, py: Python<'_>) -> $kind {
                    self.glance(py, |exchange| exchange.$number).unwrap_or($default)
                }

                #[setter]
                fn $set_number(&self, py: Python<'_>, value: $kind) {
                    self.exchange(py, |exchange| exchange.$number = value);
                }
            )*
            $(
                #[getter]
                fn $flag(&self, py: Python<'_>) -> bool {
                    self.glance(py, |exchange| exchange.$flag).unwrap_or(false)
                }

                #[setter]
                fn $set_flag(&self, py: Python<'_>, value: Flag) {
                    self.exchange(py, |exchange| exchange.$flag = value.0);
                }
            )*

            #[getter]
            fn close_connection(&self, py: Python<'_>) -> bool {
                self.state.with(py, |state| state.close_connection)
            }

            #[setter]
            fn set_close_connection(&self, py: Python<'_>, value: Flag) {
                self.state.with(py, |state| state.close_connection = value.0);
            }

            #[getter]
            fn requestline<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
                self.text(py, Slot::Requestline, |head| head.request_line().to_vec())
            }

            #[setter]
            fn set_requestline(&self, py: Python<'_>, value: Py<PyAny>) {
                self.put(py, Slot::Requestline, Some(value));
            }

            #[getter]
            fn command<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
                self.text(py, Slot::Command, |head| head.method().into())
            }

            #[setter]
            fn set_command(&self, py: Python<'_>, value: Py<PyAny>) {
                self.put(py, Slot::Command, Some(value));
            }

            #[getter]
            fn path<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
                self.text(py, Slot::Path, |head| head.target().to_vec())
            }

            #[setter]
            fn set_path(&self, py: Python<'_>, value: Py<PyAny>) {
                self.put(py, Slot::Path, Some(value));
            }

            #[getter]
            fn request_version<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
                self.text(py, Slot::RequestVersion, |head| head.version().as_str().into())
            }

            #[setter]
            fn set_request_version(&self, py: Python<'_>, value: Py<PyAny>) {
                self.put(py, Slot::RequestVersion, Some(value));
            }

            /// The request's fields, as an `email.message.Message`.
            #[getter]
            fn headers<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
                if let Some(known) = self.get(py, Slot::Headers) {
                    return Ok(known);
                }
                let pairs = self.pairs(py)?;
                let made = MESSAGE_OF.get(py)?.call1((&pairs,))?;
                if pairs.is_some() {
                    self.put(py, Slot::Headers, Some(made.clone().unbind()));
                }
                Ok(made)
            }

            #[setter]
            fn set_headers(&self, py: Python<'_>, value: Py<PyAny>) {
                self.put(py, Slot::Headers, Some(value));
            }

            /// The response's code and reason, as bytes.
            #[getter]
            fn status<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
                self.stated_status(py)
            }

            #[setter]
            fn set_status(&self, py: Python<'_>, value: Py<PyAny>) {
                self.put(py, Slot::Status, Some(value));
            }

            /// The response's fields, a list of pairs of bytes.
            #[getter]
            fn response_headers<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
                if let Some(known) = self.get(py, Slot::ResponseHeaders) {
                    return Ok(Some(known));
                }
                let out = self.glance(py, |exchange| exchange.out.clone()).unwrap_or_default();
                if out.is_empty() {
                    return Ok(None);
                }
                let list = PyList::empty(py);
                for (name, value) in lines(&out) {
                    list.append(PyTuple::new(py, [PyBytes::new(py, name), PyBytes::new(py, value)])?)?;
                }
                self.put(py, Slot::ResponseHeaders, Some(list.clone().into_any().unbind()));
                Ok(Some(list.into_any()))
            }

            #[setter]
            fn set_response_headers(&self, py: Python<'_>, value: Py<PyAny>) {
                self.put(py, Slot::ResponseHeaders, Some(value));
            }

            fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
                let visited = self.state.peek(&visit, |state| {
                    $(visit.call(&state.$link)?;)*
                    visit.call(&state.reader)?;
                    match &state.exchange {
                        Some(exchange) => exchange.visit(&visit),
                        None => Ok(()),
                    }
                });
                visited.unwrap_or(Ok(()))
            }

            fn __clear__(&self) {
                Python::attach(|py| {
                    let dropped = self.state.with(py, |state| {
                        (
                            [$(state.$link.take(),)*],
                            state.reader.take(),
                            state.exchange.take(),
                        )
                    });
                    drop(dropped);
                });
            }
        }
    };
}

attributes! {
    objects {
        Environ environ set_environ;
        Application application set_application;
        WsgiInput wsgi_input set_wsgi_input;
        Result result set_result;
        OrigStatus _orig_status set_orig_status;
        ProvidedDate provided_date set_provided_date;
        ProvidedContentLength provided_content_length set_provided_content_length;
    }
    connection {
        socket set_socket;
        client_address set_client_address;
        server set_server;
        rfile set_rfile;
    }
    numbers {
        code set_code: Option<i64>, None;
        content_length set_content_length: Option<i64>, Some(0);
        response_length set_response_length: u64, 0;
        time_start set_time_start: f64, 0.0;
        time_finish set_time_finish: f64, 0.0;
    }
    flags {
        headers_sent set_headers_sent;
        response_use_chunked set_response_use_chunked;
        connection_upgraded set_connection_upgraded;
    }
}

/// Returns true if a dictionary is plain, so that its items may be set without calling its methods.
pub fn is_plain(dict: &Bound<'_, PyAny>) -> bool {
    dict.is_exact_instance_of::<PyDict>()
}
