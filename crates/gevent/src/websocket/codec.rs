//! The protocol of one connection without its socket: received bytes to messages, and messages to bytes.

use std::ops::RangeInclusive;

use pyo3::exceptions::{PyOSError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyString, PyTuple};
use reactor::Time;
use websocket::{Decoder, Encoder, Event, Opcode, ProtocolError, Role};

use super::deflate::{Fields, from_fields};
use super::exceptions;
use crate::ffi::buffer::Frozen;
use crate::wsgi::allowance::Allowance;
use crate::wsgi::buffer_pool::{self, BLOCK};
use crate::wsgi::stint::Stint;

/// The least and the most bytes to receive by one system call. Within these bounds it is the rest of the current frame,
/// so that a short message takes little memory and a large one few calls.
const ROOM: RangeInclusive<usize> = BLOCK / 2..=256 * 1024;

/// A message or a control frame from the other side.
pub enum Received<'py> {
    /// A message: a str or a bytearray.
    Message(Bound<'py, PyAny>),
    /// A control frame: opcode and payload; of a close opcode, code (or None) and reason.
    Control(Bound<'py, PyTuple>),
}

/// The state of both directions.
pub struct Codec {
    decoder: Decoder,
    encoder: Encoder,
    /// The received bytes, decoded up to `done`. It has no memory while there is nothing to decode.
    input: Vec<u8>,
    done: usize,
    /// The bytes to be sent, in order. It has no memory while there are none.
    output: Vec<u8>,
    /// The seconds to wait for more of a message that has begun, and the bytes that earn another second.
    limit: Option<(f64, Option<f64>)>,
    /// The number of bytes that came in all.
    pub received: u64,
    /// The time that is left for the message that is under way.
    allowance: Option<Allowance>,
    /// Counts what is sent and received until other greenlets have their turn.
    pub stint: Stint,
}

impl Codec {
    /// Returns the state of one side of a connection.
    ///
    /// # Errors
    /// Returns `ValueError` for a compression whose window is not supported.
    pub fn new(client: bool, max_message_size: usize, deflate: Option<Fields>) -> PyResult<Self> {
        let (me, other) = if client {
            (Role::Client, Role::Server)
        } else {
            (Role::Server, Role::Client)
        };
        let deflate = from_fields(deflate)?;
        Ok(Self {
            decoder: Decoder::new(other, max_message_size, deflate.as_ref()),
            encoder: Encoder::new(me, deflate.as_ref())
                .map_err(|error| PyOSError::new_err(error.to_string()))?,
            limit: None,
            allowance: None,
            stint: Stint::default(),
            received: 0,
            input: Vec::new(),
            done: 0,
            output: Vec::new(),
        })
    }

    /// Sets how long a message that has begun may be waited for.
    pub fn set_limit(&mut self, timeout: Option<f64>, rate: Option<f64>) {
        self.limit = timeout.map(|timeout| (timeout, rate));
    }

    /// Returns the number of seconds to wait for more bytes at most; `None` if no message has begun or there is no
    /// limit.
    pub fn time_left(&mut self) -> Option<f64> {
        let (timeout, rate) = self.limit?;
        if !self.decoder.is_partway() && !self.has_more() {
            self.allowance = None;
            return None;
        }
        let allowance = self
            .allowance
            .get_or_insert_with(|| Allowance::new(timeout, rate));
        Some(allowance.left())
    }

    /// Counts the time since `begin` as spent waiting for more of a message.
    pub fn spend(&mut self, begin: Time) {
        if let Some(allowance) = &mut self.allowance {
            allowance.spend(begin);
        }
    }

    /// Counts received bytes, which extend the time that is left for the message.
    pub fn earn(&mut self, bytes: usize) {
        self.received = self.received.wrapping_add(bytes as u64);
        if let Some(allowance) = &mut self.allowance {
            allowance.earn(bytes as u64);
        }
    }

    /// Returns how many bytes to receive next.
    pub fn wanted(&self) -> usize {
        let pending = usize::try_from(self.decoder.pending()).unwrap_or(usize::MAX);
        pending.clamp(*ROOM.start(), *ROOM.end())
    }

    /// Appends received bytes to the input.
    pub fn feed(&mut self, py: Python<'_>, data: &[u8]) {
        self.earn(data.len());
        self.room(py, data.len()).extend_from_slice(data);
    }

    /// Returns the buffer of received bytes that are not decoded yet, with room for `size` more.
    pub fn room(&mut self, py: Python<'_>, size: usize) -> &mut Vec<u8> {
        if self.input.capacity() < BLOCK {
            let left = &self.input[self.done..];
            let mut buffer = buffer_pool::buffer_for(py, left.len() + size);
            buffer.extend_from_slice(left);
            self.input = buffer;
        } else {
            self.input.drain(..self.done);
        }
        self.done = 0;
        self.input.reserve(size);
        &mut self.input
    }

    /// Returns the input buffer to the pool, as the connection is about to wait. The bytes that are kept, at most the
    /// beginning of a header, move to memory of their own size.
    pub fn pause(&mut self, py: Python<'_>) {
        if self.input.capacity() >= BLOCK {
            let left = self.input[self.done..].to_vec();
            self.done = 0;
            buffer_pool::keep_buffer(py, std::mem::replace(&mut self.input, left));
        }
    }

    /// Returns the next message or control frame; `None` when more bytes are needed.
    ///
    /// # Errors
    /// Returns the breach of the protocol by the other side. The inner result is the error of making Python objects.
    pub fn next<'py>(
        &mut self,
        py: Python<'py>,
    ) -> Result<PyResult<Option<Received<'py>>>, ProtocolError> {
        if !self.has_more() {
            return Ok(Ok(None));
        }
        let decoded = self.decoder.decode(&mut self.input[self.done..])?;
        self.done += decoded.consumed;
        let received = decoded.event.map(|event| object(py, event)).transpose();
        if !self.has_more() {
            self.pause(py);
        }
        Ok(received)
    }

    /// Returns true if more was received than was decoded.
    pub fn has_more(&self) -> bool {
        self.done < self.input.len()
    }

    /// Returns the bytes to be sent.
    pub fn output(&self) -> &[u8] {
        &self.output
    }

    /// Takes the bytes to be sent. The caller may return their memory to the buffer pool.
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    /// Removes the first `count` bytes of the output, which were sent.
    pub fn sent(&mut self, py: Python<'_>, count: usize) {
        self.output.drain(..count);
        if self.output.is_empty() {
            buffer_pool::keep_buffer(py, self.take_output());
        }
    }

    /// Has `append` encode something at the end of the output.
    #[inline]
    fn append<E>(
        &mut self,
        py: Python<'_>,
        write: impl FnOnce(&mut Encoder, &mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.output.capacity() == 0 {
            self.output = buffer_pool::buffer(py);
        }
        write(&mut self.encoder, &mut self.output)
    }

    /// Appends a message to the output.
    ///
    /// # Errors
    /// Returns `ValueError` for text that is not UTF-8.
    pub fn message(&mut self, py: Python<'_>, message: &Message<'_>) -> PyResult<()> {
        self.append(py, |encoder, out| {
            match (&message.content, message.text) {
                (Content::Str(text), true) => encoder.text(text, out),
                (Content::Str(text), false) => encoder.binary(text.as_bytes(), out),
                (Content::Memory(memory), true) => {
                    let text = std::str::from_utf8(memory.bytes(py))
                        .map_err(|_| PyValueError::new_err("a text message must be valid UTF-8"))?;
                    encoder.text(text, out);
                }
                (Content::Memory(memory), false) => encoder.binary(memory.bytes(py), out),
            }
            Ok(())
        })
    }

    /// Appends a frame to the output as it is.
    ///
    /// # Errors
    /// Returns `ValueError` for an unknown opcode, and for a control frame that is too long.
    pub fn frame(&mut self, py: Python<'_>, opcode: u8, payload: &[u8]) -> PyResult<()> {
        let opcode = Opcode::from_number(opcode)
            .ok_or_else(|| PyValueError::new_err(format!("unknown opcode {opcode}")))?;
        self.append(py, |encoder, out| encoder.frame(true, opcode, payload, out))
            .map_err(|error| PyValueError::new_err(error.to_string()))
    }

    /// Appends a close frame to the output; without a code it is empty.
    ///
    /// # Errors
    /// Returns `ValueError` for a code that may not be sent, and for too long a reason.
    pub fn close(&mut self, py: Python<'_>, code: Option<u16>, reason: &str) -> PyResult<()> {
        let reason = code.map(|code| (code, reason));
        self.append(py, |encoder, out| encoder.close(reason, out))
            .map_err(|error| PyValueError::new_err(error.to_string()))
    }
}

