"""Exit codes, status tables and messages."""

from common.failures import SlideError, SlideStatus, StudyError, command, exit_code, failed, failure_table, write_status


def test_commands_turn_errors_into_exit_codes(capsys):
    @command
    def main(argv=None):
        if argv == ["wrong"]:
            raise StudyError("found x, wanted y")
        if argv == ["stop"]:
            raise KeyboardInterrupt
        return 0

    assert (main([]), main(["wrong"]), main(["stop"])) == (0, 2, 130)
    assert "error: found x, wanted y" in capsys.readouterr().err


def test_status_tables_are_sorted_and_the_same_in_any_order(tmp_path):
    rows = [
        SlideStatus(slide_id="b", step="s", state="done", figures={"n_tiles": 3}),
        failed("a", "s", SlideError("no scale", "give mpp")),
    ]
    write_status(tmp_path / "one.csv", rows)
    write_status(tmp_path / "two.csv", rows[::-1])
    assert (tmp_path / "one.csv").read_text().splitlines() == [
        "slide_id,step,state,reason,remedy,n_tiles",
        "a,s,failed,no scale,give mpp,",
        "b,s,done,,,3",
    ]
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "two.csv").read_bytes()
    assert exit_code(rows) == 1
    assert exit_code(rows[:1]) == 0
    assert "a: no scale; give mpp" in failure_table(rows)
    assert failure_table(rows[:1]) == ""
