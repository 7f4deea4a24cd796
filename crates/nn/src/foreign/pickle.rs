use std::io::{self, BufRead, Read};

/// Pickles at the start of a file that `torch.save` wrote before it used ZIP archives: a magic number, a version, the
/// machine, the weights' description, their keys.
const PICKLES: usize = 5;

/// Whether the pickles at the start of a file take more than `most` steps to read. A step is one byte in the file or more,
/// and becomes some hundred in memory.
///
/// Only lengths are looked at (`pickletools` of Python lists them); what is no pickle, whoever reads it refuses.
pub(super) fn is_longer_than(most: usize, source: &mut impl BufRead) -> io::Result<bool> {
    let mut ended = 0;
    for _ in 0..most {
        let mut step = [0];
        if source.read(&mut step)? == 0 {
            return Ok(false);
        }
        match step[0] {
            b'.' => {
                ended += 1;
                if ended == PICKLES {
                    return Ok(false);
                }
            }
            b'('
            | b'0'
            | b'1'
            | b'2'
            | b'N'
            | b'R'
            | b'b'
            | b'd'
            | b'l'
            | b't'
            | b's'
            | b'a'
            | b')'
            | b']'
            | b'}'
            | b'e'
            | b'u'
            | b'Q'
            | 0x81
            | 0x85..=0x89
            | 0x8f..=0x94
            | 0x97
            | 0x98 => {}
            b'K' | b'h' | b'q' | 0x80 | 0x82 => skip(source, 1)?,
            b'M' | 0x83 => skip(source, 2)?,
            b'J' | b'j' | b'r' | 0x84 => skip(source, 4)?,
            b'G' | 0x95 => skip(source, 8)?,
            b'U' | b'C' | 0x8a | 0x8c => skip_counted::<1>(source)?,
            b'T' | b'X' | b'B' | 0x8b => skip_counted::<4>(source)?,
            0x8d | 0x8e | 0x96 => skip_counted::<8>(source)?,
            b'I' | b'L' | b'F' | b'V' | b'g' | b'p' | b'P' => skip_line(source)?,
            b'c' => {
                skip_line(source)?;
                skip_line(source)?;
            }
            _ => return Ok(false),
        }
    }
    Ok(true)
}

fn skip(source: &mut impl BufRead, bytes: u64) -> io::Result<()> {
    io::copy(&mut source.by_ref().take(bytes), &mut io::sink())?;
    Ok(())
}

/// Skips what begins with its length in `N` bytes; beyond the end of the file there is nothing.
fn skip_counted<const N: usize>(source: &mut impl BufRead) -> io::Result<()> {
    let mut start = Vec::new();
    source.by_ref().take(N as u64).read_to_end(&mut start)?;
    start.resize(8, 0);
    let length = start.try_into().expect("eight bytes");
    skip(source, u64::from_le_bytes(length))
}

fn skip_line(source: &mut impl BufRead) -> io::Result<()> {
    source.skip_until(b'\n')?;
    Ok(())
}
