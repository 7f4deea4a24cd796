"""The error that ends a benchmark with a message instead of a traceback."""


class BenchError(Exception):
    """Something that a run needs is missing, or a measured program failed."""


class ProgramError(BenchError):
    """A program failed: how, and the end of what it wrote."""

    def __init__(self, command, how, output=""):
        super().__init__(f"`{' '.join(command)}` {how}" + (f":\n{output}" if output else ""))
        self.reason = output.rpartition("\n")[2].strip() or how
        """One line without the command: the last that it wrote, if any."""
