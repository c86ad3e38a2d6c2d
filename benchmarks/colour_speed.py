"""Colour of 256 px tiles on one core, beside torchstain and TIAToolbox in the same run.

    python benchmarks/colour_speed.py --images FOLDER [--peers DIR | --peers-python PEERS/bin/python] [--json FILE]

FOLDER holds H&E images of 256 px a side or more. Peers live in an environment of their own (DIR of benchmarks/peers.py)
and are asked in turn with ours, round by round; the best round counts, by processor time. They fit each tile and map it, as their
users call them; ours fits a slide once (stated apart, with the table's making) and maps each tile.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
os.environ.update(ONE_THREAD)  # before NumPy starts its threads

import numpy as np
from PIL import Image

sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks.peers import look
from benchmarks.rows import add_json, lacking, record, write_rows
from preprocessing.colour.colour_formula import exact_colours
from preprocessing.colour.colour_map import apply_map, colour_table
from preprocessing.colour.stain import REFERENCE, fit_stain, stain_map

N_TILES, N_PEER_TILES, TILE_PX, N_ROUNDS = 64, 8, 256, 4
PEERS = ("torchstain Macenko", "TIAToolbox Macenko", "TIAToolbox Vahadane", "TIAToolbox Reinhard")
PEER_SERVER = """
import sys, time, warnings, logging
warnings.simplefilter("ignore")
import numpy as np, torch, cv2
torch.set_num_threads(1); cv2.setNumThreads(1)
answers, sys.stdout = sys.stdout, sys.stderr
from threadpoolctl import threadpool_limits
threadpool_limits(1)
logging.disable(logging.CRITICAL)
tiles, target = np.load(sys.argv[1]), np.load(sys.argv[2])
made = {}
def tensor(tile):
    return torch.from_numpy(tile).permute(2, 0, 1).float()
def run(name):
    if name not in made:
        if name.startswith("torchstain"):
            import torchstain
            made[name] = torchstain.normalizers.MacenkoNormalizer(backend="torch")
            made[name].fit(tensor(target))
        else:
            from tiatoolbox.tools.stainnorm import get_normalizer
            made[name] = get_normalizer(name.split()[1].lower())
            made[name].fit(target)
    start = time.process_time()
    for tile in tiles:
        if name.startswith("torchstain"):
            made[name].normalize(I=tensor(tile), stains=False)
        else:
            made[name].transform(tile)
    return len(tiles) / (time.process_time() - start)
print("ready", file=answers, flush=True)
for line in sys.stdin:
    try:
        told = run(line.strip())
    except Exception as error:
        told = " ".join(f"{type(error).__name__}: {error}".split())[:160]
    print(told, file=answers, flush=True)
