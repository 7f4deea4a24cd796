//! What the server writes to standard error.

use std::{
    collections::BTreeMap,
    fmt,
    io::{self, Write},
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
};

/// Takes lines and never waits for them to be written.
///
/// Standard error may be a pipe that nobody empties, or one whose other end is gone. A thread of its own
/// waits there, so that no request does. Lines that find [`WAITING`] others before them are dropped.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    lines: SyncSender<String>,
}

const WAITING: usize = 256;

impl Log {
    /// Writes to standard error, from a thread that ends with the last clone.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(crate) fn start() -> io::Result<Self> {
        Self::to(io::stderr())
    }

    pub(crate) fn to(target: impl Write + Send + 'static) -> io::Result<Self> {
        let (lines, taken) = sync_channel(WAITING);
        let thread = thread::Builder::new().name("strata-log".to_owned());
        thread.spawn(move || write_lines(&taken, target))?;
        Ok(Self { lines })
    }

    /// `line` has no end of line, and what a caller may have put into it is [`plain`].
    pub(crate) fn write(&self, line: String) {
        // Without room the line is lost, and that is all.
        let _ = self.lines.try_send(line);
    }
}

/// Says each problem once, not every time that it is met again.
#[derive(Debug)]
pub(crate) struct Problems {
    log: Log,
    /// The last problem with each thing.
    told: BTreeMap<String, String>,
}

/// Characters of a line about a problem.
const LONGEST_PROBLEM: usize = 1000;

impl Problems {
    pub(crate) fn new(log: Log) -> Self {
        Self {
            log,
            told: BTreeMap::new(),
        }
    }

    /// Says what is wrong, if that is not what was wrong with it before; whether it was said.
    pub(crate) fn tell(&mut self, what: String, problem: &dyn fmt::Display) -> bool {
        let problem = problem.to_string();
        if self.told.get(&what) == Some(&problem) {
            return false;
        }
        let line = format!("{what}, what is served goes on: {problem}");
        self.log.write(plain(&line, LONGEST_PROBLEM));
        self.told.insert(what, problem);
        true
    }

    /// Nothing is wrong with it any more; whether there was.
    pub(crate) fn forget(&mut self, what: &str) -> bool {
        self.told.remove(what).is_some()
    }
}

fn write_lines(lines: &Receiver<String>, mut target: impl Write) {
    for mut line in lines {
        line.push('\n');
        // In one piece, so that lines of others do not fall between. There is nowhere to tell of an error,
        // and the next line may be written again.
        let _ = target.write_all(line.as_bytes());
    }
}

/// The first `most` characters of `text`, with all but printable ASCII as `\u{…}`: nothing that a caller
/// sends may steer a terminal, look like another line, or be long.
pub(crate) fn plain(text: &str, most: usize) -> String {
    let mut plain = String::new();
    for c in text.chars().take(most) {
        if c == ' ' || c.is_ascii_graphic() {
            plain.push(c);
        } else {
            plain.extend(c.escape_unicode());
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Duration};

    use super::*;

    /// Waits for a word before each line, and fails where the word is `false`.
    struct Slow {
        may: mpsc::Receiver<bool>,
        written: mpsc::Sender<String>,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if !self.may.recv().unwrap_or(true) {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            let _ = self
                .written
                .send(String::from_utf8_lossy(bytes).into_owned());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn slow() -> (Log, mpsc::Sender<bool>, mpsc::Receiver<String>) {
        let (allow, may) = mpsc::channel();
        let (written, lines) = mpsc::channel();
        (Log::to(Slow { may, written }).unwrap(), allow, lines)
    }

    #[test]
    fn lines_that_nobody_takes_are_dropped_and_nobody_waits() {
        let (log, allow, lines) = slow();
        (0..10 * WAITING).for_each(|line| log.write(line.to_string()));
        drop((log, allow));
        let lines: Vec<_> = lines.iter().collect();
        // One may be with the thread already.
        assert!((WAITING..=WAITING + 1).contains(&lines.len()));
        assert_eq!(lines[..2], ["0\n", "1\n"]);
    }

    #[test]
    fn a_line_that_cannot_be_written_does_not_end_the_log() {
        let (log, allow, lines) = slow();
        for may in [false, true] {
            allow.send(may).unwrap();
            log.write(may.to_string());
        }
        let line = lines.recv_timeout(Duration::from_secs(20));
        assert_eq!(line.unwrap(), "true\n");
    }

    #[test]
    fn what_is_not_printable_ascii_is_escaped() {
        let check = |text: &str, expected: &str| assert_eq!(plain(text, 5), expected, "{text:?}");
        check("a b~!", "a b~!");
        check("abcdefg", "abcde");
        check("\n\r\t\0\u{7f}", "\\u{a}\\u{d}\\u{9}\\u{0}\\u{7f}");
        check("\u{9b}\u{202e}ü", "\\u{9b}\\u{202e}\\u{fc}");
        check("abcdüf", "abcd\\u{fc}");
    }
}
