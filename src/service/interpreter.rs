//! Finds a program's interpreter: the dynamic linker of an ELF file, or the `#!` line of a script.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use object::elf::{FileHeader32, FileHeader64};
use object::read::elf::{FileHeader, ProgramHeader};
use object::{Endianness, FileKind, ReadCache, ReadRef};

/// Bytes that the kernel reads of a file to find its format (`BINPRM_BUF_SIZE`).
const HEAD: u64 = 256;

/// The longest interpreter name in bytes, with its NUL (`PATH_MAX` of limits.h).
const LONGEST_NAME: usize = 4096;

/// The first bytes of an ELF file.
const MAGIC: &[u8] = b"\x7fELF";

/// The interpreter that the kernel executes for a program.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Interpreter {
    /// The file names none.
    None,
    Path(PathBuf),
    /// The file is neither an ELF file nor a script.
    NotExecutable,
}

/// Returns the interpreter of `program`. A damaged or unreadable file has none: the exec reports
/// the error.
pub(crate) fn interpreter(program: &File) -> Interpreter {
    let mut head = Vec::new();
    if program.take(HEAD).read_to_end(&mut head).is_err() {
        return Interpreter::None;
    }
    let path = if head.starts_with(MAGIC) {
        elf_interpreter(Bounded(&ReadCache::new(program)))
    } else if let Some(line) = head.strip_prefix(b"#!") {
        script_interpreter(line)
    } else {
        return Interpreter::NotExecutable;
    };
    path.map_or(Interpreter::None, Interpreter::Path)
}

fn script_interpreter(line: &[u8]) -> Option<PathBuf> {
    let line = line.split(|byte| *byte == b'\n').next()?.trim_ascii();
    let path = line.split(u8::is_ascii_whitespace).next()?;
    Some(OsStr::from_bytes(path).into())
}

fn elf_interpreter<'a>(file: impl ReadRef<'a>) -> Option<PathBuf> {
    let name = match FileKind::parse(file).ok()? {
        FileKind::Elf32 => interpreter_name::<FileHeader32<Endianness>>(file),
        FileKind::Elf64 => interpreter_name::<FileHeader64<Endianness>>(file),
        _ => None,
    }?;
    let path = PathBuf::from(OsString::from_vec(name.to_owned()));
    (name.len() < LONGEST_NAME && path.is_absolute()).then_some(path)
}

fn interpreter_name<'a, H: FileHeader>(file: impl ReadRef<'a>) -> Option<&'a [u8]> {
    let header = H::parse(file).ok()?;
    let endian = header.endian().ok()?;
    let segments = header.program_headers(endian, file).ok()?;
    let named = |segment: &H::ProgramHeader| segment.interpreter(endian, file).transpose();
    segments.iter().find_map(named)?.ok()
}

/// Limits every read to [`Self::LARGEST`] bytes, since the file's size fields are not trusted.
#[derive(Debug, Clone, Copy)]
struct Bounded<R>(R);

impl<R> Bounded<R> {
    /// Bytes that hold as many program headers as the kernel accepts.
    const LARGEST: u64 = 65_536;
}

impl<'a, R: ReadRef<'a>> ReadRef<'a> for Bounded<R> {
    fn len(self) -> Result<u64, ()> {
        self.0.len()
    }

    fn read_bytes_at(self, offset: u64, size: u64) -> Result<&'a [u8], ()> {
        if size > Self::LARGEST {
            return Err(());
        }
        self.0.read_bytes_at(offset, size)
    }

    fn read_bytes_at_until(self, range: Range<u64>, delimiter: u8) -> Result<&'a [u8], ()> {
        let end = range.end.min(range.start.saturating_add(Self::LARGEST));
        self.0.read_bytes_at_until(range.start..end, delimiter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PT_INTERP: u64 = 3;

    /// Bytes in memory that fail the test if a read asks for too many.
    #[derive(Clone, Copy)]
    struct Watched<'a>(&'a [u8]);

    impl<'a> ReadRef<'a> for Watched<'a> {
        fn len(self) -> Result<u64, ()> {
            ReadRef::len(self.0)
        }

        fn read_bytes_at(self, offset: u64, size: u64) -> Result<&'a [u8], ()> {
            assert!(size <= 65_536, "{size} bytes");
            self.0.read_bytes_at(offset, size)
        }

        fn read_bytes_at_until(self, range: Range<u64>, delimiter: u8) -> Result<&'a [u8], ()> {
            assert!(range.end - range.start <= 65_536, "{range:?}");
            self.0.read_bytes_at_until(range, delimiter)
        }
    }

    fn found(file: &[u8]) -> Option<PathBuf> {
        elf_interpreter(Bounded(Watched(file)))
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
        let (class, data) = (if wide { 2 } else { 1 }, if big { 2 } else { 1 });
        file[..7].copy_from_slice(&[0x7f, b'E', b'L', b'F', class, data, 1]);
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
        let long = [&[b'/'; 5000][..], b"\0"].concat();
        for name in [
            &b"/lib/ld.so"[..],
            b"\0",
            b"",
            b"ld.so\0",
            &[b'/'; 5000],
            &long,
        ] {
            assert_eq!(found(&elf(true, false, name)), None, "{name:?}");
        }
    }

    /// Cuts the file at every length and changes every byte: no panic and no read without bounds.
    #[test]
    fn a_damaged_file_has_no_interpreter_or_an_absolute_path() {
        for (wide, big) in [(true, false), (true, true), (false, false), (false, true)] {
            let whole = elf(wide, big, b"/lib/ld.so\0");
            for end in 0..whole.len() {
                assert_eq!(found(&whole[..end]), None, "cut at {end}");
            }
            for at in 0..whole.len() {
                for byte in [0, 1, 0x7f, 0x80, 0xff] {
                    let mut file = whole.clone();
                    file[at] = byte;
                    assert!(found(&file).is_none_or(|path| path.is_absolute()));
                }
            }
        }
    }

    #[test]
    fn a_script_names_its_interpreter_on_its_first_line() {
        for (line, path) in [
            (&b"/bin/sh\necho"[..], "/bin/sh"),
            (b" /usr/bin/env  sh -e\n", "/usr/bin/env"),
        ] {
            assert_eq!(script_interpreter(line), Some(path.into()));
        }
    }
}
