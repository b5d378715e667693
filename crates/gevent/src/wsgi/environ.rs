//! The environment that an application is called with (PEP 3333): the server's own variables and those of the request.

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use http1::{Head, Target, Version};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyList, PyString};

use crate::cell::GilCell;
use crate::ffi::{attribute, text};
use crate::wsgi::attributes::is_plain;
use crate::wsgi::exchange::Slot;
use crate::wsgi::handler::{Handler, attributes, call, is_overridden};
use crate::wsgi::input::Input;
use crate::wsgi::overriding::Step;

/// The names of fields as variables, and the last value of each that was short: clients repeat themselves.
struct Names {
    known: HashMap<Box<[u8]>, usize, BuildHasherDefault<Fnv>>,
    entries: Vec<Entry>,
}

struct Entry {
    variable: Py<PyString>,
    joiner: &'static str,
    /// True if its values are kept.
    keeps: bool,
    last: Option<(Box<[u8]>, Py<PyString>)>,
}

const MOST_NAMES: usize = 256;
const LONGEST_NAME: usize = 64;
const LONGEST_VALUE: usize = 160;

/// Fields that depend on the client's program more than on its user, and so come again and again with the same value.
const KEPT: [&str; 9] = [
    "host",
    "user-agent",
    "accept",
    "accept-encoding",
    "accept-language",
    "cache-control",
    "connection",
    "content-type",
    "origin",
];

static NAMES: PyOnceLock<GilCell<Names>> = PyOnceLock::new();

/// FNV-1a, for keys that are short and few.
#[derive(Default)]
struct Fnv(u64);

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

fn names(py: Python<'_>) -> &GilCell<Names> {
    NAMES.get_or_init(py, || {
        GilCell::new(Names {
            known: HashMap::default(),
            entries: Vec::new(),
        })
    })
}

fn variable_of(name: &[u8]) -> String {
    let text = String::from_utf8_lossy(name)
        .to_ascii_uppercase()
        .replace('-', "_");
    match text.as_str() {
        "CONTENT_TYPE" | "CONTENT_LENGTH" => text,
        _ => format!("HTTP_{text}"),
    }
}

/// A field as a variable: its name, its value, and what joins it to another of the same name.
type Variable<'py> = (Bound<'py, PyString>, Bound<'py, PyString>, &'static str);

/// Returns a field as a variable; `None` if its name has an underscore. Names that are known have none.
fn variable<'py>(py: Python<'py>, name: &[u8], value: &[u8]) -> PyResult<Option<Variable<'py>>> {
    let names = names(py);
    let found = names.with(py, |names| {
        let at = *names.known.get(name)?;
        let entry = &names.entries[at];
        let last = entry.last.as_ref();
        let value = last.filter(|(bytes, _)| **bytes == *value);
        Some((
            at,
            entry.variable.clone_ref(py),
            value.map(|(_, text)| text.clone_ref(py)),
            entry.joiner,
            entry.keeps,
        ))
    });
    if let Some((at, variable, text, joiner, keeps)) = found {
        let variable = variable.into_bound(py);
        if let Some(text) = text {
            return Ok(Some((variable, text.into_bound(py), joiner)));
        }
        let text = text::from_latin1(py, value)?;
        if keeps && value.len() <= LONGEST_VALUE {
            let last = Some((Box::from(value), text.clone().unbind()));
            let old = names.with(py, |names| {
                std::mem::replace(&mut names.entries[at].last, last)
            });
            drop(old);
        }
        return Ok(Some((variable, text, joiner)));
    }
    if memchr::memchr(b'_', name).is_some() {
        return Ok(None);
    }
    let lower = name.to_ascii_lowercase();
    let joiner = if lower.starts_with(b"cookie") {
        "; "
    } else {
        ","
    };
    let variable = PyString::intern(py, &variable_of(name));
    if name.len() <= LONGEST_NAME {
        let entry = Entry {
            variable: variable.clone().unbind(),
            joiner,
            keeps: KEPT.iter().any(|other| other.as_bytes() == lower),
            last: None,
        };
        names.with(py, |names| {
            if names.entries.len() < MOST_NAMES {
                names.known.insert(Box::from(name), names.entries.len());
                names.entries.push(entry);
                None
            } else {
                Some(entry)
            }
        });
    }
    Ok(Some((variable, text::from_latin1(py, value)?, joiner)))
}

/// Returns the request's fields as variables, a list of pairs.
///
/// # Errors
/// Returns the error that a message raises which was set as `headers`.
pub fn variables<'py>(handler: &Handler<'py>) -> PyResult<Bound<'py, PyList>> {
    let py = handler.py();
    let into = PyDict::new(py);
    add_fields(handler, into.as_any())?;
    Ok(into.items())
}

