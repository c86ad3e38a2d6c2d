"""Steps of the program for faults to be injected into: small studies, each step in a process made by fork, and its files' bytes.

A parent that has imported everything forks a child for every run: what takes seconds is done once. The child obeys
benchmarks/fault_shim.c (preloaded into parent and workers), runs a script's main and ends.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SHIM = ROOT / "benchmarks" / "fault_shim.c"
FAST = (
    "--epochs",
    "4",
    "--hidden",
    "8",
    "--attention",
    "4",
    "--bootstrap",
    "100",
    "--threads",
    "1",
    "--cross_fit",
    "0",
)
LIMIT_S = 240
HEAVY = (  # what a step imports on its way
    "torch", "openslide", "tifffile", "mil.training_run", "preprocessing.tiling.study_tiles", "mil.report.report",
    "features.embedding.study_embedding", "splits.study_splits", "mil.explanation.explained_run",
    "mil.prediction.prediction_run",
)  # fmt: skip
QUIET = {".running-", ".partial", ".log"}  # parts of names that nothing may leave behind


@dataclass(frozen=True)
class Step:
    """A script, what it works on, what it makes, and which files it reads most of."""

    name: str
    module: str
    flags: tuple[str, ...]
    base: str  # "slides" or "features"
    makes: tuple[str, ...]
    reads: str


STEPS = {
    step.name: step
    for step in (
        Step("tile", "preprocessing.tile_slides", ("--tile_um", "128", "--stain", "macenko", "--workers", "0"), "slides",
             ("tiles",), "slides/"),
        Step("tile by workers", "preprocessing.tile_slides", ("--tile_um", "128", "--stain", "macenko", "--workers", "2",
             "--timeout_s", "8"), "slides", ("tiles",), "slides/"),
        Step("export", "preprocessing.export_tiles", ("--max_tiles", "4", "--workers", "0"), "tiled", ("export",), "slides/"),
        Step("extract", "features.extract_features", ("--workers", "1", "--device", "cpu", "--threads", "1",
             "--encoder", "benchmarks.many_slides:tiny_encoder", "--timeout_s", "8"), "tiled", ("features",), "slides/"),
        Step("convert", "features.convert_features", ("--to", "clam", "--out", "{study}/clam"), "features", ("clam",), "features/"),
        Step("splits", "splits.make_splits", ("--folds", "2"), "features", ("splits",), "cohort.csv"),
        Step("train", "mil.train", FAST, "split", ("runs",), "features/"),
        Step("evaluate", "mil.evaluate", ("--bootstrap", "100"), "trained", ("runs",), "runs/"),
        Step("explain", "mil.explain", ("--faithfulness", "false", "--workers", "0"), "trained", ("runs",), "features/"),
        Step("explain by workers", "mil.explain", ("--faithfulness", "false", "--workers", "2", "--timeout_s", "8"), "trained",
             ("runs",), "features/"),
        Step("predict", "mil.predict", ("--features", "{study}/features/efficientnet_lite0", "--bootstrap", "100", "--out",
             "{study}/predicted"), "trained", ("predicted",), "features/"),
    )
}  # fmt: skip


@dataclass
class Fault:
    """What is done to a run. A shim's kind, or something that happens beside it.

    Attributes:
        kind: of fault_shim.c, or kill, hang, abort, memory, twice, replaced, read_only.
        nth: from which call on.
        is_sticky: every later call too.
        number: of the error.
        part: of the path.
        after_s: when it happens, for those beside.
    """

    name: str
    kind: str
    nth: int = 1
    is_sticky: bool = False
    number: int = 5
    part: str = ""
    after_s: float = 0.0


@dataclass
class Ran:
    """How a run ended."""

    code: int  # negative: by a signal
    said: str
    hits: int = 0
    faults: list[str] = field(default_factory=list)


def compile_shim(folder: Path) -> Path | None:
    """Return the shim as a library; None where there is no compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or sys.platform != "linux":
        return None
    library = folder / "fault_shim.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, SHIM, "-ldl"], check=True)
    return library


