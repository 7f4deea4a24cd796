"""The works by name. A new one is a module with a `WORK`, or several `WORKS`, and a line here."""

from works import (
    bad_days,
    cifar10_local,
    cifar10_source,
    cifar10_strong,
    exits,
    level_memory,
    level_swap,
    mlp_epoch,
    mnist_accuracy,
    mnist_binary,
    mnist_http,
    mnist_memory,
    mnist_train,
    open_loop,
    resnet18_infer,
    resnet18_memory,
    resnet18_step,
    service_cost,
    shared_trunk,
    sink,
)

WORKS = {
    work.name: work
    for work in (
        mnist_train.WORK,
        mnist_accuracy.WORK,
        mnist_memory.WORK,
        mnist_http.WORK,
        *mnist_binary.WORKS,
        open_loop.WORK,
        *service_cost.WORKS,
        sink.WORK,
        bad_days.WORK,
        *resnet18_step.WORKS,
        *resnet18_infer.WORKS,
        mlp_epoch.WORK,
        level_swap.WORK,
        resnet18_memory.WORK,
        cifar10_strong.WORK,
        cifar10_source.WORK,
        cifar10_local.WORK,
        level_memory.WORK,
        exits.WORK,
        shared_trunk.WORK,
    )
}
