"""Damage in every kind of file that is read: thousands of seeded mutations, each either read or refused with a message.

    python benchmarks/fuzz_readers.py --n 2000 --seed 1
    python benchmarks/fuzz_readers.py --only "masks;run.json" --n 200

Each reader of benchmarks/fuzz_cases.py has small good files. A mutation flips bytes, zeroes a block, cuts the file, splices in
a part of another, or changes it as its format allows: words, huge numbers, deep nesting, NaN. Every reader runs in a process
of its own. A fault is an error that is not the project's own (or was raised by a library and not turned into one), more than
10 s of computing for one file, a process of more than 2 GiB, its death, or a file that is written or removed outside the study.

Of HDF5 files of ours some get a right checksum over their damage. No accident does that: the checksum is made of what the library
has just written, so whoever makes one over a damaged structure means to. Errors and memory count there as everywhere; that the
library can be kept busy or ended so is counted by itself.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import select
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)

LIMIT_S, LIMIT_BYTES = 10.0, 2 << 30  # of processor time, the reader's own processes with it
STALLED_S = 300.0  # without a word, on a machine however busy
START_S = 180.0  # of a process: modules load, good files are made
NUMBERS = (
    "NaN",
    "Infinity",
    "-Infinity",
    "1e400",
    "-1",
    "0",
    "9" * 400,
    "1e308",
    "-0.0",
    "2147483648",
    "0.1e-320",
    "١٢",
)
WORDS = (
    "null", "true", "[]", "{}", '""', "!!python/object:os.system x", "&a [*a]", "../../x", "=1+1", "\x00", "\ud7ff", "é" * 300,
    "a" * 5000, ",", ";", '"', "'", "\n", "\r\n", "\t", "patient_id", "slide_id", "schema", "-", "(", ")", "and", "not", "in",
    "`", "==", "NA", "2020-13-45", "!!int x", "<<: *a", "%", "\\", "\\u0000", "\\ud800", ":", "#", "|", "\ufeff",
)  # fmt: skip
DEEP = ("[" * 3000, '{"a":' * 2000, "(" * 3000, "not " * 3000, "[" * 500 + "]" * 500, "- " * 2000, "{a: " * 1000)


def mutated(content: bytes, other: bytes, rng: random.Random, *, is_text: bool) -> bytes:
    """Return a file's content with one to four changes."""
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        kinds = [_flips, _zeroes, _cut, _splice, _doubled, _bytes]
        kinds += [_number, _word, _deep, _line, _json_value] * 2 if is_text else [_length] * 2
        content = rng.choice(kinds)(content, other, rng)
    return content


def _at(content: bytes, rng: random.Random) -> tuple[int, int]:
    start = rng.randrange(len(content) + 1)
    return start, min(len(content), start + rng.choice((1, 2, 4, 8, 64, 512)))


def _flips(content: bytes, _other: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 3, 16)) if changed else 0):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _zeroes(content: bytes, _other: bytes, rng: random.Random) -> bytes:
    start, end = _at(content, rng)
    return content[:start] + bytes(end - start) + content[end:]


def _bytes(content: bytes, _other: bytes, rng: random.Random) -> bytes:
    start, end = _at(content, rng)
    return content[:start] + rng.randbytes(end - start) + content[end:]


def _cut(content: bytes, _other: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content) + 1)]


def _splice(content: bytes, other: bytes, rng: random.Random) -> bytes:
    start, end = _at(content, rng)
    first, last = _at(other, rng)
    return content[:start] + other[first:last] + content[end:]


def _doubled(content: bytes, _other: bytes, rng: random.Random) -> bytes:
    start, end = _at(content, rng)
    return content[:end] + content[start:end] * rng.choice((1, 2, 50)) + content[end:]


def _length(content: bytes, _other: bytes, rng: random.Random) -> bytes:
    """Write a size or an offset such as stands in binary headers."""
    value = rng.choice((0, 1, 255, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**64 - 1))
    width = rng.choice((2, 4, 8))
    start = rng.randrange(min(len(content), rng.choice((64, 512, 1 << 30))) + 1)
    part = (value % 256**width).to_bytes(width, rng.choice(("little", "big")))
    return content[:start] + part + content[start + width :]


def _token(content: bytes, rng: random.Random) -> tuple[int, int]:
    """Return a stretch between two signs that part words."""
    edges = [0, *(index for index, byte in enumerate(content[:200_000]) if byte in b',;:{}[]() \n\t"=<>'), len(content)]
    place = rng.randrange(len(edges) - 1)
    return edges[place] + (1 if place else 0), edges[place + 1]


def _put(content: bytes, text: str, rng: random.Random) -> bytes:
    start, end = _token(content, rng)
    end = rng.choice((start, max(start, end)))
    return content[:start] + text.encode("utf-8", "surrogatepass") + content[end:]


def _number(content: bytes, _other: bytes, rng: random.Random) -> bytes:
    return _put(content, rng.choice(NUMBERS), rng)


