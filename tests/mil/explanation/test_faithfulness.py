import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from mil.explanation.contributions import contributions
from mil.explanation.faithfulness import LEAST_BAGS, MOST_ALIKE, judge, likeness, paired_p, untrained
from mil.explanation.flipping import SHARES, BagFaithfulness, Curves, curves_of, flip, order_of
from mil.explanation.subsets import of_rows
from mil.explanation.tile_terms import tile_terms
from tests.helpers.planted_bags import planted
from tests.helpers.some_heads import a_bag, a_head


def measured(known, seed=0):
    bags, likenesses, aurocs, tops = [], [], {"contribution": [], "attention": []}, []
    untaught = untrained(known.head, 7)
    n_outputs = known.head.n_outputs
    names = [f"c{k}" for k in range(n_outputs)] if n_outputs > 1 else ["log_hazard"]
    for patient, bag in known.bags.items():
        found = contributions([known.head], bag.tiles, names, np.zeros(1))
        outputs_of = of_rows([known.head], bag.tiles, np.zeros(1))
        scores = {"contribution": found.of_tiles[:, found.told], "attention": found.attention}
        bags.append(flip(outputs_of, scores, found.told, np.random.default_rng([seed, 1])))
        other = contributions([untaught], bag.tiles, names, np.zeros(1)).of_tiles[:, found.told]
        if (alike := likeness(scores["contribution"], other)) is not None:
            likenesses.append(alike)
        if known.is_planted[patient].any():
            for name, own in scores.items():
                aurocs[name].append(roc_auc_score(known.is_planted[patient], own))
        tops.append(bags[-1].top_alone)
    return judge(bags, likenesses, [0.0] * len(bags)), {name: np.mean(own) for name, own in aurocs.items()}, bags


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("is_survival", [False, True])
def test_contributions_of_planted_bags_are_faithful_and_find_the_planted_tiles(seed, is_survival):
    found, aurocs, _bags = measured(planted(seed, is_survival=is_survival))
    assert found.is_faithful, found.faults
    assert found.against["random"].p < 0.01
    assert found.gain > found.against["attention"].gain
    assert aurocs["contribution"] >= 0.9
    assert aurocs["contribution"] >= aurocs["attention"]
    if not is_survival:
        assert found.same_told >= 0.9


def test_a_map_of_noise_is_not_called_faithful():
    head, verdicts = a_head("gated_attention"), []
    for seed in range(10):
        rng, bags = np.random.default_rng(seed), []
        for number in range(12):
            bag, noise = a_bag(40, seed=100 * seed + number), rng.normal(size=40)
            scores = {"contribution": noise, "attention": noise}
            bags.append(flip(of_rows([head], bag, np.zeros(1)), scores, 0, rng))
        verdicts.append(judge(bags, [], []))
    assert sum(own.is_faithful for own in verdicts) <= 1
    assert any("at random" in fault for own in verdicts for fault in own.faults)
    alike = judge(bags, [0.8, 0.9], [0.3]).faults
    assert any("random weights" in fault for fault in alike)
    assert any("miss up to 30%" in fault for fault in alike)
    assert "too few" in judge(bags[:5], [], []).faults[0]


def test_curves_follow_the_output_and_one_tile_stays():
    seen = []

    def outputs_of(rows):
        seen.append(len(rows))
        return np.array([float(np.mean(rows >= 90))])

    curves = curves_of(outputs_of, order_of(np.arange(100.0)), 0)
    assert curves.most_first[0] == pytest.approx(0.1)
    assert curves.most_first[SHARES.index(0.1)] == 0.0
    assert curves.least_first[SHARES.index(0.9)] == 1.0
    assert curves.gain > 0
    assert min(seen) >= 1
    assert curves_of(lambda rows: np.array([float(len(rows))]), np.zeros(1, np.int64), 0).gain == 0


@pytest.mark.parametrize(
    "name", ["gated_attention", "clam_mb", "transformer", "prototypes", "linear", "max_pool", "mean_sd"]
)
def test_of_rows_says_what_the_heads_say_of_the_tiles_by_themselves(name):
    heads, bag = [a_head(name, seed=seed) for seed in (0, 1)], a_bag()
    outputs_of, rows = of_rows(heads, bag, np.zeros(2)), np.array([3, 5, 8, 40])
    each = [tile_terms(head, bag[rows]).outputs for head in heads]
    assert outputs_of(rows) == pytest.approx(np.mean([own - own.mean() for own in each], axis=0), abs=1e-4)


@pytest.mark.parametrize("name", ["gated_attention", "transformer", "linear"])
def test_untrained_heads_have_other_weights_and_the_same_scale(name):
    head = a_head(name)
    other = untrained(head, 5)
    assert not np.allclose(other.output.weight.detach(), head.output.weight.detach())
    assert np.array_equal(other.mean, head.mean)


