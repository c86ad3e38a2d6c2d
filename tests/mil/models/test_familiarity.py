import numpy as np
import pytest

from mil.models.familiarity import fit_cloud, fit_limits


def cohort(rng, n_patients, dim=40, shift=0.0):
    """Slides of patients: a patient's slides are alike, and numbers hang together."""
    mixing = np.random.default_rng(99).normal(size=(6, dim))
    owners, points = [], []
    for index in range(n_patients):
        own = rng.normal(size=6)
        for _ in range(1 + index % 2):
            owners.append(f"p{index:03d}")
            points.append((own + 0.3 * rng.normal(size=6)) @ mixing + 0.2 * rng.normal(size=dim) + shift)
    return np.stack(points), owners


def test_a_distance_equals_mahalanobis_where_the_cloud_has_all_axes():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(400, 3)) @ rng.normal(size=(3, 3))
    cloud = fit_cloud(points)
    scaled = (points - points.mean(axis=0)) / points.std(axis=0)
    inverse = np.linalg.inv(np.cov(scaled.T))
    wanted = np.sqrt(np.einsum("nd,de,ne->n", scaled, inverse, scaled) / 3)
    assert cloud.distances(points) == pytest.approx(wanted, rel=1e-6)


def test_new_patients_of_the_same_kind_stay_within_and_others_do_not():
    rng = np.random.default_rng(1)
    points, owners = cohort(rng, 60)
    limits, cloud = fit_limits(points, owners), fit_cloud(points)
    same, _ = cohort(rng, 400)
    other, _ = cohort(rng, 60, shift=np.random.default_rng(2).normal(size=40))
    assert (cloud.distances(same) > limits.slide).mean() <= 0.06
    assert (cloud.distances(other) > limits.slide).mean() >= 0.95
    assert limits.level == pytest.approx(0.975)
    assert (limits.n_patients, limits.n_slides) == (60, 90)
    assert limits.patient >= limits.slide * 0.9


def test_few_patients_have_the_most_distant_as_limit_and_say_which_level_that_is():
    points, owners = cohort(np.random.default_rng(3), 9)
    assert fit_limits(points, owners).level == pytest.approx(9 / 10)
    assert fit_limits(points[:4], owners[:4]) is None  # three patients


def test_limits_come_from_patients_left_out_whole():
    """Slides of one patient are near copies: left out one by one they would look familiar."""
    rng = np.random.default_rng(4)
    own = rng.normal(size=(12, 30))
    points = np.repeat(own, 3, axis=0) + 1e-3 * rng.normal(size=(36, 30))
    apart = fit_limits(points, [f"p{index // 3}" for index in range(36)])
    mixed = fit_limits(points, [f"p{index}" for index in range(36)])
    assert apart.slide > 1.2 * mixed.slide


def test_directions_that_never_varied_do_not_make_every_slide_strange():
    """Three sites with a glass each: their colours lie in a plane, and a grey level off it is nothing."""
    rng = np.random.default_rng(6)
    sites = np.array([[0.95, 0.94, 0.96], [0.93, 0.93, 0.92], [0.96, 0.95, 0.94]])
    points = np.hstack([rng.normal(size=(60, 5)), sites[np.arange(60) % 3]])
    limits, cloud = fit_limits(points, [str(n) for n in range(60)]), fit_cloud(points)
    near = points + np.array([0, 0, 0, 0, 0, 0.001, -0.001, 0.001])
    assert (cloud.distances(near) > limits.slide).mean() <= 0.1
    assert cloud.distances(points).max() < 5


def test_numbers_that_never_vary_do_not_break_it():
    points = np.random.default_rng(5).normal(size=(20, 4))
    points[:, 2] = 7.0
    assert np.isfinite(fit_cloud(points).distances(points)).all()
    assert np.isfinite(fit_limits(points, [str(n) for n in range(20)]).slide)