/// Adds the request's fields to an environment, from wherever they are.
fn add_fields(handler: &Handler<'_>, into: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = handler.py();
    let this = attributes(handler);
    if let Some(message) = this.get(py, Slot::Headers) {
        let mut fields = Vec::new();
        for item in message.call_method0(intern!(py, "items"))?.try_iter()? {
            let (name, value): (String, String) = item?.extract()?;
            let value = value.trim().chars();
            let value: Vec<u8> = value
                .map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?'))
                .collect();
            fields.push((name, value));
        }
        let all = || {
            fields
                .iter()
                .map(|(name, value)| (name.as_bytes(), &value[..]))
        };
        return all().try_for_each(|field| add(into, field, all));
    }
    with_head(handler, |head| add_decoded(head, into))
}

/// Calls `f`, which may make Python objects, with the head. The head is taken out of the cell meanwhile, as Python
/// objects must not be made while a cell is open.
fn with_head<R>(handler: &Handler<'_>, f: impl FnOnce(&Head) -> R) -> R {
    let py = handler.py();
    let this = attributes(handler);
    let head = this.exchange(py, |exchange| std::mem::take(&mut exchange.head));
    let made = f(&head);
    let stand_in = this.exchange(py, |exchange| std::mem::replace(&mut exchange.head, head));
    drop(stand_in);
    made
}

/// Adds the fields that were decoded.
fn add_decoded(head: &Head, into: &Bound<'_, PyAny>) -> PyResult<()> {
    head.pairs()
        .try_for_each(|field| add(into, field, || head.pairs()))
}

/// Adds a field; the values of repeated fields are joined into one variable. A field with an underscore in its name is
/// left out, as it could pass for one with a hyphen.
fn add<'a, I: Iterator<Item = (&'a [u8], &'a [u8])>>(
    into: &Bound<'_, PyAny>,
    (name, value): (&[u8], &[u8]),
    all: impl Fn() -> I,
) -> PyResult<()> {
    let py = into.py();
    let Some((variable, text, joiner)) = variable(py, name, value)? else {
        return Ok(());
    };
    let dict = into.cast_exact::<PyDict>().ok();
    let new = match dict {
        Some(dict) => dict.set_default(&variable, &text)?,
        None => !into.contains(&variable)?,
    };
    if new {
        return match dict {
            Some(_) => Ok(()),
            None => into.set_item(variable, text),
        };
    }
    let same = all().filter(|(other, _)| other.eq_ignore_ascii_case(name));
    let values: Vec<_> = same.map(|(_, value)| value).collect();
    into.set_item(
        variable,
        text::from_latin1(py, &values.join(joiner.as_bytes()))?,
    )
}

/// Implements `_connection_upgrade_requested`.
///
/// # Errors
/// Returns the error that a message raises which was set as `headers`.
pub fn connection_upgrade_requested(handler: &Handler<'_>) -> PyResult<bool> {
    let py = handler.py();
    let this = attributes(handler);
    if let Some(message) = this.get(py, Slot::Headers) {
        let get = |name: &str| -> PyResult<String> {
            let value = message.call_method1(intern!(py, "get"), (name, ""))?;
            Ok(value.str()?.to_string().to_ascii_lowercase())
        };
        return Ok(get("Connection")?.contains("upgrade") || get("Upgrade")? == "websocket");
    }
    Ok(this.exchange(py, |exchange| {
        exchange.decoded && exchange.head.hints_at_upgrade()
    }))
}

/// Returns a copy of the server's environment, to be completed.
fn of_server<'py>(handler: &Handler<'py>) -> PyResult<Bound<'py, PyAny>> {
    let py = handler.py();
    let (server, plain) = attributes(handler).state.with(py, |state| {
        let server = state.server.as_ref().map(|server| server.clone_ref(py));
        let plain = state
            .service
            .as_ref()
            .is_some_and(|service| service.get().plain);
        (server, plain)
    });
    let Some(server) = server else {
        return Ok(PyDict::new(py).into_any());
    };
    let server = server.bind(py);
    if plain {
        let base = attribute::own_first(server, intern!(py, "environ"))?;
        let class = server.getattr(intern!(py, "environ_class"))?;
        if is_plain(&base) && class.is(py.get_type::<PyDict>()) {
            return Ok(base.cast_into::<PyDict>()?.copy()?.into_any());
        }
    }
    server.call_method0(intern!(py, "get_environ"))
}

/// Returns a path with its escapes undone.
fn unescaped(path: &[u8]) -> Cow<'_, [u8]> {
    let Some(first) = memchr::memchr(b'%', path) else {
        return Cow::Borrowed(path);
    };
    let mut plain = Vec::with_capacity(path.len());
    plain.extend_from_slice(&path[..first]);
    let mut rest = &path[first..];
    while let Some((&byte, after)) = rest.split_first() {
        let digit = |at: usize| char::from(*after.get(at)?).to_digit(16);
        rest = match (byte, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                plain.push((high * 16 + low) as u8);
                &after[2..]
            }
            _ => {
                plain.push(byte);
                after
            }
        };
    }
    Cow::Owned(plain)
}

