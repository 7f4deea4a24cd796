"""Recipes that differ from a shipped one in more than single fields."""

import json
import tomllib

from harness.environment import ROOT


def shipped(name):
    """A recipe of `recipes/` as a dictionary."""
    return tomllib.loads((ROOT / "recipes" / f"{name}.toml").read_text())


def written(recipe, path):
    """Writes a recipe; its path."""
    path.write_text("".join(f"{key} = {inline(value)}\n" for key, value in recipe.items()))
    return path


def inline(value):
    """A value in TOML, on one line."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {inline(each)}" for key, each in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(inline, value)) + "]"
    # Words, numbers, true and false are the same in both.
    return json.dumps(value)
