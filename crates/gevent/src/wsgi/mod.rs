//! The WSGI server: a connection's greenlet, from the bytes of a request to those of its response.
//!
//! `connection` runs a connection. `request` reads requests, `environ` makes the application's environment, `run` calls
//! the application, `response` makes the head of the response, and `send` sends it with the body. Each step is a method
//! of `WSGIHandler` that a subclass may override: `overriding` finds out which ones are overridden, and only those are
//! called as Python methods.
//!
//! Files depend only on files below them: `exchange`, `attributes` and `handler` hold the state and are at the bottom;
//! `methods`, which has the Python methods of every step, is above all others but `serve`.

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
pub mod stint;