/// Returns a method as a string, which all requests with this method share.
fn shared_method<'py>(py: Python<'py>, name: &str) -> Bound<'py, PyString> {
    match name {
        "GET" => intern!(py, "GET").clone(),
        "POST" => intern!(py, "POST").clone(),
        "HEAD" => intern!(py, "HEAD").clone(),
        "PUT" => intern!(py, "PUT").clone(),
        other => PyString::new(py, other),
    }
}

/// The variables that the request line determines.
struct Line<'py> {
    method: Bound<'py, PyAny>,
    path: Bound<'py, PyString>,
    query: Bound<'py, PyString>,
    /// The host that the target names, which counts in the place of the field's (RFC 9112 section 3.2.2).
    host: Option<Bound<'py, PyString>>,
    version: Bound<'py, PyAny>,
}

/// Returns the variables of the request line; attributes that were set from Python take precedence over the decoded
/// ones.
fn line<'py>(handler: &Handler<'py>, head: &Head) -> PyResult<Line<'py>> {
    let py = handler.py();
    let this = attributes(handler);
    let target = match this.get(py, Slot::Path) {
        Some(path) => {
            let path = path.cast_into::<PyString>()?;
            Cow::Owned(text::as_latin1(&path).unwrap_or_default().to_vec())
        }
        None => Cow::Borrowed(head.target()),
    };
    let method = this
        .get(py, Slot::Command)
        .unwrap_or_else(|| shared_method(py, head.method()).into_any());
    let parts = Target::of(method.extract().unwrap_or_default(), &target);
    Ok(Line {
        path: text::from_latin1(py, &unescaped(parts.path))?,
        query: text::from_latin1(py, parts.query)?,
        host: match parts.authority {
            Some(authority) => Some(text::from_latin1(py, authority)?),
            None => None,
        },
        method,
        version: this.get(py, Slot::RequestVersion).unwrap_or_else(|| {
            let version = match head.version() {
                Version::Http10 => intern!(py, "HTTP/1.0"),
                Version::Http11 => intern!(py, "HTTP/1.1"),
            };
            version.clone().into_any()
        }),
    })
}

/// Implements `get_environ`.
///
/// # Errors
/// Returns the error that an overridden step raises.
pub fn get_environ<'py>(handler: &Handler<'py>) -> PyResult<Bound<'py, PyAny>> {
    let py = handler.py();
    let this = attributes(handler);
    let environ = of_server(handler)?;
    let set = |name: &Bound<'py, PyString>, value: &Bound<'py, PyAny>| match environ
        .cast_exact::<PyDict>()
    {
        Ok(dict) => dict.set_item(name, value),
        Err(_) => environ.set_item(name, value),
    };
    let remote = this.state.with(py, |state| {
        let (host, port) = state.remote.as_ref()?;
        Some((host.clone_ref(py), port.clone_ref(py)))
    });
    if let Some((host, port)) = remote {
        set(intern!(py, "REMOTE_ADDR"), host.bind(py))?;
        set(intern!(py, "REMOTE_PORT"), port.bind(py))?;
    }
    let as_decoded = !is_overridden(handler, Step::Headers) && !this.is_set(py, Slot::Headers);
    let (framing, expects) = this.exchange(py, |exchange| {
        (exchange.head.framing(), exchange.head.expects_continue())
    });
    let host = with_head(handler, |head| {
        let line = line(handler, head)?;
        set(intern!(py, "REQUEST_METHOD"), &line.method)?;
        set(intern!(py, "PATH_INFO"), line.path.as_any())?;
        set(intern!(py, "QUERY_STRING"), line.query.as_any())?;
        set(intern!(py, "SERVER_PROTOCOL"), &line.version)?;
        if as_decoded {
            add_decoded(head, &environ)?;
        }
        Ok::<_, PyErr>(line.host)
    })?;
    if is_overridden(handler, Step::Headers) {
        for pair in call(handler, Step::Headers, ())?.try_iter()? {
            let (name, value): (Bound<'_, PyString>, Bound<'_, PyAny>) = pair?.extract()?;
            set(&name, &value)?;
        }
    } else if !as_decoded {
        add_fields(handler, &environ)?;
    }
    if let Some(host) = host {
        set(intern!(py, "HTTP_HOST"), host.as_any())?;
    }
    let upgrade = if is_overridden(handler, Step::ConnectionUpgradeRequested) {
        call(handler, Step::ConnectionUpgradeRequested, ())?.is_truthy()?
    } else {
        connection_upgrade_requested(handler)?
    };
    this.exchange(py, |exchange| exchange.upgrade_offered = upgrade);
    let input = Input::of_request(handler, framing, expects)?;
    let terminated = pyo3::types::PyBool::new(py, !upgrade);
    set(intern!(py, "wsgi.input"), input.as_any())?;
    set(intern!(py, "wsgi.input_terminated"), terminated.as_any())?;
    this.put(py, Slot::WsgiInput, Some(input.into_any().unbind()));
    Ok(environ)
}
