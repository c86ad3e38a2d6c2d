"""Each piece of work goes to one run; what a dead run held goes to another, and nothing is left behind."""

import errno
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from common.failures import SlideError, SlideStatus, StudyError, write_status
from common.sharing import claim_files, claims, owners
from common.sharing.claims import Claims, ElsewhereError, OtherSettingsError, Sharing, settled

ROOT = Path(__file__).resolve().parents[3]
HOLD = (
    "import sys, time; from pathlib import Path; from common.sharing.claims import Claims\n"
    "with Claims(Path(sys.argv[1]), {'tiles': 'x'}, what='own.py') as own:\n"
    "    print(all([own.take(name) for name in sys.argv[2:]]), flush=True); time.sleep(60)"
)


def joined(folder, settings="x", **options):
    return Claims(folder, {"tiles": settings}, what="own.py", **options)


def holder(folder, *pieces):
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder), *pieces], cwd=ROOT, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"True\n"
    return process


def end(process, how=signal.SIGKILL):
    process.send_signal(how)
    process.wait()
    process.stdout.close()


def test_a_piece_goes_to_one_run_and_is_free_when_it_gives_it_back(tmp_path):
    with joined(tmp_path) as one, joined(tmp_path) as other:
        assert one.take("P1-a")
        assert not other.take("P1-a")
        assert other.take("P1-b")
        assert other.released(["P1-a", "P1-b", "P1-c"]) == ["P1-c"]
        one.free("P1-a")
        assert other.wait(["P1-a"]) == ["P1-a"]
        assert other.take("P1-a")
    assert list(tmp_path.iterdir()) == []


def test_no_name_of_a_file_tells_of_a_patient(tmp_path):
    with joined(tmp_path) as own:
        assert own.take("PATIENT-7")
        own.free("PATIENT-7", SlideError("found", "do"))
        assert own.take("PATIENT-8")
        names = [path.name for path in (tmp_path / ".claims").iterdir()]
        assert len(names) == 3
        assert not any("PATIENT" in name for name in names)


def take_all(folder, pieces, queue, barrier):
    with joined(folder) as own:
        taken = [piece for piece in pieces if own.take(piece)]
        queue.put(taken)
        barrier.wait(60)  # all hold what they took until all have tried


@pytest.mark.slow
@pytest.mark.parametrize("links", [True, False])
def test_many_processes_at_once_never_take_the_same(tmp_path, links, monkeypatch):
    pieces = [f"s{number}" for number in range(120)]
    context = multiprocessing.get_context("fork")
    queue, barrier = context.Queue(), context.Barrier(4)
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    with joined(tmp_path):
        workers = [context.Process(target=take_all, args=(tmp_path, pieces, queue, barrier)) for _ in range(4)]
        for worker in workers:
            worker.start()
        taken = [piece for _ in workers for piece in queue.get(timeout=60)]
        for worker in workers:
            worker.join()
    assert sorted(taken) == sorted(pieces)
    assert list(tmp_path.iterdir()) == []


def no_links(*given):
    raise OSError(errno.EOPNOTSUPP, "no links here")


def test_a_killed_run_loses_what_it_held_at_once_and_a_new_one_cleans_up(tmp_path):
    with joined(tmp_path) as own:
        other = holder(tmp_path, "a", "b")
        assert not own.take("a")
        end(other)
        assert own.take("a")
        assert own.released(["b"]) == ["b"]
    assert list(tmp_path.iterdir()) == []
    end(holder(tmp_path, "a"))
    assert (tmp_path / ".claims").is_dir()
    with joined(tmp_path) as own:
        assert len(list((tmp_path / ".claims").iterdir())) == 1
        assert own.take("a")
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_has_the_number_of_a_dead_one_is_not_taken_for_it(tmp_path):
    end(holder(tmp_path, "a"))
    for path in (tmp_path / ".claims").iterdir():
        known = json.loads(path.read_text())
        known["process"] = os.getpid()  # which began later
        path.write_text(json.dumps(known))
    with joined(tmp_path) as own:
        assert own.take("a")


def elsewhere(monkeypatch):
    """Take processes of this machine for those of another."""
    monkeypatch.setattr(owners, "_machine", lambda: "another machine")


