"""Choices changed from the command line, and what is no setting."""

from dataclasses import replace

import pytest

from tests.unit.training.tiny import RECIPE
from training.data.augmentation import Augmentation
from training.errors import TrainingError
from training.overrides import override
from training.recipe import Architecture, Recipe
from training.schedule import Phase


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("optimizer=sgd", replace(RECIPE, optimizer="sgd")),
        ("batch_size=7", replace(RECIPE, batch_size=7)),
        ("learning_rate = 1e-3", replace(RECIPE, learning_rate=1e-3)),
        ("class_weights=true", replace(RECIPE, class_weights=True)),
        ("phases=2@4,3,1@6!", replace(RECIPE, phases=(Phase(2, 4), Phase(3), Phase(1, 6, mix=False)))),
        ("architecture.kind=dense", replace(RECIPE, architecture=replace(RECIPE.architecture, kind="dense"))),
        ("architecture.widths=3,5", replace(RECIPE, architecture=replace(RECIPE.architecture, widths=(3, 5)))),
        ("architecture.normalise=no", replace(RECIPE, architecture=replace(RECIPE.architecture, normalise=False))),
        (
            "architecture.backbone_options=alpha:0.5,minimalistic:yes",
            replace(
                RECIPE,
                architecture=replace(RECIPE.architecture, backbone_options=(("alpha", 0.5), ("minimalistic", "yes"))),
            ),
        ),
        ("augmentation.rotation=30", replace(RECIPE, augmentation=replace(RECIPE.augmentation, rotation=30.0))),
    ],
)
def test_a_choice_is_changed_and_nothing_else(setting: str, expected: Recipe) -> None:
    assert override(RECIPE, setting) == expected
    assert RECIPE.architecture == Architecture("cnn", widths=(4, 8), dropout=0.2)
    assert RECIPE.augmentation == Augmentation(brightness=0.1, mixup=0.2)


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ("optimizer", "no value"),
        ("colour=red", "no setting 'colour'; there are .*optimizer"),
        ("size=3", "no setting 'size'"),
        ("architecture=cnn", r"has parts.*architecture\.PART: kind"),
        ("architecture.depht=3", "no setting 'depht'"),
        ("optimizer.rate=3", "has no parts"),
        ("batch_size=many", "'many' is not a value for batch_size, which is 16 now"),
        ("class_weights=maybe", "not a value for class_weights"),
        ("phases=3@big", "not a value for phases"),
    ],
)
def test_what_is_no_choice_or_no_value_is_refused(setting: str, problem: str) -> None:
    with pytest.raises(TrainingError, match=problem):
        override(RECIPE, setting)
