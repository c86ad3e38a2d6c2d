"""Do intervals and prediction sets hold what they say, is noise found to be noise, and how fast is the bootstrap?

python benchmarks/coverage.py --part intervals     # a known AUROC in its 95 % interval, 500 simulated cohorts
python benchmarks/coverage.py --part folds         # the same of linear models, cross-validated: plain bootstrap, and as in a run
python benchmarks/coverage.py --part groups        # log-rank p of risk groups out of fold, of noise
python benchmarks/coverage.py --part sets          # conformal sets at 90 %, by class, 500 simulated calibration parts
python benchmarks/coverage.py --part noise --bags musk1.npz      # shuffled labels, 100 seeds, through training and evaluation
python benchmarks/coverage.py --part noise --study study         # the same on a study's features
python benchmarks/coverage.py --part survival      # times of others, 100 seeds, synthetic bags
python benchmarks/coverage.py --part speed         # 10,000 patients, 1,000 bootstraps of every metric
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

sys.path[0] = str(Path(__file__).resolve().parents[1])

from common.failures import StudyError
from mil.metrics import conformal
from mil.metrics.bootstrap import interval, intervals, plan_resampling, resample
from mil.metrics.calibration import calibration_metrics
from mil.metrics.classification import classification_metrics, ranking_metrics
from mil.metrics.concordance import concordances
from mil.metrics.cross_validated import widening
from mil.metrics.survival_curves import log_rank_p
from mil.survival.partial_likelihood import loss_and_gradient
from mil.survival.risk_sets import risk_sets

N_NOISE = 80  # patients of a cohort whose times are of others
TRUE_AUROC, N_PATIENTS = 0.8, 80


def hits(low: float, value: float, high: float) -> bool:
    return low <= value <= high


def interval_coverage(n_cohorts: int, n_bootstrap: int) -> None:
    """Two normal scores a known distance apart; a quarter of the patients are positive."""
    from scipy.stats import norm

    shift = np.sqrt(2) * norm.ppf(TRUE_AUROC)
    labels = (np.arange(N_PATIENTS) % 4 == 0).astype(int)
    found = {"BCa": 0, "percentile": 0}
    for seed in range(n_cohorts):
        rng = np.random.default_rng(seed)
        score = 1 / (1 + np.exp(-(rng.normal(size=N_PATIENTS) + shift * labels)))
        probabilities = np.stack([1 - score, score], axis=1)
        draws = resample(
            lambda w, p=probabilities: {"auroc": classification_metrics(p, labels, w)["macro_auroc"]},
            plan_resampling(labels, n_bootstrap, rng),
        )
        own = intervals(draws)["auroc"]
        plain = interval(draws.value["auroc"], draws.bootstrap["auroc"])
        found["BCa"] += hits(own.low, TRUE_AUROC, own.high)
        found["percentile"] += hits(plain.low, TRUE_AUROC, plain.high)
    for method, count in found.items():
        print(f"AUROC {TRUE_AUROC} in the 95 % {method} interval: {count / n_cohorts:.1%} of {n_cohorts} cohorts")


def fold_coverage(n_cohorts: int, n_bootstrap: int = 400) -> None:
    """Ridge regression on noise and on a signal in one of its inputs; the figure that is to be held is the mean over cohorts."""
    print("inputs, signal, patients, folds: mean AUROC; in the plain 95 % interval; in the one of a run")
    for n_inputs, shift, n, n_folds in (
        *((d, shift, 80, 5) for d in (1, 5, 100) for shift in (0.0, 0.7, 1.5)),
        (20, 0.0, 80, 3), (20, 0.0, 80, 10), (20, 0.0, 300, 5), (20, 0.7, 300, 5),
    ):  # fmt: skip
        factor, spans = widening(n, n * (1 - 1 / n_folds)), []
        for seed in range(n_cohorts):
            rng = np.random.default_rng([seed, n_inputs, n])
            labels = np.arange(n) % 2
            inputs = rng.normal(size=(n, n_inputs))
            inputs[:, 0] += shift * labels
            fold = np.empty(n, dtype=int)
            for own in (0, 1):
                members = np.flatnonzero(labels == own)
                fold[members] = rng.permutation(len(members)) % n_folds
            score = np.empty(n)
            for number in range(n_folds):
                is_train = fold != number
                x, y = inputs[is_train] - inputs[is_train].mean(axis=0), labels[is_train] - labels[is_train].mean()
                weights = np.linalg.solve(x.T @ x + n_inputs * np.eye(n_inputs), x.T @ y)
                score[~is_train] = (inputs[~is_train] - inputs[is_train].mean(axis=0)) @ weights
            both = np.stack([-score, score], axis=1)
            draws = [
                resample(
                    lambda w, p=both, y=labels: {"auroc": ranking_metrics(p, y, w)[0][1]},
                    plan_resampling(labels, n_bootstrap, np.random.default_rng(seed), own),
                )
                for own in (1.0, factor)
            ]
            spans.append([intervals(own)["auroc"] for own in draws])
        true = np.mean([own.value for own, _ in spans]) if shift else 0.5
        plain, wide = (np.mean([hits(own[k].low, true, own[k].high) for own in spans]) for k in (0, 1))
        print(
            f"  {n_inputs:3d}, {shift}, {n}, {n_folds}: {true:.3f}; {plain:.1%}; {wide:.1%} (times {factor:.2f})",
            flush=True,
        )


def group_tests(n_cohorts: int, n: int = 80, n_folds: int = 5) -> None:
    """One step of Cox regression on noise, risk groups at the median of the training scores; how often p is below 0.05."""
    factor = widening(n, n * (1 - 1 / n_folds))
    print("inputs: log-rank p below 0.05, plain and as in a run")
    for n_inputs in (1, 2, 5, 20, 100):
        below = np.zeros(2)
        for seed in range(n_cohorts):
            rng = np.random.default_rng([seed, n_inputs, 7])
            inputs, fold = rng.normal(size=(n, n_inputs)), rng.permutation(np.arange(n) % n_folds)
            to_event, to_end = rng.exponential(size=n), rng.uniform(0.3, 3, n)
            time, event = np.minimum(to_event, to_end), (to_event <= to_end).astype(int)
            group = np.empty(n, dtype=int)
            for number in range(n_folds):
                is_train = fold != number
                _, gradient = loss_and_gradient(np.zeros(is_train.sum()), risk_sets(time[is_train], event[is_train]))
                score = -inputs @ (inputs[is_train].T @ gradient)
                group[~is_train] = score[~is_train] > np.median(score[is_train])
            p = [log_rank_p(time, event, group, own) for own in (1.0, factor)]
            below += [own is not None and own < 0.05 for own in p]
        print(f"  {n_inputs:3d}: {below[0] / n_cohorts:.1%}, {below[1] / n_cohorts:.1%}", flush=True)


def set_coverage(n_parts: int) -> None:
    """An over-confident model of three classes; calibration parts of 120, tested on 300 patients each."""
    covered, sizes = np.zeros((n_parts, 3)), np.zeros(n_parts)
    for seed in range(n_parts):
        rng = np.random.default_rng(seed)
        logits = rng.normal(size=(420, 3)) * 1.5
        truth = np.array([rng.choice(3, p=row) for row in np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)])
        p = np.exp(3 * logits)
        p /= p.sum(axis=1, keepdims=True)
        sets = conformal.prediction_sets(p[120:], conformal.class_thresholds(p[:120], truth[:120], 0.9))
        covered[seed] = [sets[truth[120:] == k, k].mean() for k in range(3)]
        sizes[seed] = sets.sum(axis=1).mean()
    print(
        f"90 % sets: coverage by class {', '.join(f'{value:.1%}' for value in covered.mean(axis=0))}; mean size {sizes.mean():.2f}"
    )


def noise(read, patients: list[str], labels: np.ndarray, n_seeds: int, head_name: str) -> None:
    """Labels shuffled anew for every seed, then folds, training, prediction and interval as in a run, with a small head."""
    from mil.tasks.subtype import SUBTYPE
    from mil.training.classification_task import ClassTargets, softmax
    from mil.training.fitting import fit
    from mil.training.packed import predict
    from mil.training.task import FoldInputs
    from mil.training.training_settings import TrainConfig
    from splits.folds import Strata, k_fold_sets

    config = TrainConfig(
        head=head_name, epochs=8, hidden=16, attention=8, learning_rate=3e-3, batch_patients=32, threads=1
    )
    n_classes, n_hit, values = int(labels.max()) + 1, 0, []
    for seed in range(n_seeds):
        rng = np.random.default_rng([seed, 5])
        shuffled = rng.permutation(labels)
        labels_of = dict(zip(patients, shuffled.tolist(), strict=True))
        targets = ClassTargets(labels=labels_of, classes=[str(number) for number in range(n_classes)])
        strata = Strata(
            classes=shuffled, events=np.full(len(shuffled), -1), times=np.full(len(shuffled), np.nan)
        )  # fmt: skip
        probabilities = np.empty((len(patients), n_classes))
        try:
            for _, fold, sets in k_fold_sets(strata, n_folds=5, n_repeats=1, val_fraction=0.0, seed=seed):
                train, test = (
                    [p for p, own in zip(patients, sets, strict=True) if own == name] for name in ("train", "test")
                )
                inputs = FoldInputs(read=read, train=train, val=[], targets=targets, config=config)
                head = fit(SUBTYPE.training, inputs, seed=[seed, fold]).head
                probabilities[sets == "test"] = softmax(predict(head, read, test))
        except StudyError:  # a head learnt nothing, with which a run ends
            continue
        draws = resample(
            lambda w, p=probabilities, y=shuffled: {"macro_auroc": classification_metrics(p, y, w)["macro_auroc"]},
            plan_resampling(shuffled, 1000, rng, widening(len(patients), 0.8 * len(patients))),
        )
        own = intervals(draws)["macro_auroc"]
        n_hit += hits(own.low, 0.5, own.high)
        values.append(own.value)
    print(
        f"{head_name}, shuffled labels: 0.5 in the 95 % interval of the macro AUROC for {n_hit} of {len(values)} seeds; mean "
        f"{np.mean(values):.3f}, SD {np.std(values):.3f}; {n_seeds - len(values)} runs ended because a head learnt nothing"
    )


def noise_of_survival(n_seeds: int, first_seed: int, head_name: str) -> None:
    """Times that bags say nothing of, then folds, training by the default recipe, scores on one scale and interval as in a run."""
    from benchmarks.synthetic_bags import make_bags
    from mil.bags.bags import Bag
    from mil.metrics.concordance import concordances
    from mil.tasks.registry import task_named
    from mil.training.fitting import fit
    from mil.training.packed import predict
    from mil.training.task import FoldInputs
    from mil.training.time_to_event.survival_targets import SurvivalTargets
    from mil.training.training_settings import TrainConfig
    from splits.folds import Strata, k_fold_sets

    config, task = TrainConfig(head=head_name, threads=1), task_named("survival").training
    n_hit, values = 0, []
    patients = [f"p{index:03d}" for index in range(N_NOISE)]
    for seed in range(first_seed, first_seed + n_seeds):
        bags = make_bags("hot", seed, n_train=N_NOISE, n_test=1, dim=48, tiles=(8, 16), is_survival=True)
        rng = np.random.default_rng([seed, 6])
        order = rng.permutation(N_NOISE)
        time, event = bags.times[order].astype(float), bags.events[order].astype(int)
        own_tiles = dict(zip(patients, bags.tiles[:N_NOISE], strict=True))
        read = _reader(own_tiles, Bag)
        targets = SurvivalTargets(
            times=dict(zip(patients, time.tolist(), strict=True)),
            events=dict(zip(patients, event.tolist(), strict=True)),
        )
        score = np.empty(N_NOISE)
        for _, fold, sets in k_fold_sets(
            Strata(classes=np.zeros(N_NOISE, int), events=event, times=time),
            n_folds=5,
            n_repeats=1,
            val_fraction=0.0,
            seed=seed,
        ):
            train, test = (
                [p for p, own in zip(patients, sets, strict=True) if own == name] for name in ("train", "test")
            )
            inputs = FoldInputs(read=read, train=train, val=[], targets=targets, config=config)
            head = fit(task, inputs, seed=[seed, fold]).head
            trained = predict(head, read, train)[:, 0]
            score[sets == "test"] = (predict(head, read, test)[:, 0] - trained.mean()) / trained.std()
        draws = resample(
            lambda w, s=score, t=time, e=event: {"c_index": concordances(s, t, e, w)},
            plan_resampling(event, 1000, rng, widening(N_NOISE, 0.8 * N_NOISE)),
        )
        own = intervals(draws)["c_index"]
        n_hit += hits(own.low, 0.5, own.high)
        values.append(own.value)
    print(
        f"{head_name}, times of others: 0.5 in the 95 % interval of the C-index for {n_hit} of {n_seeds} seeds; mean "
        f"{np.mean(values):.3f}, SD {np.std(values):.3f}"
    )


def read_npz(path: Path):
    """Return a reader of bags, their names and labels, from arrays X (instances), bag (index) and y (label of each bag)."""
    from mil.bags.bags import Bag

    arrays = np.load(path)
    names = [f"bag{index:04d}" for index in np.unique(arrays["bag"])]
    return _reader(
        {n: arrays["X"][arrays["bag"] == b] for n, b in zip(names, np.unique(arrays["bag"]), strict=True)}, Bag
    ), (
        names,
        np.asarray(arrays["y"]).astype(int),
    )


def read_study(folder: Path, n_tiles: int = 32):
    """Return a reader of a study's bags, thinned to 32 tiles each, their names and labels."""
    from common.cohort import read_cohort
    from common.study import Study
    from mil.bags.bags import Bag, open_bags

    study = Study(folder)
    cohort = read_cohort(study.cohort_table)
    bags = open_bags(study, cohort, "efficientnet_lite0")[0]
    rng, thinned = np.random.default_rng(0), {}
    for patient in bags.patients:
        tiles = bags.read(patient).tiles
        thinned[patient] = tiles[np.sort(rng.permutation(len(tiles))[:n_tiles])]
    subtypes = cohort.patients["subtype"].reindex(bags.patients)
    return _reader(thinned, Bag), (bags.patients, np.unique(subtypes.to_numpy(str), return_inverse=True)[1])


