"""A warm-up, then a cosine to zero; epochs that follow from the cohort."""

import numpy as np
import pytest

from mil.tasks.subtype import SUBTYPE
from mil.tasks.survival import SURVIVAL
from mil.training.fitting import epochs_of
from mil.training.recipe.schedule import epochs_for_steps, first_choice, rate_at
from mil.training.training_settings import TrainConfig


@pytest.mark.parametrize("n_epochs", [1, 2, 5, 30, 61])
def test_rates_rise_then_fall_towards_zero_and_no_epoch_is_idle(n_epochs):
    rates = np.array([rate_at(epoch, n_epochs) for epoch in range(1, n_epochs + 1)])
    top = int(rates.argmax())
    assert (rates > 0).all()
    assert (rates <= 1).all()
    assert (np.diff(rates[: top + 1]) > 0).all()
    assert (np.diff(rates[top:]) < 0).all()
    if n_epochs == 30:
        assert top == 5
        assert rates[top] > 0.99
        assert rates[-1] < 0.01


def test_inner_validation_may_choose_from_the_middle_on():
    assert [first_choice(n) for n in (1, 2, 30, 31)] == [1, 1, 15, 16]


def test_small_cohorts_have_as_many_steps_as_large_ones():
    assert epochs_for_steps(450, 120, 8) == 30
    assert epochs_for_steps(450, 400, 8) == 30
    assert epochs_for_steps(450, 56, 8) == 65
    assert epochs_for_steps(450, 3, 8) == 450


def test_epochs_that_are_named_are_run():
    for named, task, wanted in ((7, SUBTYPE, 7), (0, SUBTYPE, 65), (0, SURVIVAL, 30)):
        assert epochs_of(task.training, TrainConfig(epochs=named), 56) == wanted
