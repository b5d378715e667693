//! Socket addresses, between the kernel's form and the tuples, strings and bytes of Python's `socket` module.

use std::net::{Ipv4Addr, SocketAddrV4};

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString, PyTuple};
use rustix::net::{AddressFamily, SocketAddrAny, SocketAddrUnix, SocketAddrV6};

use crate::cell::GilCell;

/// Returns true if addresses of this family are converted here; those of other families are left to the standard
/// library.
pub fn is_common(family: i32) -> bool {
    matches!(family, libc::AF_INET | libc::AF_INET6 | libc::AF_UNIX)
}

/// Converts a peer's address: to ``(host, port)``, ``(host, port, flow, scope)``, a path, or None when the kernel names none.
///
/// # Errors
/// Returns `MemoryError`.
pub fn to_python<'py>(
    py: Python<'py>,
    family: i32,
    address: Option<SocketAddrAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let Some(address) = address else {
        return Ok(match family {
            libc::AF_UNIX => PyString::new(py, "").into_any(),
            _ => py.None().into_bound(py),
        });
    };
    match address.address_family() {
        AddressFamily::INET => {
            let Ok(address) = SocketAddrV4::try_from(address) else {
                return Ok(py.None().into_bound(py));
            };
            Ok((host_v4(py, *address.ip()), address.port())
                .into_pyobject(py)?
                .into_any())
        }
        AddressFamily::INET6 => {
            let Ok(address) = SocketAddrV6::try_from(address) else {
                return Ok(py.None().into_bound(py));
            };
            let host = address.ip().to_string();
            let flow = u32::from_be(address.flowinfo()) & 0xf_ffff;
            Ok((host, address.port(), flow, address.scope_id())
                .into_pyobject(py)?
                .into_any())
        }
        _ => unix(py, SocketAddrUnix::try_from(address).ok()),
    }
}

/// The host of the last address, as a string. Behind a proxy all connections come from one host, and share the string.
static LAST_HOST: GilCell<Option<(Ipv4Addr, Py<PyString>)>> = GilCell::in_static(None);

fn host_v4(py: Python<'_>, address: Ipv4Addr) -> Bound<'_, PyString> {
    let known = LAST_HOST.with(py, |last| match last {
        Some((known, host)) if *known == address => Some(host.clone_ref(py)),
        _ => None,
    });
    if let Some(host) = known {
        return host.into_bound(py);
    }
    let host = PyString::new(py, Figures::of(address).text());
    drop(LAST_HOST.replace(py, Some((address, host.clone().unbind()))));
    host
}

/// An IPv4 address in dotted decimals. Each accepted connection has one, and its `Display` takes ten times as long.
struct Figures {
    bytes: [u8; 15],
    length: usize,
}

impl Figures {
    fn of(address: Ipv4Addr) -> Self {
        let mut figures = Self {
            bytes: [0; 15],
            length: 0,
        };
        for (position, octet) in address.octets().into_iter().enumerate() {
            if position > 0 {
                figures.push(b'.');
            }
            if octet >= 100 {
                figures.push(b'0' + octet / 100);
            }
            if octet >= 10 {
                figures.push(b'0' + octet / 10 % 10);
            }
            figures.push(b'0' + octet % 10);
        }
        figures
    }

    fn push(&mut self, byte: u8) {
        self.bytes[self.length] = byte;
        self.length += 1;
    }

    fn text(&self) -> &str {
        str::from_utf8(&self.bytes[..self.length]).unwrap_or_default()
    }
}

fn unix<'py>(py: Python<'py>, address: Option<SocketAddrUnix>) -> PyResult<Bound<'py, PyAny>> {
    let Some(address) = address else {
        return Ok(PyString::new(py, "").into_any());
    };
    if let Some(name) = address.abstract_name().filter(|name| !name.is_empty()) {
        let name = [&[0], name].concat();
        return Ok(PyBytes::new(py, &name).into_any());
    }
    let path = address.path_bytes().unwrap_or_default();
    let path = path.strip_suffix(&[0]).unwrap_or(path);
    let path: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(path);
    Ok(path.into_pyobject(py)?.into_any())
}

/// Converts an IPv4 address in dotted decimals, ``("127.0.0.1", 80)``; returns `None` for a name that has to be looked
/// up, and for an address that the standard library is to refuse.
pub fn plain_v4(address: &Bound<'_, PyAny>) -> Option<SocketAddrV4> {
    let address = address.cast_exact::<PyTuple>().ok()?;
    if address.len() != 2 {
        return None;
    }
    let (host, port) = (address.get_item(0).ok()?, address.get_item(1).ok()?);
    let host: Ipv4Addr = host
        .cast_exact::<PyString>()
        .ok()?
        .to_str()
        .ok()?
        .parse()
        .ok()?;
    let port = port
        .cast_exact::<pyo3::types::PyInt>()
        .ok()?
        .extract()
        .ok()?;
    Some(SocketAddrV4::new(host, port))
}
