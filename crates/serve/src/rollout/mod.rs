//! Changes from one version of a model to another under a server's eyes.
//!
//! A [rollout](strata_package::Rollout) is data in the store. The thread that follows the store makes a [`Trial`] of it, which
//! is exchanged with the table of what is served: it says which version answers a request that comes by the rollout's alias,
//! and counts what comes of it. Requests that name a version by its number are not touched.
//!
//! - In a **split**, the candidate answers a part of the requests. Which ones is a function of the rollout and of what it is
//!   sticky by, so that equal keys get equal versions on every server and after every restart, and raising the part only
//!   moves callers to the candidate.
//! - As a **shadow**, the candidate gets copies of a part of the requests once the base has answered them, at the lowest
//!   priority. What is in the way of others is dropped and counted. Both answers are compared.
//!
//! Each count that may decide is held against the bounds at once. A candidate that is worse gets no further request; the
//! thread that follows the store says so and records it there. Counts begin anew when the server does.

mod adopt;
mod compare;
mod counts;
mod decide;
mod histogram;
mod metrics;
mod pick;
mod report;
mod shadow;
mod trial;

pub(crate) use adopt::adopt;
pub(crate) use metrics::RolloutMetrics;
pub(crate) use report::{report, reports};
pub(crate) use shadow::Shadow;
pub(crate) use trial::{OnRollout, Routed, Trial};
