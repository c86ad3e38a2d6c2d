"""Completions are made of the settings themselves, and shells take them."""

import shutil
import subprocess

import pytest

from common.settings import options_of
from sarcoma_mil.command import main
from sarcoma_mil.completion import SHELLS, completion_text
from sarcoma_mil.steps import STEPS


@pytest.mark.parametrize("shell", SHELLS)
def test_every_word_and_option_is_in_it(shell):
    text = completion_text(shell)
    for step in STEPS.values():
        assert step.word in text
        for name in options_of(step.config_class()):
            assert f"--{name}" in text or (shell == "tcsh" and name in text), (step.word, name)
    assert "phikon" in text  # an encoder
    assert "leave_one_site_out" in text  # a choice


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
@pytest.mark.parametrize(
    ("line", "completed"),
    [
        (["ti"], {"tile"}),
        (["tile", "--tile_"], {"--tile_um", "--tile_px"}),
        (["splits", "--method", "k"], {"k_fold"}),
        (["train", "--encoder", "phikon"], {"phikon", "phikon_v2"}),
        (["completion", "z"], {"zsh"}),
    ],
)
def test_bash_completes_by_it(tmp_path, line, completed):
    file = tmp_path / "completion.bash"
    file.write_text(completion_text("bash"))
    words = " ".join(["sarcoma-mil", *line])
    code = (
        f"source {file}; COMP_WORDS=({words}); COMP_CWORD={len(line)}; "
        "$(complete -p sarcoma-mil | sed 's/.*-F \\([^ ]*\\).*/\\1/') sarcoma-mil; printf '%s\\n' \"${COMPREPLY[@]}\""
    )
    done = subprocess.run(["bash", "--norc", "-c", code], capture_output=True, text=True, check=False)
    assert {word.strip() for word in done.stdout.splitlines()} >= completed, done.stderr


def test_it_says_how_to_keep_them(capsys):
    assert main(["completion"]) == main(["completion", "--help"]) == 0
    assert (
        "sarcoma-mil completion bash > ~/.local/share/bash-completion/completions/sarcoma-mil"
        in capsys.readouterr().out
    )
    assert main(["completion", "bsh"]) == 2
    assert "found 'bsh'; the nearest is bash" in capsys.readouterr().err
    assert main(["completion", "bash"]) == 0
    assert "complete " in capsys.readouterr().out
