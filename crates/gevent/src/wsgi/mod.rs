//! The WSGI server: a connection's greenlet, from the bytes of a request to those of its response.
//!
//! `connection` is the way of a connection, `request` and `environ` lead to the application, `run` calls it, `response` and
//! `send` lead back. Each step is a method of `WSGIHandler` that a subclass may override: `overriding` knows which are, and
//! only those are called as Python methods.
//!
//! No file knows one that is above it: `exchange`, `attributes` and `handler` hold the state and are below all others;
//! `methods`, which has the Python faces of every step, is above all but `serve`.

pub mod access_log;
pub mod allowance;
pub mod attributes;
pub mod body_part;
pub mod buffer_pool;
pub mod connection;
pub mod environ;
pub mod error_log;
pub mod errors;
pub mod exchange;
pub mod failure;
pub mod file_wrapper;
pub mod finish;
pub mod handler;
pub mod input;
pub mod methods;
pub mod overriding;
pub mod request;
pub mod request_file;
pub mod responder;
pub mod response;
pub mod run;
pub mod send;
pub mod serve;
pub mod service;
pub mod statistics;
