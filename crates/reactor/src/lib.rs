//! Event-loop parts without Python.