class Runner:
    """Studies to begin at, a step's bytes without a fault, and runs with one. Lives in a process with the shim preloaded."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.study = folder, folder / "fault_study"
        self._shim = ctypes.CDLL(None)
        assert hasattr(self._shim, "fault_arm"), "the shim is not preloaded"
        for step in STEPS.values():
            importlib.import_module(step.module)
        for module in HEAVY:
            importlib.import_module(module)
        self.wanted: dict[str, dict[str, str]] = {}

    def make_bases(self, names: Sequence[str]) -> None:
        """Make the studies that these steps begin at, and keep what each makes without a fault."""
        needed = {STEPS[name].base for name in names}
        if needed & {"slides", "tiled"}:
            self._base("slides", lambda study: self._forked(lambda: _make_slides(study)))
        if "tiled" in needed:
            self._base("tiled", lambda _: self._follow("slides", "tile"))
        if needed & {"features", "split", "trained"}:
            self._base("features", lambda study: self._forked(lambda: _make_features(study)))
        if needed & {"split", "trained"}:
            self._base("split", lambda _: self._follow("features", "splits"))
        if "trained" in needed:
            self._base("trained", lambda _: self._follow("split", "train"))
        for name in names:
            self.reset(STEPS[name])
            ran = self.run(STEPS[name])
            assert ran.code == 0, f"{name} without a fault: {ran.code}\n{ran.said}"
            self.wanted[name] = self.hashes(STEPS[name])

    def _base(self, name: str, make: Callable[[Path], object]) -> None:
        place = self.folder / "bases" / name
        if place.is_dir():
            return
        shutil.rmtree(self.study, ignore_errors=True)
        make(self.study)
        place.parent.mkdir(exist_ok=True)
        shutil.copytree(self.study, place)

    def _follow(self, base: str, step: str) -> None:
        shutil.copytree(self.folder / "bases" / base, self.study)
        ran = self.run(STEPS[step])
        assert ran.code == 0, ran.said

    def reset(self, step: Step) -> None:
        """Lay out the study that a step begins at."""
        if self.study.exists():
            for path in (self.study, *self.study.rglob("*")):
                path.chmod(path.stat().st_mode | 0o700)
            shutil.rmtree(self.study)
        shutil.copytree(self.folder / "bases" / step.base, self.study)

    def hashes(self, step: Step) -> dict[str, str]:
        """Return each file that the step made, with its bytes' hash."""
        files = sorted(path for made in step.makes for path in (self.study / made).rglob("*") if path.is_file())
        return {str(path.relative_to(self.study)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    def begin(self, step: Step, fault: Fault | None = None) -> tuple[int, Path]:
        """Start a step in a child and return its id and the file of what it says."""
        said = self.folder / f"said_{time.monotonic_ns()}"
        child = os.fork()
        if child:
            return child, said
        code = 70
        try:
            os.setsid()
            number = os.open(said, os.O_WRONLY | os.O_CREAT, 0o600)
            os.dup2(number, 1)
            os.dup2(number, 2)
            code = self._in_child(step, fault)
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 71
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def _in_child(self, step: Step, fault: Fault | None) -> int:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if fault is not None and fault.kind == "memory":
            spare = fault.nth << 20
            used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + spare, used + spare))
        elif fault is not None and not fault.after_s:
            part = fault.part or "fault_study"
            told = {
                "KIND": fault.kind,
                "NTH": fault.nth,
                "STICKY": int(fault.is_sticky),
                "ERRNO": fault.number,
                "PATH": part,
            }
            os.environ.update({f"FAULT_{name}": str(value) for name, value in told.items()})
            self._shim.fault_arm(
                fault.kind.encode(), ctypes.c_long(fault.nth), int(fault.is_sticky), fault.number, part.encode()
            )
        flags = [flag.replace("{study}", str(self.study)) for flag in step.flags]
        return int(importlib.import_module(step.module).main(["--study", str(self.study), *flags]))

    def end(self, child: int, said: Path) -> Ran:
        """Wait for a child; one that does not end is a fault."""
        limit, faults = time.monotonic() + LIMIT_S, []
        while True:
            found, status = os.waitpid(child, os.WNOHANG)
            if found:
                break
            if time.monotonic() > limit:
                os.killpg(child, signal.SIGKILL)
                faults.append(f"it did not end within {LIMIT_S} s")
                _, status = os.waitpid(child, 0)
                break
            time.sleep(0.01)
        text = said.read_text(encoding="utf-8", errors="replace") if said.is_file() else ""
        said.unlink(missing_ok=True)
        return Ran(os.waitstatus_to_exitcode(status), text, faults=faults)

    def run(self, step: Step, fault: Fault | None = None) -> Ran:
        """Run a step to its end."""
        return self.end(*self.begin(step, fault))

    def _forked(self, work: Callable[[], object]) -> None:
        child = os.fork()
        if not child:
            try:
                work()
                os._exit(0)
            finally:
                os._exit(1)
        assert os.waitpid(child, 0)[1] == 0

    def left_behind(self) -> list[str]:
        """Return files that no run may leave."""
        return [
            path.name for path in self.study.rglob("*") if path.is_file() and any(part in path.name for part in QUIET)
        ]


def _make_slides(study: Path) -> None:
    from preprocessing.synthetic.slide_and_truth import make_slide
    from tests.helpers.slide_recipes import recipe

    for number in range(2):
        own = recipe(slide_id=f"S{number}", seed=(number, 3), width_mm=0.7, height_mm=0.6)
        make_slide(own, study / "slides" / f"S{number}.tif", study.parent / "truth.json")
    (study / "cohort.csv").write_text("patient_id,slide_id,subtype\nP0,S0,LMS\nP1,S1,UPS\n")


def _make_features(study: Path) -> None:
    from tests.helpers.feature_study import make_feature_study

    make_feature_study(study, n_patients=18)
