//! The `strata` command as its users run it: the compiled program, in a folder of its own, with an environment of its
//! own. What it prints, what it leaves on the disk and how it ends is all that these tests see.
#![allow(clippy::unwrap_used, reason = "a test fails where its helpers do")]

mod data;
mod disk;
mod exits;
mod images;
mod journey;
mod keys;
mod levels;
mod observe;
mod packages;
mod place;
mod questions;
mod quickstart;
mod recipes;
mod resume;
mod rollout;
mod runs;
mod s3;
mod secrets;
mod server;
mod serving;
mod stores;
mod swap;
mod usage;
mod weights;