def _word(content: bytes, _other: bytes, rng: random.Random) -> bytes:
    return _put(content, rng.choice(WORDS), rng)


def _deep(content: bytes, _other: bytes, rng: random.Random) -> bytes:
    return _put(content, rng.choice(DEEP), rng)


def _line(content: bytes, _other: bytes, rng: random.Random) -> bytes:
    lines = content.split(b"\n")
    first, second = rng.randrange(len(lines)), rng.randrange(len(lines))
    action = rng.randrange(3)
    if action == 0:
        lines[first], lines[second] = lines[second], lines[first]
    elif action == 1:
        lines.insert(second, lines[first])
    else:
        del lines[first]
    return b"\n".join(lines)


def _json_value(content: bytes, other: bytes, rng: random.Random) -> bytes:
    """Replace, double or drop a value of a JSON text; another text is changed by a word."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return _word(content, other, rng)
    places = list(_places(value))
    if not places:
        return _word(content, other, rng)
    holder, key = rng.choice(places)
    choices: list[object] = [None, True, -1, 1e308, float("nan"), 10**40, "", "x", [], {}, [[]], {"": {}}, "../x", 0.5]
    if rng.random() < 0.2:
        del holder[key]
    else:
        holder[key] = rng.choice([*choices, rng.choice(places)[0]])
    try:
        return json.dumps(value).encode()
    except (ValueError, RecursionError):  # a value that holds itself
        return content


def _places(value: object) -> list[tuple[object, object]]:
    keys: list[object] = (
        list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    )
    own: list[tuple[object, object]] = [(value, key) for key in keys]
    for key in keys:
        own += _places(value[key])  # type: ignore[index]
    return own


def is_own(error: BaseException, *, root: Path = ROOT) -> bool:
    """Say whether an error was raised by the project's own code, as a ValueError or a SystemExit with a message."""
    frames = traceback.extract_tb(error.__traceback__)
    of_project = frames[-1].filename.startswith(str(root)) and "/benchmarks/" not in frames[-1].filename
    return isinstance(error, ValueError) and of_project and bool(str(error))


def serve(name: str, folder: Path, first: int, last: int, seed: int) -> None:
    """Try mutations of one reader and write a line on each: a worker process."""
    import resource

    from benchmarks.fuzz_cases import CASES

    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what readers and scripts print is no line of ours
    case = CASES[name]
    study = folder / "study"
    study.mkdir(exist_ok=True)
    good = case.make(study)
    for target, content in good.items():
        (study / target).parent.mkdir(parents=True, exist_ok=True)
        (study / target).write_bytes(content)
    case.read(study)  # as it is, and so that everything is imported
    outside: list[str] = []
    sys.addaudithook(_watch(study, outside))
    contents = list(good.values())
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    page = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (page + LIMIT_BYTES, page + LIMIT_BYTES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 30, 1 << 30))
    print(json.dumps({"ready": base}), file=out, flush=True)
    for index in range(first, last):
        rng = random.Random(f"{seed} {name} {index}")
        target = rng.choice(case.targets or sorted(good))
        content = mutated(good[target], rng.choice(contents), rng, is_text=case.is_text)
        (study / target).write_bytes(content)
        line: dict[str, object] = {"n": index}
        try:
            case.prepare(study, rng)
            if _is_meant(study / target):
                print(json.dumps({"meant": index}), file=out, flush=True)
            case.read(study)
            line["end"] = "accepted"
        except BaseException as error:
            line["end"] = "refused" if is_own(error) or isinstance(error, case.also) else "fault"
            if line["end"] == "fault":
                line["what"], line["example"] = _told(error)
        for each, content in good.items():
            (study / each).write_bytes(content)
        if outside:
            line |= {"end": "fault", "what": f"outside the study: {outside[0]}"}
            outside.clear()
        line["rss"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
        print(json.dumps(line), file=out, flush=True)


def _is_meant(path: Path) -> bool:
    """Say whether a damaged file has a checksum that fits its damage."""
    from common.guards.sealed_files import check_seal

    try:
        return check_seal(path)
    except (OSError, ValueError):
        return False


def _told(error: BaseException) -> tuple[str, str]:
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename.startswith(str(ROOT)) and "/benchmarks/" not in frame.filename]
    place = f"{own[-1].filename.removeprefix(str(ROOT))[1:]}:{own[-1].lineno}" if own else frames[-1].filename
    return f"{type(error).__name__} at {place}", " ".join(str(error).split())[:120]


def _watch(study: Path, outside: list[str]) -> Callable[[str, tuple[object, ...]], None]:
    from common.guards.hdf5_probe import START

    allowed = (str(study), "/dev/", "/proc/")

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open" and isinstance(arguments[0], str | bytes | Path):
            flags = arguments[2] if isinstance(arguments[2], int) else 0
            is_writing = bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC))
            paths = [arguments[0]] if is_writing else []
        elif event in ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate"):
            paths = [each for each in arguments[:2] if isinstance(each, str | bytes | Path)]
        else:
            is_probe = event == "subprocess.Popen" and START in arguments[1]  # reads damaged files through
            is_reach = event in ("os.system", "subprocess.Popen", "socket.connect") and not is_probe
            paths = [f"command {arguments[0]!r}"] if is_reach else []
        for path in paths:
            full = str(Path(os.fsdecode(path)).absolute())
            if not full.startswith(allowed) and "__pycache__" not in full:
                outside.append(f"{event} {full}")

    return hook


