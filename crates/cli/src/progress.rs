use std::time::Duration;

use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};
use strata_data::Progress as Download;
use strata_train::Progress as Training;

use crate::output::Output;

/// A bar for a training, and a line for each epoch. Only the lines where the standard error is no terminal.
pub(crate) struct TrainingBar {
    bar: ProgressBar,
    output: Output,
    is_terminal: bool,
    rows: u64,
}

impl TrainingBar {
    pub(crate) fn new(output: Output) -> Self {
        let bar = ProgressBar::with_draw_target(None, target(output));
        // A template that is wrong shows up in any test that trains.
        let style = ProgressStyle::with_template(
            "{msg} {wide_bar:.blue/white} {percent:>3} % {prefix} left {eta}",
        );
        bar.set_style(style.expect("a valid template").progress_chars("━━─"));
        let is_terminal = !bar.is_hidden();
        Self {
            bar,
            output,
            is_terminal,
            rows: 0,
        }
    }

    pub(crate) fn step(&mut self, progress: Training<'_>) {
        self.rows += progress.rows as u64;
        if self.is_terminal {
            // A resumed training starts in the middle; its rate and time left count from there.
            if self.bar.length().is_none() {
                self.bar.set_length(progress.steps);
                self.bar.set_position(progress.step);
                self.bar.reset_eta();
            }
            self.bar.set_position(progress.step);
            if progress.step.is_multiple_of(32) {
                let seconds = self.bar.elapsed().as_secs_f64().max(1e-3);
                self.bar
                    .set_prefix(format!("{:.0} rows/s", self.rows as f64 / seconds));
                self.bar.set_message(format!(
                    "epoch {} level {} loss {:.4}",
                    progress.epoch, progress.level, progress.loss
                ));
            }
        }
        if progress.ends_epoch {
            let mut line = format!(
                "epoch {:>3}  level {}  loss {:.4}  accuracy {:.4}",
                progress.epoch, progress.level, progress.loss, progress.accuracy
            );
            if let Some(held) = progress.validation {
                line.push_str(&format!(
                    "  validation loss {:.4}  accuracy {:.4}",
                    held.loss, held.accuracy
                ));
            }
            if self.is_terminal {
                self.bar.println(line);
            } else {
                self.output.note(&line);
            }
        }
    }

    pub(crate) fn finish(self) {
        self.bar.finish_and_clear();
    }
}

/// A bar for downloads.
pub(crate) struct DownloadBar {
    bar: ProgressBar,
    file: &'static str,
}

impl DownloadBar {
    pub(crate) fn new(output: Output) -> Self {
        let bar = ProgressBar::with_draw_target(None, target(output));
        let style = ProgressStyle::with_template(
            "downloading {msg} {wide_bar:.blue/white} {bytes}/{total_bytes} {bytes_per_sec} left {eta}",
        );
        bar.set_style(style.expect("a valid template").progress_chars("━━─"));
        Self { bar, file: "" }
    }

    pub(crate) fn show(&mut self, progress: Download) {
        if self.file != progress.file {
            self.file = progress.file;
            self.bar.reset();
            self.bar.set_message(progress.file);
        }
        self.bar.set_length(progress.total);
        self.bar.set_position(progress.done);
    }
}

impl Drop for DownloadBar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Such as `2 minutes`.
pub(crate) fn duration(seconds: f64) -> String {
    if seconds < 60.0 {
        format!("{seconds:.1} s")
    } else {
        HumanDuration(Duration::from_secs_f64(seconds)).to_string()
    }
}

fn target(output: Output) -> ProgressDrawTarget {
    if output.quiet {
        ProgressDrawTarget::hidden()
    } else {
        ProgressDrawTarget::stderr_with_hz(10)
    }
}
