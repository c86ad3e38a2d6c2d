"""Events are written where they are asked for, say what the records say, and a missing package is told before training."""

import subprocess
import sys

import pytest

from common.failures import StudyError
from mil.runs.facts import Epoch
from mil.training.recipe.tensorboard_events import check_installed
from tests.helpers.run_folders import FOLDS


@pytest.mark.slow
def test_the_events_are_the_losses_of_every_epoch_and_a_second_run_replaces_them(tmp_path, root):
    """In a process of its own: TensorBoard's own imports warn."""
    code = (
        "import sys; from pathlib import Path\n"
        "from mil.training.recipe.tensorboard_events import write_events\n"
        "from tests.helpers.run_folders import FOLDS\n"
        "from tensorboard.backend.event_processing.event_accumulator import EventAccumulator\n"
        "run = Path(sys.argv[1])\n"
        "for _ in range(2): write_events(run / 'tensorboard', FOLDS, below=run)\n"
        "for own in sorted((run / 'tensorboard').iterdir()):\n"
        "    assert len(list(own.iterdir())) == 1\n"
        "    events = EventAccumulator(str(own)); events.Reload()\n"
        "    for tag in ('loss/training', 'loss/inner validation'):\n"
        "        print(own.name, tag, [(e.step, round(e.value, 4)) for e in events.Scalars(tag)])\n"
    )
    found = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, str(tmp_path)],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    assert [Epoch(epoch=1, train_loss=1.0, val_loss=1.1), Epoch(epoch=2, train_loss=0.5, val_loss=1.2)] == [
        *FOLDS[0].history
    ]
    assert found.stdout.splitlines() == [
        line
        for fold in (0, 1)
        for line in (
            f"repeat0_fold{fold} loss/training [(1, 1.0), (2, 0.5)]",
            f"repeat0_fold{fold} loss/inner validation [(1, 1.1), (2, 1.2)]",
        )
    ]


def test_a_missing_package_is_told_with_what_to_install(monkeypatch):
    monkeypatch.setattr("mil.training.recipe.tensorboard_events.find_spec", lambda name: None)
    with pytest.raises(StudyError, match=r"pip install -e '\.\[tensorboard\]'"):
        check_installed()
