"""Speed and memory of training: an epoch against its bare products and a CLAM-like loop, reading against h5py, a large bag.

    python benchmarks/mil_speed.py --only epoch|read|memory [--json FILE]

Processor time of one thread, medians of rounds in one process, so ratios hold on a busy machine. The products are those of the
head's layers forward and backward on whole bags that are single precision already; nothing else: no cast, no standardising, no
step. The CLAM-like loop is written here: CLAM-SB's layers and loss of tiles, one bag a step, Adam, features cast as there.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
import torch

from benchmarks.rows import add_json, keep, read_rows, record, write_rows
from mil.bags.bags import Bag
from mil.heads.registry import make_head
from mil.tasks.subtype import SUBTYPE
from mil.tasks.survival import SURVIVAL
from mil.training.classification_task import ClassTargets
from mil.training.packed import predict, standardise
from mil.training.survival_task import SurvivalTargets
from mil.training.task import FoldInputs
from mil.training.training_settings import TrainConfig

N_INPUTS, N_CLASSES, SMALL = 1024, 5, 1000
CAPPED = f"at most {TrainConfig().max_tiles} tiles"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=["epoch", "read", "memory", "bag"], action="append")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tiles", type=int, default=1_000_000, help="of the large bag")
    add_json(parser)
    options = parser.parse_args()
    torch.set_num_threads(1)
    wanted = options.only or ["epoch", "read", "memory"]
    if "epoch" in wanted:
        epochs(options.rounds)
    if "read" in wanted:
        reading(options.rounds)
    if "memory" in wanted:
        own = ["--only", "bag", "--tiles", str(options.tiles)]
        with tempfile.TemporaryDirectory() as folder:  # a process of its own: its peak is that of the bag
            subprocess.run([sys.executable, __file__, *own, "--json", f"{folder}/rows.json"], check=True)
            keep(read_rows(Path(folder, "rows.json")))
    if "bag" in wanted:
        large_bag(options.tiles)
    write_rows(options.json)


def bag_of(name: str, tiles: np.ndarray) -> Bag:
    nothing = np.zeros(len(tiles), np.int64)
    return Bag(patient_id=name, slide_ids=("s",), tiles=tiles, slide_of_tile=nothing, coords=np.zeros((0, 2), np.int64))


def median_s(work: Callable[[], object], rounds: int) -> float:
    """Return the median processor time, after one round that does not count."""
    work()
    spent = []
    for _ in range(rounds):
        started = time.process_time()
        work()
        spent.append(time.process_time() - started)
    return float(np.median(spent))


def epochs(rounds: int) -> None:
    rng = np.random.default_rng(0)
    for title, sizes in (
        ("6 bags of 5,000 to 7,700 tiles", rng.integers(5000, 7700, 6)),
        ("100 bags of 100 tiles", np.full(100, 100)),
    ):
        bags = {
            f"p{i}": bag_of(f"p{i}", rng.normal(size=(int(n), N_INPUTS)).astype(np.float16))
            for i, n in enumerate(sizes)
        }
        names = sorted(bags)
        labels = {name: index % N_CLASSES for index, name in enumerate(names)}
        print(f"\n{title}, {N_INPUTS} inputs, one thread; seconds an epoch, and times the products of the same width")
        ours: dict[tuple[str, int], float] = {}
        for hidden, attention in ((128, 64), (512, 256)):
            floor = median_s(products([bags[name].tiles for name in names], hidden, attention), rounds)
            print(f"  products alone, {hidden}/{attention}: {floor:.3f}")
            config = TrainConfig(hidden=hidden, attention=attention, threads=1, max_tiles=10**6)
            for words, own in (
                ("default, 8 patients a step", config),
                ("one patient a step", replace(config, batch_patients=1)),
                (CAPPED, replace(config, max_tiles=TrainConfig().max_tiles)),
            ):
                took = median_s(subtype_epoch(bags, names, labels, own), rounds)
                print(f"  {words}, {hidden}/{attention}: {took:.3f} = {took / floor:.2f}")
                ours[words, hidden] = took
                is_default = words.startswith("default") and hidden == 128
                key = "training.products_small" if sizes.max() < SMALL else "training.products"
                record(
                    key if is_default else "training.products_other",
                    f"an epoch of {title}: {words}, {hidden}/{attention}",
                    f"{took:.2f} s of processor time", against=f"its matrix products alone: {floor:.2f} s", ratio=took / floor,
                )  # fmt: skip
            took = median_s(survival_epoch(bags, names, config), rounds)
            print(f"  survival, {hidden}/{attention}: {took:.3f} = {took / floor:.2f}")
        took = median_s(clam_epoch(bags, names, labels), rounds)
        print(f"  CLAM-like loop, 512/256, one bag a step: {took:.3f} = {took / floor:.2f}")
        own = ours["default, 8 patients a step", 512]
        record(
            "training.clam", f"an epoch of {title}, 512/256", f"{own:.2f} s of processor time",
            against=f"CLAM-like loop: {took:.2f} s", ratio=own / took,
        )  # fmt: skip
        own = ours[CAPPED, 128]
        print(f"  the default recipe (128/64, {CAPPED}): {took / own:.1f} times as fast as that")
        record(
            "training.clam_small" if sizes.max() < SMALL else "training.clam_default",
            f"an epoch of {title}, the default recipe (128/64, {CAPPED})", f"{own:.3f} s of processor time",
            against=f"CLAM-like loop, 512/256: {took:.2f} s", ratio=took / own,
        )  # fmt: skip


def products(parts: list[np.ndarray], hidden: int, attention: int) -> Callable[[], None]:
    """Return the matrix products of one epoch of gated attention: forward, and both gradients where there are two."""
    whole = [torch.from_numpy(part.astype(np.float32)) for part in parts]
    first, gates, last = (
        torch.randn(hidden, N_INPUTS),
        torch.randn(hidden, 2 * attention),
        torch.randn(hidden, N_CLASSES),
    )

    def work() -> None:
        for tiles in whole:
            vectors = tiles @ first.T
            gated = vectors @ gates
            pooled = gated[:, :1].T @ vectors
            _ = pooled @ last
            of_vectors = gated @ gates.T + gated[:, :1] @ pooled
            _ = vectors.T @ gated, vectors @ pooled.T
            _ = of_vectors.T @ tiles

    return work


def subtype_epoch(
    bags: dict[str, Bag], names: list[str], labels: dict[str, int], config: TrainConfig
) -> Callable[[], float]:
    targets = ClassTargets(labels=labels, classes=list("ABCDE"))
    fold = FoldInputs(read=bags.__getitem__, train=names, val=[], targets=targets, config=config)
    head = make_head(config.head, config, n_inputs=N_INPUTS, n_outputs=N_CLASSES)
    standardise(head, bags.__getitem__, names)
    optimiser, rng = torch.optim.AdamW(head.parameters(), lr=1e-3, fused=True), np.random.default_rng(0)
    torch.use_deterministic_algorithms(mode=True)
    head.train()
    return lambda: SUBTYPE.training.train_epoch(head, optimiser, fold, rng)


def survival_epoch(bags: dict[str, Bag], names: list[str], config: TrainConfig) -> Callable[[], float]:
    times = {name: float(index + 1) for index, name in enumerate(names)}
    targets = SurvivalTargets(times=times, events=dict.fromkeys(names, 1))
    fold = FoldInputs(read=bags.__getitem__, train=names, val=[], targets=targets, config=config)
    head = make_head(config.head, config, n_inputs=N_INPUTS, n_outputs=1)
    standardise(head, bags.__getitem__, names)
    optimiser, rng = torch.optim.AdamW(head.parameters(), lr=1e-3, fused=True), np.random.default_rng(0)
    head.train()
    return lambda: SURVIVAL.training.train_epoch(head, optimiser, fold, rng)


def clam_epoch(bags: dict[str, Bag], names: list[str], labels: dict[str, int]) -> Callable[[], None]:
    """Return an epoch as CLAM-SB trains: 512/256, one bag a step, dropout after every layer, instance loss, Adam."""
    nn = torch.nn
    first = nn.Sequential(nn.Linear(N_INPUTS, 512), nn.ReLU(), nn.Dropout(0.25))
    tanh = nn.Sequential(nn.Linear(512, 256), nn.Tanh(), nn.Dropout(0.25))
    gate = nn.Sequential(nn.Linear(512, 256), nn.Sigmoid(), nn.Dropout(0.25))
    score, output = nn.Linear(256, 1), nn.Linear(512, N_CLASSES)
    tiles_of = nn.ModuleList([nn.Linear(512, 2) for _ in range(N_CLASSES)])
    parts = nn.ModuleList([first, tanh, gate, score, output, tiles_of]).train()
    optimiser = torch.optim.Adam(parts.parameters(), lr=1e-4, weight_decay=1e-5)

    def work() -> None:
        for name in names:
            vectors = first(torch.from_numpy(bags[name].tiles).float())
            weights = score(tanh(vectors) * gate(vectors)).T
            attention = torch.softmax(weights, dim=1)
            high, low = torch.topk(attention[0], 8).indices, torch.topk(-attention[0], 8).indices
            wanted = torch.cat([torch.ones(8, dtype=torch.long), torch.zeros(8, dtype=torch.long)])
            of_tiles = nn.functional.cross_entropy(tiles_of[labels[name]](vectors[torch.cat([high, low])]), wanted)
            of_bag = nn.functional.cross_entropy(output(attention @ vectors), torch.tensor([labels[name]]))
            optimiser.zero_grad()
            (0.7 * of_bag + 0.3 * of_tiles).backward()
            optimiser.step()

    return work


def reading(rounds: int) -> None:
    """Time feature files through the bag store, after the first check, against h5py alone."""
    import h5py

    from features.exchange.folder import FeatureFolder
    from features.store.feature_store import FeatureBag, write_feature_bag
    from features.store.provenance import Provenance
    from mil.bags.bags import BagStore

    made_by = {
        "encoder": "e", "weights_sha256": "0", "licence": "none", "transform": "none", "stain": "none",
        "stain_reference": "none", "tile_um": 256.0, "tile_px": 256, "runtime": "none", "precision": "float32",
    }  # fmt: skip
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        files = {}
        for number in range(10):
            path = Path(folder) / f"s{number}.h5"
            features = rng.normal(size=(int(rng.integers(4000, 9000)), N_INPUTS)).astype(np.float16)
            coords = np.zeros((len(features), 2), np.int64)
            whole = FeatureBag(
                slide_id=f"s{number}", features=features, coords=coords, unreadable=np.empty(0, np.int64),
                attributes=made_by,
            )  # fmt: skip
            write_feature_bag(path, whole)
            os.utime(path, (time.time() - 60, time.time() - 60))  # settled: a file just written is checked again
            files[f"s{number}"] = path
        store = BagStore(
            {name: [name] for name in files}, FeatureFolder(root=Path(folder), files=files), Provenance(), limit_bytes=0
        )

        def by_h5py() -> None:
            for path in files.values():
                with h5py.File(path) as file:
                    _ = file["features"][()], file["coords"][()]

        started = time.process_time()
        for name in files:
            store.read(name)
        first = time.process_time() - started
        bare, own = median_s(by_h5py, rounds), median_s(lambda: [store.read(name) for name in files], rounds)
    print(f"\nreading 10 bags: h5py {bare:.3f} s, the first time {first:.3f} = {first / bare:.1f}, ", end="")
    print(f"after it {own:.3f} = {own / bare:.2f}")
    record(
        "training.reading", "ten bags read again", f"{own:.3f} s of processor time", against=f"h5py alone: {bare:.3f} s",
        ratio=own / bare,
    )  # fmt: skip


def large_bag(n_tiles: int) -> None:
    """Print what preparing a head on one bag, and predicting it, takes beyond the bag itself."""
    tiles = np.zeros((n_tiles, N_INPUTS), np.float16)
    for start in range(0, n_tiles, 10_000):  # every page is written
        tiles[start : start + 10_000] = np.random.default_rng(start).normal(
            size=(min(10_000, n_tiles - start), N_INPUTS)
        )
    bag = bag_of("p", tiles)
    head = make_head("gated_attention", TrainConfig(threads=1).with_widths(128), n_inputs=N_INPUTS, n_outputs=N_CLASSES)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    standardise(head, lambda _: bag, ["p"])
    head.prepare(lambda _: tiles, ["p"], np.random.default_rng(0))
    after_scale = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    predict(head, lambda _: bag, ["p"])
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with torch.inference_mode():
        head.attention(torch.from_numpy(tiles))
    attended = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    beyond = [(peak - before) / 2**10 for peak in (after_scale, after, attended)]
    print(
        f"\na bag of {n_tiles:,} tiles ({tiles.nbytes / 2**30:.2f} GiB), MiB beyond it: preparing the head {beyond[0]:.0f}, ",
        end="",
    )
    record(
        "training.memory", f"memory beyond one bag of {n_tiles:,} tiles ({tiles.nbytes / 2**30:.2f} GiB)",
        f"{max(beyond):.0f} MiB; peak of the process {attended / 2**20:.2f} GiB", ratio=max(beyond),
    )  # fmt: skip
    print(f"predicting {beyond[1]:.0f}, attention {beyond[2]:.0f}; peak of the process {attended / 2**20:.2f} GiB")


if __name__ == "__main__":
    main()
