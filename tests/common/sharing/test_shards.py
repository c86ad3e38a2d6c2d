"""Parts of the slides by their names alone: each slide is of one part, whatever other slides there are."""

import pytest

from common.sharing.shards import Shard, parse_shard

NAMES = [f"P{number:03d}-ä{number % 7}" for number in range(400)]


@pytest.mark.parametrize("n", [1, 2, 7])
def test_each_slide_is_of_one_part_and_no_part_is_small(n):
    parts = [Shard(number, n) for number in range(1, n + 1)]
    for name in NAMES:
        assert sum(part.holds(name) for part in parts) == 1
    sizes = [len(NAMES) - len(part.left_out(NAMES)) for part in parts]
    assert min(sizes) > 0.6 * len(NAMES) / n


def test_the_part_of_a_slide_does_not_hang_on_the_others_and_never_changes():
    assert [name for name in ("a", "b", "c", "d", "e", "f") if Shard(1, 2).holds(name)] == ["a", "b", "c", "e", "f"]
    assert Shard(1, 2).left_out(["f", "d", "c"]) == {"d"}


@pytest.mark.parametrize("text", ["0/4", "5/4", "4", "1/0", "-1/4", "1/4/2", "a/b", "1.0/2", "", "１/２"])
def test_what_is_no_part_is_refused(text):
    with pytest.raises(ValueError, match="--shard is a part as 1/4"):
        parse_shard(text)


def test_a_part_is_read_and_nothing_is_the_whole():
    assert parse_shard(" 2/16 ") == Shard(2, 16)
    assert not parse_shard(None).left_out(NAMES)
