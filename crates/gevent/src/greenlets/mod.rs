//! `gevent.Greenlet`: its life, its end, where it came from, and data of its own.

pub mod api;
pub mod end;
pub mod greenlet;
pub mod handling;
pub mod local;
pub mod origin;
pub mod spawn_settings;
pub mod spawn_tree;
pub mod spawned_link;
pub mod spawning;
pub mod state;
pub mod wait;
