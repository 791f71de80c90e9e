"""Add a verb's flags for settings, and explain settings and verbs that do not exist."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Mapping, Sequence
from dataclasses import Field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import get_args, get_type_hints

from training.config import RECIPES, TRAIN_FLAGS, TrainConfig
from training.errors import UserError

FLAGS_ALONE = ("data", "run", "seed")  # `run` hands these to every step, not to training alone

EXAMPLES = """examples:
  python -m training {verb} --run runs/mine
  python -m training {verb} --recipe short --seed 8 --set mask_weight=0 --run runs/no-mask-8
"""


def check_verb(
    parser: argparse.ArgumentParser, verbs: Collection[str], arguments: Sequence[str]
) -> None:
    """End the program if the first argument is no verb, and suggest similar ones."""
    if not arguments or arguments[0].startswith("-") or arguments[0] in verbs:
        return
    close = get_close_matches(arguments[0], verbs)
    advice = f"did you mean {' or '.join(close)}?" if close else f"use one of {', '.join(verbs)}."
    parser.error(f"there is no verb {arguments[0]}: {advice}")


def read_settings(texts: Sequence[str]) -> dict[str, object]:
    """Return the settings that `--set KEY=VALUE` gives, by name.

    Raises:
        UserError: there is no such setting, or the value has the wrong type.
    """
    kinds = get_type_hints(TrainConfig)
    given = {}
    for text in texts:
        key, separator, value = text.partition("=")
        name = key.replace("-", "_")
        if name in FLAGS_ALONE:
            raise UserError(f"--set {text}: give --{name} instead, which other steps read as well.")
        if name not in kinds:
            close = get_close_matches(name, kinds)
            advice = f"did you mean {' or '.join(close)}?" if close else "see training/config.py."
            raise UserError(f"--set {text}: there is no setting {key}: {advice}")
        kind = kinds[name]
        if not separator:
            raise UserError(f"--set {text}: there is no value: give {name}=VALUE.")
        try:
            given[name] = {"true": True, "false": False}[value] if kind is bool else kind(value)
        except (ValueError, KeyError):
            wanted = "true or false" if kind is bool else f"a value of type {kind.__name__}"
            raise UserError(f"--set {text}: {name} takes {wanted}.") from None
    return given


def add_flags(parser: argparse._ActionsContainer, config: type, without: tuple = ()) -> None:
    """Add a flag for every field of a config class, of `TrainConfig` for those in `TRAIN_FLAGS`.

    A flag that is not given is missing from the parsed arguments.
    """
    recipes = RECIPES if config is TrainConfig else {}
    hints = get_type_hints(config, include_extras=True)
    for field in fields(config):
        if field.name in without or (recipes and field.name not in TRAIN_FLAGS):
            continue
        kind, text, *_ = get_args(hints[field.name])
        options: dict = {"type": kind}
        if kind is bool:
            options = {"action": argparse.BooleanOptionalAction}
        elif kind == tuple[str, ...]:
            options = {"action": "append"}
        elif kind == Path | None:
            options = {"type": Path, "metavar": "FILE"}
        parser.add_argument(
            f"--{field.name.replace('_', '-')}",
            default=argparse.SUPPRESS,
            help=f"{text} ({_default(field, recipes)})",
            **options,
        )


def _default(field: Field, recipes: Mapping[str, dict]) -> str:
    """Return a setting's default, and the value of every recipe that changes it."""
    texts = [f"default: {field.default}"]
    for name, settings in recipes.items():
        value = settings.get(field.name, field.default)
        if value != field.default:
            texts.append(f"{name}: {value}")
    return "; ".join(texts)