def test_a_run_of_another_machine_lives_as_long_as_its_file_is_renewed_by_the_disks_clock(tmp_path, monkeypatch):
    other = holder(tmp_path, "a", "b")
    elsewhere(monkeypatch)
    try:
        with joined(tmp_path) as own:
            assert not own.take("a")
            claim = next(path for path in (tmp_path / ".claims").iterdir() if claim_files.CLAIM.fullmatch(path.name))
            monkeypatch.setattr(time, "time", lambda: 4e9)  # the clock of this machine says nothing
            os.utime(claim, ns=(time.time_ns() - int(1e9 * (claims.EXPIRY_S - 20)),) * 2)
            assert not own.take("a")
            os.utime(claim, ns=(time.time_ns() - int(1e9 * (claims.EXPIRY_S + 20)),) * 2)
            assert own.take("a")
            assert own.take("b")  # one file, and all its links
    finally:
        end(other)
    assert list(tmp_path.iterdir()) == []


def test_a_run_gives_signs_of_life_while_it_holds_something(tmp_path, monkeypatch):
    with joined(tmp_path, expiry_s=0.6) as own, joined(tmp_path, expiry_s=0.6) as other:
        assert own.take("a")
        time.sleep(1.5)
        assert not other.take("a")


def test_a_run_that_was_taken_for_dead_does_not_take_back_what_another_holds(tmp_path, monkeypatch):
    with joined(tmp_path) as slept, joined(tmp_path) as own:
        assert slept.take("a")
        for path in (tmp_path / ".claims").iterdir():
            if slept._files.owner.token in path.read_text():
                os.utime(path, ns=(0, 0))
        assert own.take("a")
        own.free("a")
        assert own.take("a")  # by a file of the name that the first claim had
        slept.free("a")
        with joined(tmp_path) as third:
            assert not third.take("a")


