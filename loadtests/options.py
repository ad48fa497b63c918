"""The options of `signpost loadtest` and its subcommands."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from loadtests.plan import plan, shapes
from loadtests.subject import target

# Name in Python, flags, and how Click reads it; each shows its default if it has one.
_Option = tuple[str, str, dict[str, Any]]
_Command = TypeVar("_Command", bound=Callable[..., Any])

PATH: Final = click.Path(path_type=Path)
_ABOVE_0: Final = click.FloatRange(0, min_open=True)
_FROM_0: Final = click.FloatRange(0)
_FROM_1: Final = click.IntRange(1)
_AT_RANDOM: Final = click.Choice(("poisson", "constant"))
_SLO: Final = "Objectives: p99=50ms, several separated by commas: p50=10ms,p99=50ms,errors=0.1%."

# Of a single run and of a search alike.
WHOM_AND_HOW: Final[Sequence[_Option]] = (
    ("url", "--url", {"help": "The service to test; by default one is started."}),
    (
        "grpc_address",
        "--grpc-address",
        {"metavar": "HOST:PORT", "help": "Its gRPC address.  [default: port 8500 of the URL's host]"},
    ),
    (
        "api_key",
        "--api-key",
        {"envvar": target.API_KEY, "help": f"API key sent with requests; safer in {target.API_KEY}."},
    ),
    ("store", "--store", {"type": PATH, "default": "model_store", "help": "Store of the service that is started."}),
    (
        "serve",
        "--serve",
        {"default": "", "metavar": "FLAGS", "help": "More flags for that service: --serve '--workers 2'."},
    ),
    (
        "ways",
        "--way",
        {
            "multiple": True,
            "default": ("image",),
            "metavar": "WAY[:IMAGES][=WEIGHT]",
            "help": f"How to send requests: {', '.join(plan.WAYS)}; may be repeated, for a mix.",
        },
    ),
    (
        "models",
        "--model",
        {
            "multiple": True,
            "metavar": "MODEL[=WEIGHT]",
            "help": "Which model to ask; may be repeated.  [default: all]",
        },
    ),
    (
        "images",
        "--images",
        {
            "type": click.Path(path_type=Path, exists=True),
            "help": "File or folder of images to send instead of drawn ones.",
        },
    ),
    (
        "processes",
        "--processes",
        {"type": _FROM_1, "default": max(1, len(os.sched_getaffinity(0)) // 4), "help": "Processes of the generator."},
    ),
    (
        "connections",
        "--connections",
        {"type": _FROM_1, "default": 256, "help": "Maximum connections for open arrivals."},
    ),
    ("warm_up_s", "--warm-up", {"type": _FROM_0, "default": 2.0, "help": "Seconds of warm-up, which don't count."}),
    (
        "timeout_s",
        "--timeout",
        {"type": _ABOVE_0, "default": 30.0, "help": "Seconds after which a request counts as failed."},
    ),
    ("seed", "--seed", {"default": 0, "help": "Seed of arrivals and of the order of requests."}),
    ("floor", "--floor/--no-floor", {"default": True, "help": "First measure how fast the generator itself is."}),
    ("quiet", "--quiet", {"is_flag": True, "help": "Print only the result."}),
)

RUN: Final[Sequence[_Option]] = (
    (
        "users",
        "--users",
        {"type": _FROM_1, "default": 32, "help": "Users in a closed loop: each asks again once answered."},
    ),
    ("rate", "--rate", {"type": _ABOVE_0, "help": "Open arrivals instead: this many requests are due each second."}),
    (
        "arrivals",
        "--arrivals",
        {"type": _AT_RANDOM, "default": "poisson", "help": "Arrivals of --rate: random or even."},
    ),
    (
        "shape",
        "--shape",
        {"help": f"Shape of the load: {', '.join(shapes.names())} or a TOML file.  [default: steps; --rate: constant]"},
    ),
    ("seconds", "--seconds", {"type": click.FloatRange(1), "help": "Length of the run.  [default: the shape's]"}),
    (
        "objectives",
        "--slo",
        {"default": "", "metavar": "OBJECTIVES", "help": f"{_SLO} Exit code 1 if one is missed."},
    ),
    (
        "path",
        "--report",
        {"type": PATH, "default": "reports/loadtest.html", "help": "File for the report; JSON goes next to it."},
    ),
)

CAPACITY: Final[Sequence[_Option]] = (
    ("objectives", "--slo", {"required": True, "metavar": "OBJECTIVES", "help": _SLO}),
    ("arrivals", "--arrivals", {"type": _AT_RANDOM, "default": "poisson", "help": "Arrivals: random or even."}),
    (
        "seconds",
        "--seconds",
        {"type": click.FloatRange(1), "default": 5.0, "help": "Length of a probe; longer at low rates."},
    ),
    ("start", "--from", {"type": _ABOVE_0, "help": "Rate of the first probe.  [default: from a closed loop]"}),
    (
        "precision",
        "--precision",
        {"type": click.FloatRange(0.005, 1), "default": 0.05, "help": "Relative gap at which a search ends."},
    ),
    (
        "repeats",
        "--repeats",
        {"type": _FROM_1, "default": 3, "help": "Number of searches; their median is the result."},
    ),
    (
        "path",
        "--report",
        {"type": PATH, "default": "reports/capacity.html", "help": "File for the report; JSON goes next to it."},
    ),
)


def having(*groups: Sequence[_Option]) -> Callable[[_Command], _Command]:
    """Give a command these options, in this order."""

    def give(command: _Command) -> _Command:
        for name, flag, settings in reversed([option for group in groups for option in group]):
            shown = settings.get("default") not in (None, "")
            command = click.option(flag, name, show_default=shown, **settings)(command)
        return command

    return give
