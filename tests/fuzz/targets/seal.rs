//! What must hold of any bytes is said in `sealinit::fuzzing::seal`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sealinit::fuzzing::seal(bytes));
