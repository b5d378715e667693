//! libFuzzer's entry to [`fuzz::handshakes`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::handshakes(data));
