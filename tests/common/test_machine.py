"""Threads that wait sleep, unless the user said otherwise."""

import pytest

from common.machine import wait_passively

NAMES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


@pytest.mark.parametrize("given", [None, *NAMES])
def test_threads_that_wait_sleep_unless_the_user_set_how(monkeypatch, given):
    import os

    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    if given:
        monkeypatch.setenv(given, "5")
    wait_passively()
    assert os.environ.get("OMP_WAIT_POLICY") == ("PASSIVE" if given is None else "5" if given == NAMES[0] else None)


def test_the_training_script_waits_passively_before_torch_is_loaded(root):
    import subprocess
    import sys

    code = (
        "import os, sys; os.environ.pop('OMP_WAIT_POLICY', None); import mil.train as t\n"
        "from common.machine import wait_passively\n"
        "def stop(): wait_passively(); print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules); raise SystemExit(0)\n"
        "t.wait_passively = stop; t.main([])"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert found.stdout.split() == ["PASSIVE", "False"], found.stderr
