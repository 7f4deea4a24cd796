"""A network whose rows may leave early: the time that it saves when served, and whether calibration keeps its promise."""

import http.client
import statistics
import time

from harness import process
from harness.row import row, rounded
from harness.work import Work
from works import cifar10, served

MODEL = "cifar10-exits"
EPSILON, DELTA, SPLITS, LEAST_HELD = 0.005, 0.05, 100, 95
# After one epoch no exit could promise as much.
QUICK_EPSILON = 0.2
TOP = "objects"


def measure(bench):
    epsilon = QUICK_EPSILON if bench.quick else EPSILON
    promise = ["--epsilon", epsilon, "--delta", DELTA]
    quick = ["train.epochs=1"] if bench.quick else []
    with cifar10.data(bench) as data:
        models = served.Models(bench, data)
        run = data.folder / "run"
        cifar10.train(bench, data, bench.recipe(MODEL), *quick, run=run, store=models.store)
        calibrated = models.strata("exits", "calibrate", MODEL, "--store", models.store, *promise)
        yield served_row(bench, data, models, calibrated["exits"])
        command = [bench.engine, "exits", run, *promise, "--splits", SPLITS]
        found = process.run(command, env=data.env).last_json()
    yield row(
        "exits-promise",
        "splits",
        [found["held"]],
        [LEAST_HELD],
        "what is asked",
        higher_is_better=True,
        without_thresholds=found["without_thresholds"],
        lost=rounded(statistics.mean(found["lost"])),
        work_left=rounded(statistics.mean(found["work"])),
        note=f"random splits of {SPLITS} in which calibration on {found['rows']} rows loses at most {epsilon} of "
        f"accuracy on the other {found['judged']}",
    )


def served_row(bench, data, models, calibration):
    """Milliseconds of a row with the calibrated exits, against the same server when all rows go to the top."""
    rows = cifar10.test_rows(data.archive)
    batches = [rows[at : at + served.BATCH] for at in range(0, len(rows), served.BATCH)]
    batches = [batch for batch in batches if len(batch) == served.BATCH]
    ways = {"exits": None, "top": {"exit": TOP}}
    milliseconds = {way: [] for way in ways}
    answers = {}
    with models.serving(MODEL) as (port, headers):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        for turn in range(2 if bench.quick else 6):
            for way, parameters in ways.items():
                seconds, answers[way] = all_batches(connection, headers, batches, parameters)
                # The first turn is not counted.
                if turn > 0:
                    milliseconds[way].append(1000 * seconds / len(batches) / served.BATCH)
        connection.close()
    left = [exit for _, exit in answers["exits"]]
    classes = [own for batch in batches for own, _ in batch]
    accuracy = {
        way: rounded(statistics.mean(found == own for (found, _), own in zip(answers[way], classes)))
        for way in ways
    }
    return row(
        "exits",
        "ms",
        milliseconds["exits"],
        milliseconds["top"],
        "the same server, all rows to the top",
        shares={exit: rounded(left.count(exit) / len(left)) for exit in sorted(set(left))},
        accuracy=accuracy["exits"],
        peer_accuracy=accuracy["top"],
        work_left=rounded(calibration["work"]),
        note=f"mean of a test image in batches of {served.BATCH} over HTTP, one connection",
    )


def all_batches(connection, headers, batches, parameters):
    """Seconds of asking about all batches, one after the other, and for each row its class and its exit."""
    seconds, answers = 0.0, []
    for batch in batches:
        images = [image for _, image in batch]
        body, more = served.question(images, ["class", "exit"], parameters)
        started = time.perf_counter()
        found = served.ask(connection, served.infer(MODEL), body, headers | more)
        seconds += time.perf_counter() - started
        answers += zip(found["class"], found["exit"])
    return seconds, answers


WORK = Work(
    name="exits",
    summary="the recipe cifar10-exits, served with calibrated exits in batches of 32: time of an image against the top; the promise on splits",
    runs=1,
    packages=(),
    measure=measure,
)
