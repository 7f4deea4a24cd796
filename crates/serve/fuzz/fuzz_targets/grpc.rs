#![no_main]
libfuzzer_sys::fuzz_target!(|sent: &[u8]| strata_serve_fuzz::message(sent));
