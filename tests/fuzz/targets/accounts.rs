//! What must hold of any bytes is said in `sealinit::fuzzing::accounts`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sealinit::fuzzing::accounts(bytes));
