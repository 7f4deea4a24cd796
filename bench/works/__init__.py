"""The works by name. A new one is a module with a `WORK`, and a line here."""

from works import mnist_accuracy, mnist_http, mnist_memory, mnist_train

WORKS = {
    module.WORK.name: module.WORK
    for module in (mnist_train, mnist_accuracy, mnist_memory, mnist_http)
}