def test_paired_p_is_wilcoxons():
    assert paired_p(np.arange(1.0, 11)) == pytest.approx(2.0**-10)
    assert paired_p(-np.arange(1.0, 11)) == pytest.approx(1.0)
    assert paired_p(np.zeros(5)) is None


@pytest.mark.parametrize(("n", "best"), [(1, 0), (2, 1), (12, 11)])
def test_of_few_tiles_the_best_one_alone_is_the_top(n, best):
    outputs_of = lambda rows: np.array([float(rows.sum()), float(len(rows))])  # noqa: E731
    found = flip(outputs_of, {"contribution": np.arange(n, dtype=float)}, 0, np.random.default_rng(0))
    assert found.top_alone.tolist() == [best, 1]
    assert found.without_top.tolist() == ([0, 1] if n == 1 else [sum(range(n - 1)), n - 1])


def test_hazards_that_do_not_vary_are_not_called_the_same():
    outputs_of = lambda rows: np.array([1.0])  # noqa: E731
    bags = [
        flip(outputs_of, {"contribution": np.arange(4.0), "attention": np.arange(4.0)}, 0, np.random.default_rng(0))
    ] * 4
    assert judge(bags, [], []).same_told == 0.0


def test_likeness_is_spearmans_and_not_defined_where_one_does_not_vary():
    rng = np.random.default_rng(0)
    one, other = rng.integers(0, 6, 40).astype(float), rng.normal(size=40)
    assert likeness(one, other) == pytest.approx(spearmanr(one, other).statistic)
    for flat in (likeness(one, np.ones(40)), likeness(np.ones(40), other)):
        assert flat is None
    assert likeness(np.arange(2.0), np.arange(2.0)) is None
    assert likeness(np.arange(3.0), -np.arange(3.0)) == pytest.approx(-1)


def bag_of(gains, told=0, outputs=((1.0, 0.0),) * 3):
    """A bag whose curves differ by a gain over all shares."""
    zero, whole = np.zeros(len(SHARES)), SHARES[-1] - SHARES[0]
    curves = {name: Curves(most_first=zero, least_first=zero + gain / whole) for name, gain in gains.items()}
    full, top, rest = (np.array(own) for own in outputs)
    return BagFaithfulness(curves=curves, whole=full, top_alone=top, without_top=rest, told=told)


def test_measures_of_a_run_are_means_over_patients():
    outputs = [((3.0, 1.0), (2.0, 1.5), (1.0, 0.0)), ((0.0, 5.0), (1.0, 0.5), (0.25, 4.0))]
    bags = [
        bag_of({"own": 2.0 + k, "attention": 1.0, "random": 0.5 * k}, told=k, outputs=own)
        for k, own in enumerate(outputs)
    ]
    found = judge(bags, [0.125, -0.25, 0.5], [0.03, 0.05])
    assert found.gain == pytest.approx(2.5)
    assert (found.against["attention"].gain, found.against["attention"].difference) == pytest.approx((1.0, 1.5))
    assert (found.against["random"].gain, found.against["random"].difference) == pytest.approx((0.25, 2.25))
    assert (found.whole, found.top_alone, found.without_top) == (4.0, 1.25, 2.5)
    assert (found.same_told, found.untrained_likeness, found.most_residual) == (0.5, 0.125, 0.05)
    assert found.least_first["own"] == pytest.approx(np.full(len(SHARES), 2.5 / 0.95))
    assert found.most_first["own"] == tuple(np.zeros(len(SHARES)))
    assert judge(bags, [], []).untrained_likeness is None


def test_a_verdict_turns_at_its_bounds():
    def faults(n=LEAST_BAGS, likenesses=(), residuals=(), gain=1.0):
        bags = [bag_of({"own": gain + k, "random": 0.0}) for k in range(n)]
        return judge(bags, likenesses, residuals).faults

    assert faults() == ()  # p = 2 ** -7
    assert [fault[:25] for fault in faults(LEAST_BAGS - 1)] == ["6 patients are too few to"]
    assert "at random" in faults(gain=-4.0)[0]
    bags = [bag_of({"own": 1.0, "random": 1.0})] * LEAST_BAGS  # no difference anywhere
    assert "at random" in judge(bags, [], []).faults[0]
    for sign in (1, -1):
        assert faults(likenesses=[sign * MOST_ALIKE]) == ()
        assert "random weights" in faults(likenesses=[sign * (MOST_ALIKE + 0.001)])[0]
    assert faults(residuals=[0.02, 0.1]) == ()
    assert "up to 11%" in faults(residuals=[0.11, 0.02])[0]
