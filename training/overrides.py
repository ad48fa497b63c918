"""Single choices of a recipe, changed from the command line: `--set architecture.widths=16,32`."""

from dataclasses import fields, is_dataclass, replace
from typing import Any, Final

from training.errors import TrainingError
from training.recipe import Recipe
from training.schedule import Phase

_FIXED: Final = ("load", "draws", "size", "channels")  # the data come so
_WORDS: Final = {"true": True, "yes": True, "false": False, "no": False}


def override(recipe: Recipe, setting: str) -> Recipe:
    """The recipe with one choice changed.

    Args:
        recipe: as it is.
        setting: `name=value` or `part.name=value`. Lists are separated by commas, phases are written `20@64,10@96`
            (epochs at a size; `20` alone for the model's own size), with `!` behind for epochs without mixup or cutmix.

    Raises:
        TrainingError: there is no such choice, or the value is none for it.
    """
    path, equals, text = setting.partition("=")
    if not equals:
        raise TrainingError(f"--set {setting} has no value; write --set NAME=VALUE.")
    changed: Recipe = _changed(recipe, path.strip().split("."), text.strip(), setting)
    return changed


def _changed(choices: Any, names: list[str], text: str, setting: str) -> Any:
    known = [field.name for field in fields(choices) if field.name not in _FIXED]
    name, rest = names[0], names[1:]
    if name not in known:
        raise TrainingError(f"--set {setting}: there is no setting {name!r}; there are {', '.join(known)}.")
    before = getattr(choices, name)
    if is_dataclass(before):
        if not rest:
            inner = ", ".join(field.name for field in fields(before))
            raise TrainingError(f"--set {setting}: {name} has parts; name one of them, as in {name}.PART: {inner}.")
        return replace(choices, **{name: _changed(before, rest, text, setting)})
    if rest:
        raise TrainingError(f"--set {setting}: {name} has no parts.")
    try:
        return replace(choices, **{name: _value(name, before, text)})
    except ValueError as error:
        raise TrainingError(f"--set {setting}: {text!r} is not a value for {name}, which is {before!r} now.") from error


def _value(name: str, before: Any, text: str) -> Any:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if name == "phases":
        return tuple(_phase(part) for part in parts)
    if name == "backbone_options":
        return tuple((key, _number_or_word(word)) for key, _, word in (part.partition(":") for part in parts))
    if isinstance(before, bool):
        if text.lower() not in _WORDS:
            raise ValueError(text)
        return _WORDS[text.lower()]
    if isinstance(before, tuple):
        return tuple(int(part) for part in parts)
    return type(before)(text)


def _phase(text: str) -> Phase:
    epochs, at, size = text.removesuffix("!").partition("@")
    return Phase(int(epochs), int(size) if at else None, mix=not text.endswith("!"))


def _number_or_word(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
