#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| actix_batch_fuzz::checkpoint::check(bytes));
