"""What targets are learnt by: losses equal slow twins, probabilities are rank-consistent, scales come from training patients."""

import numpy as np
import pytest
import torch
from pytest import approx
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from common.tables.target_columns import CLASSES, NUMBER, ORDERED, Target
from mil.training.classification_task import class_weights
from mil.training.targets.linear_models import predict_number, predict_ordered
from mil.training.targets.ordinal_loss import class_probabilities, corn_losses
from mil.training.targets.parts import part_of

GRADE = Target(column="grade", kind=ORDERED, classes=("G1", "G2", "G3", "G4"))
SIZE = Target(column="size", kind=NUMBER)


def test_the_loss_of_ordered_classes_is_the_log_likelihood_of_their_probabilities():
    rng = np.random.default_rng(0)
    outputs, labels = rng.normal(size=(50, 3)) * 3, rng.integers(4, size=50)
    probabilities = class_probabilities(outputs)
    assert probabilities.sum(axis=1) == approx(np.ones(50))
    assert (probabilities >= 0).all()
    losses = corn_losses(torch.from_numpy(outputs), torch.from_numpy(labels)).numpy()
    assert losses == approx(-np.log(probabilities[np.arange(50), labels]))


def test_the_loss_of_a_threshold_teaches_only_those_who_came_to_it():
    outputs = torch.zeros((1, 3), requires_grad=True)
    corn_losses(outputs, torch.tensor([1])).sum().backward()
    assert outputs.grad.numpy().tolist() == [[-0.5, 0.5, 0.0]]


def test_far_outputs_neither_overflow_nor_leave_the_scale():
    probabilities = class_probabilities(np.array([[1e6, -1e6, 1e6], [-1e6, 1e6, 1e6]]))
    assert probabilities == approx(np.array([[0, 1, 0, 0], [1, 0, 0, 0]]), abs=1e-12)


def test_numbers_are_standardised_by_the_training_patients_alone():
    part, train = part_of(SIZE), np.array([10.0, 30.0])
    assert part.record(train) == {"column": "size", "kind": NUMBER, "classes": [], "mean": 20.0, "sd": 10.0}
    assert part.predictions(np.array([[0.0], [2.0]]), train) == approx(np.array([[20.0], [40.0]]))
    losses = part.losses(torch.tensor([[0.0], [0.0]]), np.array([25.0, 50.0]), train, 0.0)
    assert losses.numpy() == approx(np.array([0.5 * 0.5**2, 3 - 0.5]))


def test_classes_weigh_alike_as_for_the_subtype():
    part = part_of(Target(column="x", kind=CLASSES, classes=("a", "b")))
    labels = np.array([0.0, 0.0, 0.0, 1.0])
    outputs = torch.randn(4, 2, dtype=torch.float64)
    plain = torch.nn.functional.cross_entropy(outputs, torch.from_numpy(labels.astype(int)), reduction="none")
    weights = class_weights(labels.astype(np.int64), 2)
    assert part.losses(outputs, labels, labels, 0.0).numpy() == approx(plain.numpy() * weights[labels.astype(int)])


def test_ridge_equals_scikit_learns():
    rng = np.random.default_rng(0)
    for shape in ((12, 40), (40, 12)):
        train, test = rng.normal(size=shape), rng.normal(size=(5, shape[1]))
        values = rng.normal(50, 9, size=shape[0])
        scaler = StandardScaler().fit(train)
        model = Ridge(alpha=shape[1]).fit(scaler.transform(train), values)
        assert predict_number(train, values, test) == approx(model.predict(scaler.transform(test)))


@pytest.mark.parametrize("labels", [[0, 1, 2] * 6, [0, 2] * 9, [1] * 9 + [2] * 9])
def test_a_chain_of_regressions_gives_probabilities_whatever_classes_are_there(labels):
    rng = np.random.default_rng(0)
    labels = np.array(labels)
    train = rng.normal(size=(18, 4)) + labels[:, None]
    found = predict_ordered(train, labels, train, 3)
    assert found.sum(axis=1) == approx(np.ones(18))
    assert (found >= 0).all()
    assert (found.argmax(axis=1) == labels).mean() > 0.6
    assert found[:, sorted({0, 1, 2} - set(labels))] == approx(0.0)


def test_the_prior_is_what_the_training_patients_show():
    assert part_of(GRADE).prior(np.array([0.0, 0.0, 1.0, 3.0]), 2).tolist() == [[0.5, 0.25, 0.0, 0.25]] * 2
    assert part_of(SIZE).prior(np.array([1.0, 3.0]), 2).tolist() == [[2.0], [2.0]]
