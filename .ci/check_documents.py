"""Checks that relative links in the documents lead somewhere, and that the two READMEs show the same commands."""

import pathlib
import re
import subprocess
import sys

failures = []
files = subprocess.run(["git", "ls-files", "*.md"], capture_output=True, text=True, check=True).stdout.split()
for name in files:
    file = pathlib.Path(name)
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", file.read_text(encoding="utf-8")):
        if "://" not in target and not (file.parent / target).exists():
            failures.append(f"{name}: link to {target}, which does not exist")


def commands(name):
    """The lines of its code blocks without their comments."""
    blocks = re.findall(r"```sh\n(.*?)```", pathlib.Path(name).read_text(encoding="utf-8"), re.S)
    return [line.split("#")[0].rstrip() for block in blocks for line in block.splitlines()]


if commands("README.md") != commands("README.zh-CN.md"):
    failures.append("README.md and README.zh-CN.md show different commands")
for failure in failures:
    print(failure)
sys.exit(1 if failures else 0)
