//! `gevent.Greenlet`: its life, its end, its origin, and data of its own.

pub mod completion;
pub mod connection;
pub mod greenlet;
pub mod join;
pub mod local;
pub mod methods;
pub mod origin;
pub mod spawn_settings;
pub mod spawn_tree;
pub mod spawned_link;
pub mod spawning;
pub mod state;