def _reader(tiles: dict, bag_type: type):
    bags = {}
    for name, own in tiles.items():
        n = len(own)
        bags[name] = bag_type(
            patient_id=name, slide_ids=(name,), tiles=own.astype(np.float16), slide_of_tile=np.zeros(n, np.int64),
            coords=np.zeros((n, 2), np.int64),
        )  # fmt: skip
    return bags.__getitem__


def speed(n: int, n_bootstrap: int) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, n)
    probabilities = rng.dirichlet(np.ones(5), n) * 0.6 + 0.4 * np.eye(5)[labels] * rng.random((n, 1))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    risk = rng.normal(size=n)
    died, end = rng.exponential(np.exp(-risk)), rng.exponential(size=n)
    follow_up, event = np.minimum(died, end), (died <= end).astype(int)
    total = 0.0
    for name, figures in (
        ("ranking and decision metrics", lambda w: classification_metrics(probabilities, labels, w)),
        ("calibration metrics", lambda w: calibration_metrics(probabilities, labels, w)),
        ("C-index", lambda w: {"c": concordances(risk, follow_up, event, w)}),
    ):
        start = time.process_time()
        intervals(resample(figures, plan_resampling(labels, n_bootstrap, np.random.default_rng(1))))
        seconds = time.process_time() - start
        total += seconds
        print(f"{name}: {seconds:.1f} s of one core")
    print(
        f"{n} patients, {n_bootstrap} bootstraps and BCa's jackknife of every metric: {total:.1f} s of one core (limit 60)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--part", choices=["intervals", "folds", "groups", "sets", "noise", "survival", "speed"], required=True
    )
    parser.add_argument("--bags", type=Path, help="an .npz file with X, bag and y")
    parser.add_argument("--study", type=Path, help="a study folder with features")
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--first_seed", type=int, default=5000, help="of --part survival")
    parser.add_argument("--head", default="gated_attention")
    parser.add_argument("--cohorts", type=int, default=500)
    arguments = parser.parse_args()
    if arguments.part == "intervals":
        interval_coverage(arguments.cohorts, 1000)
    elif arguments.part == "folds":
        fold_coverage(arguments.cohorts)
    elif arguments.part == "groups":
        group_tests(arguments.cohorts)
    elif arguments.part == "sets":
        set_coverage(arguments.cohorts)
    elif arguments.part == "speed":
        speed(10_000, 1000)
    elif arguments.part == "survival":
        noise_of_survival(arguments.seeds, arguments.first_seed, arguments.head)
    else:
        read, (patients, labels) = read_npz(arguments.bags) if arguments.bags else read_study(arguments.study)
        noise(read, patients, labels, arguments.seeds, arguments.head)


if __name__ == "__main__":
    main()
