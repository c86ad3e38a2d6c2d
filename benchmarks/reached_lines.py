"""Which tests come to which line of the product, how long they take, and in which order they are worth running.

Two plugins of pytest for `mutations.py`: `Watch` looks at an unchanged run, `Order` runs those first that `Reached` names. Lines
that a fixture of many tests comes to are reached by all of these; what other processes do, or a cache spares a test, is not seen.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import coverage
import pytest

SHARED = "fixture of many tests: "


@dataclass
class Reached:
    """Seconds and shared fixtures of each test; contexts (a test, a shared fixture, "" for import) of each line of each module."""

    seconds: float = 0.0
    slow: bool = False  # slow tests are among them
    costs: dict[str, float] = field(default_factory=dict)
    fixtures: dict[str, list[str]] = field(default_factory=dict)
    lines: dict[str, dict[str, list[str]]] = field(default_factory=dict)

    @classmethod
    def read(cls, file: Path) -> Reached:
        return cls(**json.loads(file.read_text(encoding="utf-8")))

    def order(self, module: str, lines: Iterable[int]) -> dict[str, int]:
        """Return the place of each test: those that come to the lines first, file by file, in both what is quick first."""
        known = self.lines.get(module, {})
        contexts = {context for line in lines for context in known.get(str(line), ())}
        cost = {test: self._cost(test) for test in self.fixtures}
        there = {
            test
            for test in cost
            if test in contexts or any(SHARED + name in contexts for name in self.fixtures.get(test, ()))
        }
        first: dict[tuple[bool, str], float] = {}
        for test, seconds in cost.items():
            place = (test not in there, _file(test))
            first[place] = min(first.get(place, seconds), seconds)

        def key(test: str) -> tuple[bool, float, str, float]:
            place = (test not in there, _file(test))
            return place[0], first[place], place[1], cost[test]

        return {test: at for at, test in enumerate(sorted(cost, key=key))}

    def _cost(self, test: str) -> float:
        return self.costs[test] + sum(self.costs.get(SHARED + name, 0.0) for name in self.fixtures.get(test, ()))


def _file(test: str) -> str:
    return test.partition("::")[0]


class Order:
    """Run tests in this order; new ones last."""

    def __init__(self, places: dict[str, int]) -> None:
        self.places = places

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items.sort(key=lambda item: self.places.get(item.nodeid, len(self.places)))


class Watch:
    """Measure a run of tests and write what they reach of these modules."""

    def __init__(self, root: Path, modules: Sequence[str], out: Path, *, slow: bool = False) -> None:
        self.root, self.modules, self.out = root, modules, out
        self.reached = Reached(slow=slow)
        self.contexts: list[str] = []

    def pytest_configure(self) -> None:
        include = [str(self.root / module) for module in self.modules]
        self.coverage = coverage.Coverage(data_file=None, include=include, config_file=False, messages=False)
        self.coverage.start()
        self.start = time.monotonic()

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self.reached.costs[item.nodeid] = 0.0
        yield from self._inside(item.nodeid)
        fixtures = item._fixtureinfo.name2fixturedefs  # type: ignore[attr-defined]  # no public way
        self.reached.fixtures[item.nodeid] = [name for name, found in fixtures.items() if found[-1].scope != "function"]

    @pytest.hookimpl(hookwrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Iterator[None]:
        if fixturedef.scope == "function":
            yield
        else:
            yield from self._inside(SHARED + fixturedef.argname)

    def _inside(self, context: str) -> Iterator[None]:
        """Give lines and time to this context; the time of an inner one is not the outer one's."""
        if self.contexts:
            self._add_time(self.contexts[-1])
        self.contexts.append(context)
        self.coverage.switch_context(context)
        self.since = time.monotonic()
        yield
        self._add_time(self.contexts.pop())
        self.since = time.monotonic()
        self.coverage.switch_context(self.contexts[-1] if self.contexts else "")

    def _add_time(self, context: str) -> None:
        self.reached.costs[context] = self.reached.costs.get(context, 0.0) + time.monotonic() - self.since

    def pytest_unconfigure(self) -> None:
        self.coverage.stop()
        if not self.reached.costs:
            return  # there are no tests, and coverage warns of no data
        self.reached.seconds = time.monotonic() - self.start
        found = self.coverage.get_data()
        for module in self.modules:
            contexts: dict[str, list[str]] = defaultdict(list)
            for line, names in found.contexts_by_lineno(str(self.root / module)).items():
                contexts[str(line)] += names
            self.reached.lines[module] = dict(contexts)
        tests = set(self.reached.fixtures)
        self.reached.costs = {
            name: seconds for name, seconds in self.reached.costs.items() if name in tests or SHARED in name
        }
        self.out.write_text(json.dumps(asdict(self.reached)), encoding="utf-8")
