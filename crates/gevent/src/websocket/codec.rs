//! What runs for each message: bytes to messages, and messages to bytes.

use pyo3::IntoPyObjectExt;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyString};
use websocket::{Decoder, Encoder, Event, Opcode, ProtocolError, Role};

use super::deflate::{Fields, from_fields};
use super::exceptions;
use crate::cell::GilCell;
use crate::errors::ConcurrentObjectUseError;
use crate::ffi::buffer::Readable;

/// How much to receive at once: a message of the usual size, and no more than a piece of a large one.
const RECEIVE: std::ops::RangeInclusive<u64> = 16 * 1024..=256 * 1024;

/// More memory than this is given back after a large message.
const KEPT: usize = 64 * 1024;

/// The protocol of one connection, without its socket.
#[pyclass(frozen, module = "gevent._core")]
pub struct WebSocketCodec {
    /// Out of the cell while a call uses it: making Python objects of it is nothing to do in a cell.
    state: GilCell<Option<Box<State>>>,
}

struct State {
    decoder: Decoder,
    encoder: Encoder,
    /// What was received; up to `done` it is decoded.
    input: Vec<u8>,
    done: usize,
    output: Vec<u8>,
}

impl State {
    fn add(&mut self, data: &[u8]) {
        self.input.drain(..self.done);
        if data.len() <= KEPT {
            self.input.shrink_to(KEPT);
        }
        self.done = 0;
        self.input.extend_from_slice(data);
    }
}

impl WebSocketCodec {
    fn with_state<R>(
        &self,
        py: Python<'_>,
        f: impl FnOnce(&mut State) -> PyResult<R>,
    ) -> PyResult<R> {
        let Some(mut state) = self.state.take(py) else {
            return Err(ConcurrentObjectUseError::new_err(
                "this codec is used by another call",
            ));
        };
        let outcome = f(&mut state);
        self.state.replace(py, Some(state));
        outcome
    }
}

#[pymethods]
impl WebSocketCodec {
    #[new]
    #[pyo3(signature = (client, max_message_size, deflate = None))]
    fn new(client: bool, max_message_size: usize, deflate: Option<Fields>) -> PyResult<Self> {
        let (me, other) = if client {
            (Role::Client, Role::Server)
        } else {
            (Role::Server, Role::Client)
        };
        let deflate = from_fields(deflate)?;
        let state = State {
            decoder: Decoder::new(other, max_message_size, deflate.as_ref()),
            encoder: Encoder::new(me, deflate.as_ref()),
            input: Vec::new(),
            done: 0,
            output: Vec::new(),
        };
        Ok(Self {
            state: GilCell::new(Some(Box::new(state))),
        })
    }

    /// Add to what was received.
    fn feed(&self, py: Python<'_>, data: &Bound<'_, PyAny>) -> PyResult<()> {
        let data = Readable::of(data)?;
        self.with_state(py, |state| {
            state.add(data.bytes(py));
            Ok(())
        })
    }

