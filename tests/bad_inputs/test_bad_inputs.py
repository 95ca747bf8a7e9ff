"""Each bad setting ends in one line and exit code 2, and leaves nothing behind."""

from __future__ import annotations

import pytest

from tests.bad_inputs.settings import LINES, TRAIN
from tests.conftest import Ended, snapshot
from tests.thinned import thinned


def assert_refused(ended: Ended, verb: str, expected: str) -> None:
    """One line on stderr that says what is expected, and exit code 2."""
    assert ended.code == 2, ended
    assert "Traceback" not in ended.err + ended.out
    assert ended.err.startswith(f"gradclip-{verb}: ")
    assert ended.err.count("\n") == 1, ended.err
    assert expected in ended.err


@pytest.mark.parametrize(
    ("settings", "expected"), thinned(TRAIN, 4), ids=[case[0] for case in TRAIN]
)
def test_a_training(warm, tiny, tmp_path, settings, expected):
    # A network without a start that has to be fitted first.
    quick = [] if "model" in settings or "features" in settings else ["model=mlp"]
    given = [*tiny, *quick, *settings.split()]
    if "run_dir" not in settings:
        given.append("run_dir=r")
    ended = warm.run("train", given, tmp_path)
    assert_refused(ended, "train", expected)
    assert snapshot(tmp_path) == {}


@pytest.mark.parametrize(
    ("verb", "line", "expected"),
    thinned(LINES, 2),
    ids=[f"{verb} {line}" for verb, line, _ in LINES],
)
def test_a_command_line(warm, tiny, trained, load_csv, tmp_path, verb, line, expected):
    places = {"{run}": [str(trained)], "{csv}": [str(load_csv)], "{tiny}": tiny}
    given: list[str] = []
    for word in line.split():
        key, _, value = word.partition("=")
        if word in places:
            # An advice has no logger.
            given += [item for item in places[word] if (verb, item) != ("advise", "logger=none")]
        else:
            given.append(f"{key}={places[value][0]}" if value in places else word)
    ended = warm.run(verb, given, tmp_path)
    assert_refused(ended, verb, expected)
    assert snapshot(tmp_path) == {}
