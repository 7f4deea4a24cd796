//! Two versions of a model, one of which is to take the other's place.

use std::{
    fs,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use serde_json::{Value, json};
use strata_package::{Bounds, Outcome, Rollout, RolloutMode};
use strata_serve::{Action, KeyModels};
use strata_spec::Name;

use crate::{
    client::{Client, numbers},
    clients::check_users,
    model::{LABELS, Model, ROW, rows},
    running::{self, Running, metric, until},
};

const INFER: &str = "/v2/models/tiny/infer";
const REPORT: &str = "/api/v1/rollouts/tiny";

/// So wide that only what a test is about is out of them; no test depends on how fast anything is.
const WIDE: Bounds = Bounds {
    requests: 10,
    errors: 1.0,
    latency: 1e9,
    agreement: None,
};

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn split(percent: f64) -> RolloutMode {
    RolloutMode::Split(percent.try_into().unwrap())
}

fn shadow(percent: f64) -> RolloutMode {
    RolloutMode::Shadow(percent.try_into().unwrap())
}

/// Begins a rollout to a version and waits until the server has seen it.
fn start(
    running: &Running,
    to: u64,
    mode: RolloutMode,
    sticky: Option<&str>,
    bounds: Bounds,
    promote_after: Option<u64>,
) -> Rollout {
    let sticky = sticky.map(str::to_owned);
    let (tiny, stable) = (name("tiny"), name("stable"));
    let started =
        running
            .store
            .start_rollout(&tiny, &stable, to, mode, sticky, bounds, promote_after);
    let started = started.unwrap();
    let mut client = running.admin();
    until("it is seen", || {
        report(&mut client)["rollout"]["id"] == started.id
    });
    started
}

fn report(client: &mut Client) -> Value {
    client.get(REPORT).answer()
}

fn question(rows: &[f32]) -> String {
    let image = json!({"name": "image", "datatype": "FP32", "shape": [rows.len() / ROW, ROW], "data": rows});
    json!({ "inputs": [image] }).to_string()
}

fn version_for(client: &mut Client, path: &str, user: &str) -> u64 {
    let answer = client.ask(
        "POST",
        path,
        &[("X-User", user)],
        question(&rows(3, 1)).as_bytes(),
    );
    let answer = answer.answer();
    let version: u64 = answer["model_version"].as_str().unwrap().parse().unwrap();
    assert_eq!(answer["parameters"]["version"], version);
    assert!(
        answer["parameters"]["digest"]
            .as_str()
            .unwrap()
            .starts_with("sha256:")
    );
    version
}

fn stored(running: &Running) -> Rollout {
    running.store.rollout(&name("tiny")).unwrap().unwrap()
}

#[test]
fn a_split_sticks_to_a_header_and_a_larger_part_keeps_who_moved() {
    let running = Running::start();
    let mut client = running.admin();
    assert_eq!(
        report(&mut client),
        json!({ "model": "tiny", "state": "none" })
    );
    let started = start(&running, 2, split(50.0), Some("x-user"), WIDE, None);
    let users: Vec<String> = (0..40).map(|number| format!("user-{number}")).collect();
    let mut versions = || -> Vec<u64> {
        let each = users
            .iter()
            .map(|user| version_for(&mut client, INFER, user));
        each.collect()
    };
    let half = versions();
    assert!(half.contains(&1) && half.contains(&2), "{half:?}");
    assert_eq!(versions(), half);
    let by = |path: &str| {
        let mut client = running.admin();
        let each = users
            .iter()
            .map(|user| version_for(&mut client, path, user));
        each.collect::<Vec<u64>>()
    };
    assert_eq!(by("/v2/models/tiny/versions/stable/infer"), half);
    assert_eq!(by("/v2/models/tiny/explain"), half);
    // Who names a version gets it.
    assert_eq!(by("/v2/models/tiny/versions/1/infer"), [1; 40]);
    assert_eq!(by("/v2/models/tiny/versions/2/infer"), [2; 40]);
    let mut client = running.admin();
    let predicted = users.iter().map(|user| {
        let body = json!({ "instances": [rows(3, 1)] }).to_string();
        let path = "/v1/models/tiny/labels/stable:predict";
        let answer = client.ask("POST", path, &[("X-User", user)], body.as_bytes());
        assert_eq!(answer.status, 200);
        answer
            .header("strata-model-version")
            .unwrap()
            .parse()
            .unwrap()
    });
    assert_eq!(predicted.collect::<Vec<u64>>(), half);
    check_users(&running);

    let change = |percent: f64| {
        let part = percent.try_into().unwrap();
        running
            .store
            .set_rollout_percent(&name("tiny"), part)
            .unwrap();
        let mut client = running.admin();
        until("the part is changed", || {
            report(&mut client)["rollout"]["mode"]["split"] == percent
        });
    };
    change(80.0);
    let more = by(INFER);
    let stays = |(before, after): (&u64, &u64)| before == after || (*before, *after) == (1, 2);
    assert!(half.iter().zip(&more).all(stays), "{half:?} {more:?}");
    assert!(more.iter().sum::<u64>() > half.iter().sum());
    change(100.0);
    assert_eq!(by(INFER), [2; 40]);
    change(0.0);
    assert_eq!(by(INFER), [1; 40]);

    // What was measured is kept while the part changes.
    let shown = report(&mut client);
    assert_eq!(
        (&shown["state"], &shown["rollout"]["id"]),
        (&json!("running"), &json!(started.id))
    );
    let asked = |side: &str| shown["figures"][side]["requests"].as_u64().unwrap();
    assert!(asked("base") > 80 && asked("candidate") > 80, "{shown}");
    assert!(shown["figures"]["base"]["p95_ms"].as_f64().unwrap() > 0.0);
    assert_eq!(shown["rollout"]["base"]["digest"], running.digest);
    let series = format!(
        "strata_rollout_requests_total{{model=\"tiny\",rollout=\"{}\",version=\"2\"}}",
        started.id
    );
    assert_eq!(metric(&mut client, &series), asked("candidate") as f64);
    assert_eq!(metric(&mut client, "strata_rollouts_running "), 1.0);
    let all = client.get("/api/v1/rollouts").answer();
    assert_eq!(all["rollouts"].as_array().unwrap().len(), 1);
    let other = running.key(&[Action::Infer], KeyModels::Listed(vec![name("other")]));
    let mut other = running.client().with_key(&other);
    assert_eq!(
        other.get("/api/v1/rollouts").answer(),
        json!({ "rollouts": [] })
    );
    assert_eq!(other.get(REPORT).status, 403);

    running.store.abort_rollout(&name("tiny")).unwrap();
    until("it is over", || report(&mut client)["state"] == "none");
    assert_eq!(by(INFER), [1; 40]);
    assert_eq!(metric(&mut client, &series), 0.0);
}

#[test]
fn without_a_header_each_request_goes_by_itself() {
    let running = Running::start();
    start(&running, 2, split(25.0), None, WIDE, None);
    let mut client = running.admin();
    let moved = (0..40).filter(|_| version_for(&mut client, INFER, "one") == 2);
    assert!((8..=12).contains(&moved.count()));
}

#[test]
fn who_does_not_wait_says_nothing_of_the_candidate() {
    let running = Running::start();
    let bounds = Bounds {
        requests: 1,
        ..WIDE
    };
    start(&running, 2, split(100.0), None, bounds, None);
    let mut hasty = running.admin().with_header("X-Request-Timeout-Ms", "0");
    for _ in 0..5 {
        assert_eq!(hasty.post(INFER, question(&rows(1, 1))).status, 504);
    }
    let mut client = running.admin();
    assert_eq!(version_for(&mut client, INFER, "one"), 2);
    let candidate = &report(&mut client)["figures"]["candidate"];
    assert_eq!(
        (&candidate["requests"], &candidate["errors"]),
        (&json!(1), &json!(0))
    );
}

#[test]
fn copies_are_compared_and_leave_the_answers_alone() {
    let running = Running::start();
    start(&running, 2, shadow(100.0), None, WIDE, None);
    let [base, candidate] = [1, 2].map(|version| running::model("tiny", version));
    let mut client = running.admin();
    let (mut agreeing, mut most) = (0, 0.0_f32);
    for seed in 0..20 {
        let rows = rows(seed, 2);
        let answer = client.post(INFER, question(&rows)).answer();
        assert_eq!(answer["model_version"], "1");
        let [own, other] = [&base, &candidate].map(|model| model.probabilities(&rows));
        assert_eq!(numbers(&answer, "probabilities"), own);
        let both = own.chunks(LABELS.len()).zip(other.chunks(LABELS.len()));
        let class = |row: &[f32]| strata_nn::highest(row);
        agreeing += both
            .filter(|(own, other)| class(own) == class(other))
            .count();
        let differences = own
            .iter()
            .zip(&other)
            .map(|(own, other)| (own - other).abs());
        most = differences.fold(most, f32::max);
        // One at a time, so that none is dropped.
        until("it is compared", || {
            report(&mut client)["figures"]["compared"]["rows"] == 2 * (seed + 1)
        });
    }
    let shown = report(&mut client);
    let compared = &shown["figures"]["compared"];
    assert_eq!(
        (&compared["agreeing"], &compared["dropped"]),
        (&json!(agreeing), &json!(0))
    );
    assert_eq!(compared["agreement"], 1.0 - (40 - agreeing) as f64 / 40.0);
    assert_eq!(compared["max_distance"], f64::from(most));
    assert_eq!(shown["figures"]["candidate"]["requests"], 20);
    assert!(agreeing < 40, "the test needs versions that disagree");
}

#[test]
fn a_shadow_that_disagrees_too_often_is_rolled_back_and_the_store_says_so() {
    let running = Running::start();
    let bounds = Bounds {
        requests: 10,
        agreement: Some(1.0),
        ..WIDE
    };
    start(&running, 2, shadow(100.0), None, bounds, None);
    let mut client = running.admin();
    until("it disagrees", || {
        assert_eq!(version_for(&mut client, INFER, "one"), 1);
        assert_eq!(client.post(INFER, question(&rows(1, 20))).status, 200);
        report(&mut client)["state"] == "rolled-back"
    });
    until("it is recorded", || stored(&running).ended.is_some());
    let ended = stored(&running).ended.unwrap();
    assert_eq!(ended.outcome, Outcome::RolledBack);
    assert!(
        ended.reason.starts_with("disagreement: "),
        "{}",
        ended.reason
    );
    assert!(ended.figures.unwrap().compared.unwrap().agreement < 1.0);
    assert_eq!(metric(&mut client, "strata_rollbacks_total "), 1.0);
}

#[test]
fn a_candidate_that_fails_is_rolled_back_at_once_also_where_that_cannot_be_recorded() {
    let running = Running::start();
    assert_eq!(
        Model::poisoned().add_to(&running.store, "tiny", &running.identity),
        3
    );
    let bounds = Bounds {
        requests: 10,
        errors: 0.3,
        ..WIDE
    };
    start(&running, 3, split(50.0), None, bounds, None);
    // A store that cannot be written to.
    let lock = running.store.path().join(".lock");
    fs::remove_file(&lock).unwrap();
    fs::create_dir(&lock).unwrap();
    let mut client = running.admin();
    let failed = (0..60).filter(|_| client.post(INFER, question(&rows(3, 1))).status != 200);
    // The fourth of ten that are allowed to fail in three.
    assert_eq!(failed.count(), 4);
    let shown = report(&mut client);
    assert_eq!(shown["state"], "rolled-back");
    assert_eq!(shown["figures"]["candidate"]["errors"], 4);
    let reason = shown["ended"]["reason"].as_str().unwrap();
    assert!(reason.starts_with("errors: 4 of 4 requests"), "{reason}");
    thread::sleep(Duration::from_millis(600));
    assert_eq!(stored(&running).ended, None);
    assert_eq!(version_for(&mut client, INFER, "one"), 1);
    fs::remove_dir(&lock).unwrap();
    until("it is recorded", || stored(&running).ended.is_some());
    assert_eq!(stored(&running).ended.unwrap().reason, reason);
    assert_eq!(version_for(&mut client, INFER, "one"), 1);
    assert_eq!(report(&mut client)["figures"], shown["figures"]);
}

#[test]
fn it_is_promoted_by_itself_while_requests_are_answered_wholly_by_one_version() {
    let running = Running::start();
    let question_rows = rows(5, 1);
    let expected =
        [1, 2].map(|version| running::model("tiny", version).probabilities(&question_rows));
    let (stop, asked) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = running.admin();
                while !stop.load(Ordering::Relaxed) {
                    let answer = client.post(INFER, question(&question_rows)).answer();
                    let version: usize = answer["model_version"].as_str().unwrap().parse().unwrap();
                    assert_eq!(numbers(&answer, "probabilities"), expected[version - 1]);
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let stop = Stop(&stop);
        start(&running, 2, split(50.0), None, WIDE, Some(100));
        until("it is promoted", || stored(&running).ended.is_some());
        drop(stop);
    });
    assert!(asked.load(Ordering::Relaxed) > 100);
    let ended = stored(&running).ended.unwrap();
    assert_eq!(ended.outcome, Outcome::Promoted, "{}", ended.reason);
    let aliases = running.store.aliases(&name("tiny")).unwrap();
    assert_eq!(aliases[&name("stable")], 2);
    let mut client = running.admin();
    assert_eq!(report(&mut client)["state"], "promoted");
    // Once the server has seen where the alias is.
    until("all get the new one", || {
        (0..20).all(|_| version_for(&mut client, INFER, "one") == 2)
    });
}

struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn what_cannot_be_carried_out_is_named_and_the_alias_answers_alone() {
    let running = Running::start();
    let mut client = running.admin();
    let idle = |client: &mut Client, words: &str| {
        until(words, || {
            let shown = report(client);
            shown["state"] == "idle" && shown["problem"].as_str().unwrap().contains(words)
        });
        assert_eq!(version_for(client, INFER, "one"), 1);
        assert_eq!(metric(client, "strata_rollouts_failed "), 1.0);
    };
    // Another interface.
    assert_eq!(
        Model::with_exits(8).add_to(&running.store, "tiny", &running.identity),
        3
    );
    start(&running, 3, split(100.0), None, WIDE, None);
    idle(
        &mut client,
        "version 3 differs from version 1 in tasks or labels",
    );
    // Nothing that can be read.
    let path = running.store.path().join("models/tiny/rollout.json");
    let good = fs::read_to_string(&path).unwrap();
    fs::write(&path, "{").unwrap();
    idle(&mut client, "not a rollout");
    // An alias that moved by hand.
    fs::write(
        &path,
        good.replace("\"to\": 3", "\"to\": 1")
            .replace("\"from\": 1", "\"from\": 2"),
    )
    .unwrap();
    idle(&mut client, "alias `stable` does not name version 2");
    running.store.abort_rollout(&name("tiny")).unwrap();
    until("it is gone", || report(&mut client)["state"] == "none");
    assert_eq!(client.get("/api/v1/rollouts/none").status, 404);
}