def fuzz(name: str, n: int, seed: int) -> tuple[Counter[str], Counter[str]]:
    """Try a reader, in processes that are made anew when one hangs or dies; return the ends and the faults."""
    ends: Counter[str] = Counter()
    faults: Counter[str] = Counter()
    at = 0
    while at < n:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, __file__, "--serve", name, folder, str(at), str(n), str(seed)]
            log = Path(folder) / "stderr"
            environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
            with log.open("wb") as errors:
                worker = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, cwd=folder, env=environment)
            at, fault, is_meant = _follow(worker, at, ends, faults)
            if fault and is_meant and not fault.startswith("more"):
                ends["meant"] += 1
                at += 1
            elif fault:
                said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
                faults[f"{fault} {said[0][:160] if said and 'death' in fault else ''}".strip()] += 1
                ends["fault"] += 1
                at += 1
                if "before it began" in fault:
                    break
    return ends, faults


def _follow(
    worker: subprocess.Popen[bytes], at: int, ends: Counter[str], faults: Counter[str]
) -> tuple[int, str, bool]:
    """Read a worker's lines until it ends.

    Returns:
        The next mutation, what was wrong with this process, and whether it was at damage with a right checksum.
    """
    assert worker.stdout is not None
    began, spent, buffer, is_ready, meant = time.monotonic(), 0.0, b"", False, -1
    try:
        while True:
            if not select.select([worker.stdout], [], [], 1.0)[0]:
                is_late = time.monotonic() > began + (STALLED_S if is_ready else START_S)
                if is_late or (is_ready and _processor_s(worker.pid) > spent + LIMIT_S):
                    return at, f"hang of over {LIMIT_S:g} s (mutation {at})", meant == at
                continue
            part = os.read(worker.stdout.fileno(), 1 << 16)
            if not part:
                code = worker.wait()
                died = f"death, exit code {code} (mutation {at if is_ready else 'before it began'})"
                return at, "" if code == 0 else died, meant == at
            *lines, buffer = (buffer + part).split(b"\n")
            for line in lines:
                told = json.loads(line)
                began, spent, is_ready = time.monotonic(), _processor_s(worker.pid), True
                if "meant" in told:
                    meant = told["meant"]
                if "end" not in told:
                    continue
                at = told["n"] + 1
                _count(told, ends, faults)
                if told["rss"] > LIMIT_BYTES:
                    return at, f"more than 2 GiB (mutation {at - 1})", False
    finally:
        worker.kill()
        worker.wait()
        worker.stdout.close()


def _count(told: dict[str, str], ends: Counter[str], faults: Counter[str]) -> None:
    ends[told["end"]] += 1
    if told["end"] == "fault":
        faults[told["what"]] += 1
        if faults[told["what"]] == 1 and "example" in told:
            print(f"    mutation {told['n']}: {told['what']}: {told['example']}", file=sys.stderr, flush=True)


def _processor_s(pid: int) -> float:
    """Return the processor time of a process and of those it started, seconds."""
    import psutil

    spent = 0.0
    try:
        process = psutil.Process(pid)
        times = process.cpu_times()
        spent = times.user + times.system + times.children_user + times.children_system
        for child in process.children(recursive=True):
            spent += sum(child.cpu_times()[:2])
    except psutil.Error:
        pass
    return spent


def main() -> None:
    """Try all readers and print a table."""
    if sys.argv[1:2] == ["--serve"]:
        name, folder, first, last, seed = sys.argv[2:]
        serve(name, Path(folder), int(first), int(last), int(seed))
        return
    from benchmarks.fuzz_cases import CASES

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=2000, help="mutations of each reader")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="names of readers with semicolons; left out: all")
    arguments = parser.parse_args()
    chosen = [name for name in CASES if not arguments.only or name in arguments.only.split(";")]
    print("| reader | mutations | accepted | refused with a message | busy or ended by a meant file | faults |")
    print("|---|---|---|---|---|---|", flush=True)
    n_faults = 0
    for name in chosen:
        ends, faults = fuzz(name, arguments.n, arguments.seed)
        n_faults += ends["fault"]
        figures = " | ".join(f"{ends[end]:,}" for end in ("accepted", "refused", "meant", "fault"))
        print(f"| {name} | {sum(ends.values()):,} | {figures} |", flush=True)
        for what, count in faults.most_common(12):
            print(f"    {count} x {what}", flush=True)
    sys.exit(1 if n_faults else 0)


if __name__ == "__main__":
    main()