    /// The next of what was received, after adding `data` to it: a str, a bytearray, or for a control frame a tuple of
    /// opcode and payload; of a close, opcode, code (or None) and reason. None when more bytes are needed.
    #[pyo3(signature = (data = None, /))]
    fn next<'py>(
        &self,
        py: Python<'py>,
        data: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let data = data.map(Readable::of).transpose()?;
        self.with_state(py, |state| {
            if let Some(data) = &data {
                state.add(data.bytes(py));
            }
            let decoded = state
                .decoder
                .decode(&mut state.input[state.done..])
                .map_err(broken)?;
            state.done += decoded.consumed;
            decoded.event.map(|event| object(py, event)).transpose()
        })
    }

    /// How many bytes to ask the socket for.
    #[getter]
    fn wanted(&self, py: Python<'_>) -> PyResult<u64> {
        self.with_state(py, |state| {
            Ok(state
                .decoder
                .pending()
                .clamp(*RECEIVE.start(), *RECEIVE.end()))
        })
    }

    /// A message as bytes to send: a str as text, a bytes-like object as bytes, unless `binary` says otherwise.
    #[pyo3(signature = (message, binary = None))]
    fn encode<'py>(
        &self,
        py: Python<'py>,
        message: &Bound<'py, PyAny>,
        binary: Option<bool>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        if let Ok(text) = message.cast::<PyString>() {
            let text = text.to_str()?;
            return self.encoded(py, |encoder, out| {
                if binary == Some(true) {
                    encoder.binary(text.as_bytes(), out);
                } else {
                    encoder.text(text, out);
                }
                Ok(())
            });
        }
        let content = Readable::of(message).map_err(|_| {
            let class = message.get_type();
            PyTypeError::new_err(format!("a message is str or bytes-like, not {class}"))
        })?;
        let content = content.bytes(py);
        self.encoded(py, |encoder, out| {
            if binary == Some(false) {
                let text = std::str::from_utf8(content)
                    .map_err(|_| PyValueError::new_err("a message of text must be UTF-8"))?;
                encoder.text(text, out);
            } else {
                encoder.binary(content, out);
            }
            Ok(())
        })
    }

    /// A frame as bytes to send, as it is.
    #[pyo3(signature = (payload, opcode, fin = true))]
    fn encode_frame<'py>(
        &self,
        py: Python<'py>,
        payload: &Bound<'py, PyAny>,
        opcode: u8,
        fin: bool,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let opcode = Opcode::from_number(opcode)
            .ok_or_else(|| PyValueError::new_err(format!("unknown opcode {opcode}")))?;
        let payload = Readable::of(payload)?;
        let payload = payload.bytes(py);
        self.encoded(py, |encoder, out| {
            encoder
                .frame(fin, opcode, payload, out)
                .map_err(|error| PyValueError::new_err(error.to_string()))
        })
    }

    /// A close frame as bytes to send. Without a code it is empty.
    fn encode_close<'py>(
        &self,
        py: Python<'py>,
        code: Option<u16>,
        reason: &str,
    ) -> PyResult<Bound<'py, PyBytes>> {
        self.encoded(py, |encoder, out| {
            encoder
                .close(code.map(|code| (code, reason)), out)
                .map_err(|error| PyValueError::new_err(error.to_string()))
        })
    }
}

impl WebSocketCodec {
    fn encoded<'py>(
        &self,
        py: Python<'py>,
        f: impl FnOnce(&mut Encoder, &mut Vec<u8>) -> PyResult<()>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        self.with_state(py, |state| {
            state.output.clear();
            state.output.shrink_to(KEPT);
            f(&mut state.encoder, &mut state.output)?;
            Ok(PyBytes::new(py, &state.output))
        })
    }
}

fn object<'py>(py: Python<'py>, event: Event<'_>) -> PyResult<Bound<'py, PyAny>> {
    let control = |opcode: Opcode, payload| {
        (opcode.number(), PyBytes::new(py, payload)).into_bound_py_any(py)
    };
    match event {
        Event::Text(text) => Ok(PyString::new(py, text).into_any()),
        Event::Binary(content) => Ok(PyByteArray::new(py, content).into_any()),
        Event::Ping(payload) => control(Opcode::Ping, payload),
        Event::Pong(payload) => control(Opcode::Pong, payload),
        Event::Close(reason) => {
            let (code, text) = reason.map_or((None, ""), |(code, text)| (Some(code), text));
            (Opcode::Close.number(), code, text).into_bound_py_any(py)
        }
    }
}

fn broken(error: ProtocolError) -> PyErr {
    let text = error.to_string();
    match error {
        ProtocolError::TooLarge => exceptions::FrameTooLargeException::new_err(text),
        ProtocolError::Utf8 => exceptions::InvalidTextError::new_err(text),
        _ => exceptions::ProtocolError::new_err(text),
    }
}