"""


def tiles_of(folder: Path) -> np.ndarray:
    """Return N_TILES tiles of the folder's images, an equal number of each."""
    tiles = []
    paths = sorted(path for path in folder.iterdir() if path.suffix in (".jpg", ".png"))
    for path in paths[:: max(1, len(paths) // 8)]:
        image = np.asarray(Image.open(path).convert("RGB"))
        corners = [
            (y, x)
            for y in range(0, image.shape[0] - TILE_PX + 1, TILE_PX)
            for x in range(0, image.shape[1] - TILE_PX + 1, TILE_PX)
        ]
        tiles += [image[y : y + TILE_PX, x : x + TILE_PX] for y, x in corners[:8]]
    return np.stack([tiles[index % len(tiles)] for index in range(N_TILES)])


def processor_seconds(work: Callable[[], object]) -> float:
    """Return seconds of one thread's work: what it takes on a core of its own, however busy the machine."""
    start = time.process_time()
    work()
    return time.process_time() - start


def peak_mib() -> float:
    """Return this process's highest resident memory so far."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def start_peers(python: Path | None, tiles: np.ndarray, folder: str) -> subprocess.Popen | None:
    if python is None:
        return None
    for name, array in (("tiles", tiles[:: N_TILES // N_PEER_TILES]), ("target", tiles[N_TILES // 2])):
        np.save(f"{folder}/{name}.npy", np.ascontiguousarray(array))
    command = [str(python), "-c", PEER_SERVER, f"{folder}/tiles.npy", f"{folder}/target.npy"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    peers = subprocess.Popen(command, text=True, env={**os.environ, **ONE_THREAD}, **pipes)
    assert peers.stdout is not None
    if peers.stdout.readline().strip() != "ready":
        sys.exit(f"{python} has no working torchstain and tiatoolbox")
    return peers


def ask(peers: subprocess.Popen, name: str) -> float | str:
    """Return a peer's rate, or why there is none."""
    assert peers.stdin is not None
    assert peers.stdout is not None
    peers.stdin.write(name + "\n")
    peers.stdin.flush()
    told = peers.stdout.readline().strip()
    try:
        return float(told)
    except ValueError:
        return told or "it ended"


def accuracy(to_target: object, table: np.ndarray) -> float:
    """Return the largest difference to the float formula over random colours and the cube's corners, grey levels."""
    rng = np.random.default_rng(0)
    corners = np.stack(np.meshgrid([0, 255], [0, 255], [0, 255]), -1).reshape(-1, 3).astype(np.uint8)
    pixels = np.concatenate([rng.integers(0, 256, (2_000_000, 3), dtype=np.uint8), corners])
    return float(np.abs(apply_map(pixels, to_target, table=table) - exact_colours(pixels, to_target)).max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--peers-python", type=Path, help="python of an environment with torchstain and tiatoolbox")
    parser.add_argument("--peers", type=Path, help="folder of benchmarks/peers.py")
    add_json(parser)
    arguments = parser.parse_args()
    peers_python = arguments.peers_python or (arguments.peers and look(arguments.peers.resolve()).python)
    tiles = tiles_of(arguments.images)
    patches = list(tiles[::2])
    at_start = peak_mib()
    for method in ("vahadane", "macenko", "reinhard"):
        fit = fit_stain(patches, method=method)
        fitting = min(processor_seconds(lambda method=method: fit_stain(patches, method=method)) for _ in range(2))
        to_target = stain_map(fit, REFERENCE)
        making = min(processor_seconds(lambda to_target=to_target: colour_table(to_target)) for _ in range(3))
        difference = accuracy(to_target, colour_table(to_target))
        print(
            f"{method:9s} fit of {len(patches)} patches {fitting:.2f} s, table {making:.2f} s, off by {difference:.2f} at most"
        )
        words = f"{method}: fit of {len(patches)} patches, and the table's making"
        record("colour.fit", words, f"{fitting:.2f} and {making:.2f} s of processor time", ratio=fitting)
        record(
            "colour.accuracy",
            f"{method}: largest error of the table",
            f"{difference:.2f} grey levels",
            ratio=difference,
        )
    to_target = stain_map(fit_stain(patches, method="vahadane"), REFERENCE)
    table = colour_table(to_target)
    ours: dict[str, list[float]] = {"table": [], "formula": []}
    theirs: dict[str, list[float]] = {name: [] for name in PEERS}
    with tempfile.TemporaryDirectory() as folder:
        peers = start_peers(peers_python, tiles, folder)
        why = dict.fromkeys(PEERS, "no environment of peers") if peers is None else {}
        for _ in range(N_ROUNDS):
            for _ in range(3):
                ours["table"].append(N_TILES / processor_seconds(lambda: apply_map(tiles, to_target, table=table)))
            ours["formula"].append(N_TILES / processor_seconds(lambda: apply_map(tiles, to_target)))
            for name in PEERS:
                if name not in why and isinstance(told := ask(peers, name), str):
                    why[name] = told
                elif name not in why:
                    theirs[name].append(told)
        if peers is not None:
            peers.communicate()
    best = {name: max(rates) for name, rates in {**ours, **theirs}.items() if rates}
    for name, rate in best.items():
        ratio = "" if name in ours else f"   table is {best['table'] / rate:6.1f} times"
        print(f"{name:20s} {rate:8.1f} tiles/s{ratio}")
        if name not in ours:
            record(
                f"colour.{name.split()[0].lower()}", f"colour of a tile of 256 px, beside {name}", f"{best['table']:.0f} tiles/s",
                against=f"{name}: {rate:.0f} tiles/s", ratio=best["table"] / rate,
            )  # fmt: skip
    for name, reason in why.items():
        lacking(f"colour.{name.split()[0].lower()}", f"colour of a tile of 256 px, beside {name}", reason)
    print(
        f"table {table.nbytes / 2**20:.0f} MiB; peak memory {peak_mib():.0f} MiB, {at_start:.0f} MiB before the first fit"
    )
    write_rows(arguments.json)


if __name__ == "__main__":
    main()
