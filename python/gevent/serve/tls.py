"""The certificate, its key, and the password of the key."""

from __future__ import annotations

import getpass
import warnings
from typing import Any

from gevent.serve.errors import ServeError, reason
from gevent.serve.options import Options

#: Texts that mark a PEM file whose key is encrypted, in the current and in the old format.
_ENCRYPTED = ("BEGIN ENCRYPTED PRIVATE KEY", "Proc-Type: 4,ENCRYPTED")


def key_password(options: Options) -> str | None:
    """Return the password that decrypts the key, or None if the key is not encrypted.

    The supervisor asks once, before there are workers, which would all ask at the same time.

    :raises ServeError: The password's file cannot be read, or there is no terminal to ask at.
    """
    path = options.tls_key or options.tls_cert
    if path is None:
        return None
    if options.tls_key_password_file:
        try:
            with open(options.tls_key_password_file) as file:
                return file.readline().rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            what = reason(error) if isinstance(error, OSError) else "no text"
            raise ServeError(f"cannot read {options.tls_key_password_file}: {what}") from error
    try:
        with open(path, encoding="latin-1") as file:
            text = file.read()
    except OSError:
        # The worker reports the error when it loads the certificate.
        return None
    if not any(mark in text for mark in _ENCRYPTED):
        return None
    try:
        with warnings.catch_warnings():
            # getpass warns if it cannot hide the typed text, as when a program answers.
            warnings.simplefilter("ignore", getpass.GetPassWarning)
            return getpass.getpass(f"Enter PEM pass phrase for {path}: ")
    except (EOFError, OSError) as error:
        raise ServeError(f"cannot ask for the pass phrase of {path}") from error


def make_context(options: Options, password: str | None) -> Any:
    """Return the :class:`gevent.ssl.SSLContext` of *options*.

    :raises ServeError: The certificate, the key or another setting of TLS cannot be used.
    """
    from gevent import ssl

    assert options.tls_cert is not None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["http/1.1"])
    if options.tls_min_version == "1.3":
        context.minimum_version = ssl.TLSVersion.TLSv1_3
    else:
        context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        # An empty password keeps OpenSSL from asking the terminal for one.
        context.load_cert_chain(options.tls_cert, options.tls_key, password or "")
    except (OSError, ssl.SSLError) as error:
        files = " and ".join(one for one in (options.tls_cert, options.tls_key) if one)
        raise ServeError(f"cannot use the certificate of {files}: {reason(error)}") from error
    if options.tls_ciphers:
        try:
            context.set_ciphers(options.tls_ciphers)
        except ssl.SSLError as error:
            raise ServeError(f"cannot use the ciphers {options.tls_ciphers}") from error
    if options.tls_client_ca:
        try:
            context.load_verify_locations(options.tls_client_ca)
        except (OSError, ssl.SSLError) as error:
            what = reason(error)
            raise ServeError(
                f"cannot use the authorities of {options.tls_client_ca}: {what}"
            ) from error
        context.verify_mode = ssl.CERT_REQUIRED
    return context
