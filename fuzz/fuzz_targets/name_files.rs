//! libFuzzer's entry to [`fuzz::name_files`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::name_files(data));