def test_where_there_are_no_links_new_files_do(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", no_links)
    with joined(tmp_path, expiry_s=0.6) as one, joined(tmp_path, expiry_s=0.6) as other:
        assert one.take("a")
        time.sleep(1.0)
        assert not other.take("a")
        one.free("a")
        assert other.take("a")
    assert list(tmp_path.iterdir()) == []


def test_an_answer_that_a_network_disk_lost_is_found_again(tmp_path, monkeypatch):
    link = os.link

    def made_and_refused(one, other):
        link(one, other)
        raise FileExistsError(errno.EEXIST, "File exists")

    with joined(tmp_path) as one, joined(tmp_path) as other:
        monkeypatch.setattr(os, "link", made_and_refused)
        assert one.take("a")
        monkeypatch.undo()
        assert not other.take("a")


def test_a_list_that_a_network_disk_kept_too_long_does_not_give_a_piece_twice(tmp_path, monkeypatch):
    with joined(tmp_path) as first, joined(tmp_path) as second, joined(tmp_path) as third:
        assert first.take("a")
        for path in (tmp_path / ".claims").iterdir():
            if first._files.owner.token in path.read_text():
                os.utime(path, ns=(0, 0))
        assert second.take("a")  # over from the first: its file has the number 2
        listed, calls = third._files._claims_of, []

        def old_list(piece):
            calls.append(piece)
            return [] if len(calls) == 1 else listed(piece)

        monkeypatch.setattr(third._files, "_claims_of", old_list)
        assert not third.take("a")
        assert [path.suffix for path in (tmp_path / ".claims").iterdir() if path.suffix] == [".2"]


def test_a_run_whose_file_was_taken_away_makes_it_anew(tmp_path):
    with joined(tmp_path) as own, joined(tmp_path) as other:
        own._files._file.unlink()
        assert own.take("a")
        assert not other.take("a")
        assert other.holders() == [own._files.owner.told]


def test_other_settings_are_kept_off_and_other_steps_are_not(tmp_path):
    with joined(tmp_path):
        with pytest.raises(
            OtherSettingsError, match=r"own\.py is running on .* already with other settings: .*process \d+"
        ):
            joined(tmp_path, "y").__enter__()
        with Claims(tmp_path, {"features of x": "y"}, what="other.py") as other:
            assert other.take("a")
            assert other.holders() == []
    assert list(tmp_path.iterdir()) == []


def test_a_piece_of_several_steps_is_held_for_all_of_them_or_none(tmp_path):
    both = Claims(tmp_path, {"a": "1", "b": "1"}, what="own.py")
    with both, Claims(tmp_path, {"b": "1"}, what="own.py") as one, Claims(tmp_path, {"a": "1"}, what="own.py") as third:
        assert one.take("s")
        assert not both.take("s")
        assert third.take("s")
        third.free("s")
        one.free("s")
        assert both.take("s")
        assert not one.take("s")


def test_what_failed_since_a_run_began_it_does_not_try_again_and_what_failed_before_it_does(tmp_path):
    with joined(tmp_path) as one:
        with joined(tmp_path) as other:
            assert one.take("a")
            one.free("a", SlideError("found", "do this"))
            failure = other.failure("a")
            assert isinstance(failure, ElsewhereError)
            assert (failure.reason, failure.remedy) == ("found", "do this")
            assert other.failure("b") is None
        time.sleep(0.02)
        with joined(tmp_path) as late:
            assert late.failure("a") is None
            assert late.take("a")
            late.free("a")
            assert one.failure("a") is None
    assert list(tmp_path.iterdir()) == []


def test_a_slide_that_another_run_made_after_it_failed_here_is_told_as_done(tmp_path):
    table = tmp_path / "status.csv"
    with joined(tmp_path) as early:
        for name in ("a", "b"):
            assert early.take(name)
            early.free(name, SlideError("out of memory"))
        time.sleep(0.02)
        with joined(tmp_path) as late:
            assert late.take("a")
            late.free("a")
        write_status(table, [SlideStatus(slide_id=name, step="x", state="done") for name in ("a", "b")])
        own = [SlideStatus(slide_id=name, step="x", state="failed", reason="out of memory") for name in ("a", "b")]
        assert [row.state for row in settled(own, table, early)] == ["done", "failed"]
    assert settled(own, table, Sharing()) == own


def test_who_may_write_into_the_study_may_share_and_read_who_is_at_work(tmp_path):
    tmp_path.chmod(0o2775)
    before = os.umask(0o077)
    try:
        with joined(tmp_path) as own:
            assert own.take("a")
            assert (tmp_path / ".claims").stat().st_mode & 0o7777 == 0o2775
            assert all(path.stat().st_mode & 0o044 for path in (tmp_path / ".claims").iterdir())
    finally:
        os.umask(before)


def test_a_file_that_nobody_may_read_lives_until_it_expires(tmp_path, monkeypatch):
    with joined(tmp_path) as own, joined(tmp_path) as other:
        assert other.take("a")
        opened = Path.open

        def closed(path, *given, **options):
            if claim_files.CLAIM.fullmatch(path.name):
                raise PermissionError(errno.EACCES, "closed", str(path))
            return opened(path, *given, **options)

        monkeypatch.setattr(Path, "open", closed)
        assert not own.take("a")
        monkeypatch.undo()


def test_one_waits_for_its_turn(tmp_path):
    inside = []
    with joined(tmp_path) as one, joined(tmp_path) as other:

        def work(own):
            for _ in range(5):
                with own.turn("status"):
                    inside.append(1)
                    assert len(inside) == 1
                    inside.pop()

        threads = [threading.Thread(target=work, args=(own,)) for own in (one, other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not inside


def test_a_folder_of_claims_that_is_a_link_is_refused(tmp_path):
    (tmp_path / "victim").mkdir()
    (tmp_path / "victim" / "run-1").write_text("x")
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / ".claims").symlink_to(tmp_path / "victim")
    with pytest.raises(StudyError, match="is a link"):
        joined(tmp_path / "study").__enter__()
    assert [path.name for path in (tmp_path / "victim").iterdir()] == ["run-1"]


def test_a_folder_that_takes_no_file_shares_nothing_and_that_is_said(tmp_path, monkeypatch, capsys):
    def closed(self, *given, **options):
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", closed)
    with joined(tmp_path) as own:
        assert own.take("a")
        assert own.released(["a"]) == ["a"]
        own.free("a")
    assert "takes no claims" in capsys.readouterr().err


def test_alone_everything_is_free():
    own = Sharing()
    assert own.take("a")
    assert own.wait(["a"]) == ["a"]
    with own.turn("status"):
        own.free("a")


def test_other_runs_are_told_in_one_order_whatever_that_of_the_disk(tmp_path, monkeypatch):
    listed = Path.iterdir
    with joined(tmp_path) as own, joined(tmp_path) as second, joined(tmp_path) as third:
        wanted = sorted((second._files.owner, third._files.owner), key=lambda owner: owner.token)
        for is_reversed in (False, True):
            monkeypatch.setattr(
                Path, "iterdir", lambda path, is_so=is_reversed: iter(sorted(listed(path), reverse=is_so))
            )
            assert own._files.others() == wanted
        monkeypatch.undo()
