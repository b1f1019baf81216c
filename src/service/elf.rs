//! Which interpreter an ELF program asks the kernel for: the dynamic linker, which another image may not have.
//!
//! Never judges: what is damaged, or no ELF at all, names none, and the kernel says what is wrong with it.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// What every ELF file begins with.
pub(crate) const MAGIC: &[u8] = b"\x7fELF";

/// The program header type of an interpreter's name (`elf(5)`).
const PT_INTERP: u64 = 3;

/// The kernel refuses a name that is longer (`PATH_MAX` of limits.h), and more program headers than these bytes hold.
const LONGEST_NAME: u64 = 4096;
const LONGEST_HEADERS: u64 = 65_536;

/// The interpreter that a program names. `read` gives exactly so many bytes from an offset of the file, if there are so many.
pub(crate) fn interpreter(read: impl Fn(u64, usize) -> Option<Vec<u8>>) -> Option<PathBuf> {
    let header = read(0, 64)?;
    let fields = Fields {
        wide: header[4] == 2,
        big: header[5] == 2,
    };
    if !header.starts_with(MAGIC) || ![1, 2].contains(&header[4]) || ![1, 2].contains(&header[5]) {
        return None;
    }
    // Where the program headers are, the size of one, and how many there are: of 32 and of 64 bits.
    let (at, size, count) = if fields.wide {
        (32, 54, 56)
    } else {
        (28, 42, 44)
    };
    let (at, size, count) = (
        fields.address(&header, at)?,
        fields.half(&header, size)?,
        fields.half(&header, count)?,
    );
    let headers = read(
        at,
        usize::try_from(
            size.checked_mul(count)
                .filter(|all| *all <= LONGEST_HEADERS)?,
        )
        .ok()?,
    )?;
    let smallest = if fields.wide { 56 } else { 32 };
    let found = headers
        .chunks_exact(
            usize::try_from(size)
                .ok()
                .filter(|size| *size >= smallest)?,
        )
        .find(|header| fields.number(header, 0, 4) == Some(PT_INTERP))?;
    let (offset, length) = if fields.wide { (8, 32) } else { (4, 16) };
    let length = fields
        .address(found, length)
        .filter(|length| (2..=LONGEST_NAME).contains(length))?;
    let mut name = read(
        fields.address(found, offset)?,
        usize::try_from(length).ok()?,
    )?;
    name.truncate(name.iter().position(|byte| *byte == 0)?);
    let path = PathBuf::from(OsString::from_vec(name));
    path.is_absolute().then_some(path)
}

/// How the numbers of a file are written.
struct Fields {
    /// 64 bits.
    wide: bool,
    /// Big end first.
    big: bool,
}

impl Fields {
    fn number(&self, bytes: &[u8], at: usize, length: usize) -> Option<u64> {
        let bytes = bytes.get(at..at + length)?;
        let push = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
        Some(if self.big {
            bytes.iter().fold(0, push)
        } else {
            bytes.iter().rev().fold(0, push)
        })
    }

    fn half(&self, bytes: &[u8], at: usize) -> Option<u64> {
        self.number(bytes, at, 2)
    }

    fn address(&self, bytes: &[u8], at: usize) -> Option<u64> {
        self.number(bytes, at, if self.wide { 8 } else { 4 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(file: &[u8]) -> Option<PathBuf> {
        interpreter(|offset, length| {
            let offset = usize::try_from(offset).ok()?;
            file.get(offset..offset.checked_add(length)?)
                .map(<[u8]>::to_vec)
        })
    }

    /// A file with two program headers, of which the second names an interpreter.
    fn elf(wide: bool, big: bool, name: &[u8]) -> Vec<u8> {
        let put = |file: &mut Vec<u8>, at: usize, length: usize, number: u64| {
            let bytes = if big {
                number << (64 - 8 * length)
            } else {
                number.swap_bytes()
            }
            .to_be_bytes();
            file[at..at + length].copy_from_slice(&bytes[..length]);
        };
        let (address, header) = if wide { (8, 56) } else { (4, 32) };
        let name_at = 128 + 2 * header;
        let mut file = vec![0; name_at];
        file[..6].copy_from_slice(&[
            0x7f,
            b'E',
            b'L',
            b'F',
            if wide { 2 } else { 1 },
            if big { 2 } else { 1 },
        ]);
        let (at, size, count) = if wide { (32, 54, 56) } else { (28, 42, 44) };
        put(&mut file, at, address, 128);
        put(&mut file, size, 2, header as u64);
        put(&mut file, count, 2, 2);
        put(&mut file, 128, 4, 1);
        let second = 128 + header;
        let (offset, length) = if wide { (8, 32) } else { (4, 16) };
        put(&mut file, second, 4, PT_INTERP);
        put(&mut file, second + offset, address, name_at as u64);
        put(&mut file, second + length, address, name.len() as u64);
        file.extend_from_slice(name);
        file
    }

    #[test]
    fn the_interpreter_is_found_in_every_width_and_byte_order() {
        for (wide, big) in [(true, false), (true, true), (false, false), (false, true)] {
            let file = elf(wide, big, b"/lib/ld.so\0");
            assert_eq!(
                found(&file),
                Some("/lib/ld.so".into()),
                "wide {wide}, big {big}"
            );
        }
    }

    #[test]
    fn a_file_that_names_none_has_none() {
        for file in [
            &b""[..],
            b"\x7fELF",
            b"#!/bin/sh\n",
            &[0; 4096],
            &elf(true, false, b"/lib/ld.so\0")[..128],
        ] {
            assert_eq!(found(file), None);
        }
        let mut other = elf(true, false, b"/lib/ld.so\0");
        other[128 + 56] = 4; // PT_NOTE
        assert_eq!(found(&other), None);
        for name in [&b"/lib/ld.so"[..], b"\0", b"", b"ld.so\0", &[b'/'; 5000]] {
            assert_eq!(found(&elf(true, false, name)), None, "{name:?}");
        }
    }

    /// Neither a panic nor a read without bounds, whatever byte is another and wherever the file ends.
    #[test]
    fn a_damaged_file_gives_no_other_verdict_than_none_or_a_path() {
        for (wide, big) in [(true, false), (true, true), (false, false), (false, true)] {
            let whole = elf(wide, big, b"/lib/ld.so\0");
            for end in 0..whole.len() {
                assert_eq!(found(&whole[..end]), None, "cut at {end}");
            }
            for at in 0..whole.len() {
                for byte in [0, 1, 0x7f, 0x80, 0xff] {
                    let mut file = whole.clone();
                    file[at] = byte;
                    let read = |offset: u64, length: usize| {
                        assert!(length <= 65_536, "{length} bytes");
                        let offset = usize::try_from(offset).ok()?;
                        file.get(offset..offset.checked_add(length)?)
                            .map(<[u8]>::to_vec)
                    };
                    assert!(interpreter(read).is_none_or(|path| path.is_absolute()));
                }
            }
        }
    }
}