/// A message to send.
pub struct Message<'a> {
    content: Content<'a>,
    text: bool,
}

enum Content<'a> {
    Str(&'a str),
    Memory(Frozen),
}

impl<'a> Message<'a> {
    /// Returns the message for an object: text for a str, and bytes for a bytes-like object, unless `binary` says
    /// otherwise.
    ///
    /// # Errors
    /// Returns `TypeError` for any other object, and `UnicodeEncodeError` for a str that UTF-8 cannot encode.
    #[inline]
    pub fn of(object: &'a Bound<'_, PyAny>, binary: Option<bool>) -> PyResult<Self> {
        if let Ok(text) = object.cast::<PyString>() {
            return Ok(Self {
                content: Content::Str(text.to_str()?),
                text: binary != Some(true),
            });
        }
        let memory = Frozen::of(object).map_err(|_| {
            let class = object.get_type();
            PyTypeError::new_err(format!("a message must be str or bytes-like, not {class}"))
        })?;
        Ok(Self {
            content: Content::Memory(memory),
            text: binary == Some(false),
        })
    }
}

fn object<'py>(py: Python<'py>, event: Event<'_>) -> PyResult<Received<'py>> {
    let control = |opcode: Opcode, payload| {
        let item = (opcode.number(), PyBytes::new(py, payload));
        item.into_pyobject(py).map(Received::Control)
    };
    match event {
        Event::Text(text) => Ok(Received::Message(PyString::new(py, text).into_any())),
        Event::Binary(content) => Ok(Received::Message(PyByteArray::new(py, content).into_any())),
        Event::Ping(payload) => control(Opcode::Ping, payload),
        Event::Pong(payload) => control(Opcode::Pong, payload),
        Event::Close(reason) => {
            let (code, text) = reason.map_or((None, ""), |(code, text)| (Some(code), text));
            let item = (Opcode::Close.number(), code, text);
            item.into_pyobject(py).map(Received::Control)
        }
    }
}

/// Returns the exception for a breach of the protocol by the other side.
pub fn broken(error: ProtocolError) -> PyErr {
    let text = error.to_string();
    match error {
        ProtocolError::TooLarge => exceptions::FrameTooLargeException::new_err(text),
        ProtocolError::Utf8 => exceptions::InvalidTextError::new_err(text),
        _ => exceptions::ProtocolError::new_err(text),
    }
}
