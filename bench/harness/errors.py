"""The error that ends a benchmark with a message instead of a traceback."""


class BenchError(Exception):
    """Something that a run needs is missing, or a measured program failed."""
