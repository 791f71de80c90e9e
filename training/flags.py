"""The flags of the verbs that stand for settings, and what is said of those that are none."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Mapping, Sequence
from dataclasses import Field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import get_args, get_type_hints

from training.config import RECIPES, TRAIN_FLAGS, TrainConfig
from training.errors import UserError

EXAMPLES = """examples:
  python -m training {verb} --run runs/mine
  python -m training {verb} --recipe short --seed 8 --set mask_weight=0 --run runs/no-mask-8
"""


def check_verb(
    parser: argparse.ArgumentParser, verbs: Collection[str], arguments: Sequence[str]
) -> None:
    """End the program where the first argument is no verb, with those that it may have meant."""
    if not arguments or arguments[0].startswith("-") or arguments[0] in verbs:
        return
    close = get_close_matches(arguments[0], verbs)
    advice = f"did you mean {' or '.join(close)}?" if close else f"use one of {', '.join(verbs)}."
    parser.error(f"there is no verb {arguments[0]}: {advice}")


def read_settings(texts: Sequence[str]) -> dict[str, object]:
    """Return what `--set KEY=VALUE` sets.

    Raises:
        UserError: there is no such setting, or it takes another kind of value.
    """
    kinds = get_type_hints(TrainConfig)
    found = {}
    for text in texts:
        key, _, value = text.partition("=")
        name = key.replace("-", "_")
        if name not in kinds:
            close = get_close_matches(name, kinds)
            advice = f"did you mean {' or '.join(close)}?" if close else "see training/config.py."
            raise UserError(f"--set {text}: there is no setting {key}: {advice}")
        kind = kinds[name]
        try:
            found[name] = {"true": True, "false": False}[value] if kind is bool else kind(value)
        except (ValueError, KeyError):
            wanted = "true or false" if kind is bool else f"a value of type {kind.__name__}"
            raise UserError(f"--set {text}: {name} takes {wanted}.") from None
    return found


def add_flags(parser: argparse._ActionsContainer, config: type, without: tuple = ()) -> None:
    """Make every field a flag, of `TrainConfig` those in `TRAIN_FLAGS`; flags that are not given
    stay out of the result."""
    recipes = RECIPES if config is TrainConfig else {}
    hints = get_type_hints(config, include_extras=True)
    for field in fields(config):
        if field.name in without or (recipes and field.name not in TRAIN_FLAGS):
            continue
        kind, text, *_ = get_args(hints[field.name])
        how: dict = {"type": kind}
        if kind is bool:
            how = {"action": argparse.BooleanOptionalAction}
        elif kind == tuple[str, ...]:
            how = {"action": "append"}
        elif kind == Path | None:
            how = {"type": Path, "metavar": "FILE"}
        parser.add_argument(
            f"--{field.name.replace('_', '-')}",
            default=argparse.SUPPRESS,
            help=f"{text} ({_default(field, recipes)})",
            **how,
        )


def _default(field: Field, recipes: Mapping[str, dict]) -> str:
    """Return a setting's default, and that of every recipe that has another."""
    texts = [f"default: {field.default}"]
    for name, settings in recipes.items():
        value = settings.get(field.name, field.default)
        if value != field.default:
            texts.append(f"{name}: {value}")
    return "; ".join(texts)
