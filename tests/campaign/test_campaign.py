"""The campaign at the size of a normal test run, the seeds that once failed, and the proof that it can fail."""

import re
from pathlib import Path

import pytest

from tests.campaign.__main__ import many
from tests.campaign.breaks import BREAKS
from tests.campaign.schedule import draw
from tests.campaign.world import run

SCHEDULES = 200
SHARES = 4

SEEDS = [line.split() for line in (Path(__file__).parent / "seeds.txt").read_text().splitlines()]
FOUND = [int(words[0]) for words in SEEDS if words and words[0].isdigit()]


def told(failed: dict[int, list[str]]) -> str:
    lines = [
        f"seed {seed}: python -m tests.campaign --seed {seed} -v\n  " + "\n  ".join(failed[seed]) for seed in failed
    ]
    return "\n".join(lines)


@pytest.mark.parametrize("share", range(SHARES))
def test_no_accident_pays_twice_or_loses_a_job_or_a_film(share: int) -> None:
    """P1, P2, P3, P4, P6, P8: a few hundred schedules; `make campaign` runs ten thousand."""
    done = many(range(share, SCHEDULES, SHARES), None)
    assert not done["failed"], told(done["failed"])
    assert done["counts"]["deaths"] > 0
    assert done["counts"]["tasks"] > 0


def test_seeds_that_once_failed_do_not_fail_again() -> None:
    done = many(FOUND, None)
    assert not done["failed"], told(done["failed"])


@pytest.mark.parametrize("rule", BREAKS)
def test_a_broken_rule_is_caught_within_500_schedules(rule: str) -> None:
    """Must show 1: a campaign that cannot fail shows nothing."""
    done = many(range(500), rule, first=True)
    assert done["failed"], f"500 schedules did not notice: {rule}"


def test_a_seed_is_its_schedule(tmp_path: Path) -> None:
    """A failing seed can only be replayed if chance is all in it: twice the same, to the last answer."""
    for seed in (3, 14, 87, 152):
        first, second = (run(draw(seed), tmp_path, loud=True).timeline for _ in range(2))
        assert [_anywhere(line) for line in first] == [_anywhere(line) for line in second]


def _anywhere(line: tuple[float, str]) -> tuple[float, str]:
    return line[0], re.sub(r"/run-\d+/", "/", line[1])
