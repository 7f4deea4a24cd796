"""Two tasks on one trunk, answered in one pass, against two networks of one task each, on the same server."""

import http.client

from harness.errors import BenchError
from harness.process import rounds
from harness.row import row
from harness.work import Work
from works import cifar10, recipes, served
from works.mnist_service import load

CONNECTIONS = 4
SHARED, DIGIT, OBJECT = "two-tasks", "one-task-digit", "one-task-object"
OUTPUTS = {SHARED: ["class", "digit.class"], DIGIT: ["class"], OBJECT: ["class"]}


def measure(bench):
    seconds = 2 if bench.quick else 10
    with cifar10.data(bench) as data:
        models = served.Models(bench, data)
        for name, recipe in (SHARED, shared()), (DIGIT, single(0)), (OBJECT, single(1)):
            path = recipes.written(recipe | {"name": name}, data.folder / f"{name}.toml")
            # What the weights are does not change the time of an answer.
            cifar10.train(bench, data, path, "train.epochs=1", store=models.store)
        images = [image for _, image in cifar10.test_rows(data.archive)[: served.BATCH]]
        with models.serving(SHARED, DIGIT, OBJECT) as (port, headers):

            def per_second(*names):
                """Images a second, each answered by all of these models, one after the other."""
                rates = [rate(bench, data, port, headers, images, name, seconds) for name in names]
                return 1 / sum(1 / rate for rate in rates)

            per_second(SHARED, DIGIT, OBJECT)
            programs = {
                "one trunk": lambda _: per_second(SHARED),
                "two networks": lambda _: per_second(DIGIT, OBJECT),
            }
            found = rounds(bench.runs, programs, bench.say)
    note = f"images that got both answers, in batches of {served.BATCH} over HTTP, {CONNECTIONS} connections"
    ours, theirs = found.values()
    more = {"higher_is_better": True, "note": note}
    yield row("shared-trunk", "images/s", ours, theirs, "two networks on the same server", **more)


def rate(bench, data, port, headers, images, name, seconds):
    """Images a second that one model answers."""
    body, more = served.question(images, OUTPUTS[name])
    headers = headers | more
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    answer = served.ask(connection, served.infer(name), body, headers)
    connection.close()
    if any(len(answer[output]) != len(images) for output in OUTPUTS[name]):
        raise BenchError(f"{name}: expected {len(images)} of {OUTPUTS[name]}, found {answer}")
    file = data.folder / "body"
    file.write_bytes(body)
    url = f"http://127.0.0.1:{port}{served.infer(name)}"
    found = load(bench, url, headers, file, CONNECTIONS, seconds)
    return found["requests_per_second"] * len(images)


def shared():
    return recipes.shipped(SHARED)


def single(task):
    """The same recipe with one of its two tasks: the trunk, and the head of that task."""
    recipe = shared()
    kept = recipe["tasks"][task]
    recipe["data"] |= {"source": kept.pop("data", recipe["data"]["source"]), "also": []}
    trunk = recipe["levels"][0] | {"head": recipe["levels"][task]["head"]}
    train = recipe["train"] | {"strategy": "end-to-end"}
    return recipe | {"tasks": [kept], "levels": [trunk], "train": train}


WORK = Work(
    name="shared-trunk",
    summary="two tasks on one trunk, served in one pass: images a second against two networks of one task each",
    runs=5,
    packages=(),
    measure=measure,
)
