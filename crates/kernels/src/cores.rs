//! How many cores the process may use.

use std::{collections::HashSet, fs, thread};

/// The physical cores that the process may use: two threads of one core share what computes, so kernels gain nothing
/// from the second one. Control groups and affinity count.
pub(crate) fn physical_cores() -> usize {
    let available = thread::available_parallelism().map_or(1, usize::from);
    distinct_cores().map_or(available, |cores| available.min(cores))
}

/// What Linux says; nothing elsewhere, or where it does not say.
fn distinct_cores() -> Option<usize> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let allowed = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    count_cores(&numbers(allowed)?, |cpu| {
        let folder = format!("/sys/devices/system/cpu/cpu{cpu}/topology");
        fs::read_to_string(format!("{folder}/thread_siblings_list")).ok()
    })
}

/// How many different cores the processors in `allowed` are, by the lists of those that share a core.
fn count_cores(allowed: &[usize], siblings: impl Fn(usize) -> Option<String>) -> Option<usize> {
    // A processor that is allowed but switched off says nothing.
    let cores: HashSet<String> = allowed.iter().filter_map(|cpu| siblings(*cpu)).collect();
    (!cores.is_empty()).then_some(cores.len())
}

/// The numbers of a list such as `0-3,8`.
fn numbers(list: &str) -> Option<Vec<usize>> {
    let mut numbers = Vec::new();
    for range in list.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        numbers.extend(first..=last);
    }
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_of_one_core_count_once() {
        assert_eq!(numbers(" 0-2,5,8-9\n"), Some(vec![0, 1, 2, 5, 8, 9]));
        assert_eq!(numbers(""), None);
        // Four cores of two threads, numbered as Linux does.
        let siblings = |cpu: usize| (cpu < 8).then(|| format!("{},{}\n", cpu % 4, cpu % 4 + 4));
        for (allowed, expected) in [
            ("0-7", Some(4)),
            ("0,4", Some(1)),
            ("0-1,5", Some(2)),
            ("7-8", Some(1)),
            ("8-9", None),
        ] {
            let allowed = numbers(allowed).unwrap();
            assert_eq!(count_cores(&allowed, siblings), expected, "{allowed:?}");
        }
        let available = thread::available_parallelism().map_or(1, usize::from);
        assert!((1..=available).contains(&physical_cores()));
    }
}
