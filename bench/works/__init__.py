"""The works by name. A new one is a module with a `WORK`, or several `WORKS`, and a line here."""

from works import (
    level_swap,
    mlp_epoch,
    mnist_accuracy,
    mnist_http,
    mnist_memory,
    mnist_train,
    resnet18_infer,
    resnet18_memory,
    resnet18_step,
)

WORKS = {
    work.name: work
    for work in (
        mnist_train.WORK,
        mnist_accuracy.WORK,
        mnist_memory.WORK,
        mnist_http.WORK,
        *resnet18_step.WORKS,
        *resnet18_infer.WORKS,
        mlp_epoch.WORK,
        level_swap.WORK,
        resnet18_memory.WORK,
    )
}
