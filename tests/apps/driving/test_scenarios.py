"""Scenarios by number: the same for ever, none in two splits; the sensor's faults."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest

from apps.driving.scenarios import SPLITS, Highway
from apps.driving.sensor import Sensor

HIGHWAY = Highway()


def test_a_number_means_the_same_traffic_for_ever() -> None:
    """Values of the day on which the application was written."""
    traffic = HIGHWAY.scenes("test", [0]).traffic
    lanes = hashlib.sha256(traffic.lane.astype("<i8").tobytes()).hexdigest()[:16]
    assert lanes == "7d7a39b150ebb311"
    assert traffic.x[0, :3] == pytest.approx(
        [155.56272165691786, 183.97374381838873, 208.33497776764375], abs=1e-9
    )
    assert traffic.speed[0, :3] == pytest.approx(
        [25.0, 23.44267722178284, 21.27574782640529], abs=1e-9
    )


def test_a_scenario_does_not_depend_on_those_beside_it() -> None:
    many, one = HIGHWAY.scenes("val", range(5)), HIGHWAY.scenes("val", [3])
    assert np.array_equal(many.traffic.x[3:4], one.traffic.x)
    assert np.array_equal(many.faults.hidden[3:4], one.faults.hidden)
    assert np.array_equal(many.chance[3:4], one.chance)


def test_no_scenario_is_in_two_splits_or_comes_twice() -> None:
    found = [HIGHWAY.scenes(split, range(50)).traffic.x for split in SPLITS]
    found.append(HIGHWAY.scenes("train", range(50), seed=1).traffic.x)
    places = np.concatenate(found)[:, -1]
    assert len(np.unique(places)) == 250


def test_a_longer_episode_has_the_same_traffic() -> None:
    longer = Highway(seconds=60).scenes("test", [7])
    assert np.array_equal(longer.traffic.x, HIGHWAY.scenes("test", [7]).traffic.x)


def test_settings_come_back_from_plain_values() -> None:
    highway = Highway(lanes=4, density=[1, 2], sensor=Sensor(occluded=0.5))
    again = Highway.from_dict(json.loads(json.dumps(highway.as_dict())))
    assert again.as_dict() == highway.as_dict()
    assert again.sensor == highway.sensor


@pytest.mark.parametrize(("occluded", "burst"), [(0.2, 2.0), (0.5, 2.0), (0.1, 0.5)])
def test_occlusions_come_in_bursts_of_the_stated_length_and_share(
    occluded: float, burst: float
) -> None:
    sensor = Sensor(occluded=occluded, burst=burst)
    uniforms = np.random.default_rng(0).random((400, 60, 6, 3))
    hidden = sensor.faults(uniforms).hidden
    assert hidden.mean() == pytest.approx(occluded, abs=0.01)
    ends = hidden[:, 1:-1] & ~hidden[:, 2:]
    going = hidden[:, 1:-1].sum() / ends.sum()
    assert 0.5 * going == pytest.approx(burst, rel=0.05), "seconds, two decisions in each"


def test_noise_is_normal_with_a_deviation_that_grows_with_the_gap() -> None:
    sensor = Sensor(noise=0.5, relative_noise=0.02)
    uniforms = np.random.default_rng(0).random((400, 60, 6, 3))
    noise = sensor.faults(uniforms).noise
    assert noise.mean() == pytest.approx(0.0, abs=0.01)
    assert noise.std() == pytest.approx(1.0, abs=0.01)
    assert (np.abs(noise) < 1.959964).mean() == pytest.approx(0.95, abs=0.002)
    present = np.array([[True, True, True, False, False, False]])
    gaps = np.array([[50.0, -50.0, 10.0, 0.0, 0.0, 0.0]])
    hidden = np.array([[False, False, True, False, True, False]])
    seen, measured = sensor.detect(present, gaps, hidden, np.ones((1, 6)))
    assert seen.tolist() == [[True, True, False, False, False, False]]
    assert measured.tolist() == [[51.5, -48.5, 0.0, 0.0, 0.0, 0.0]]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"occluded": 1.0}, "occluded must be a share"),
        ({"burst": 0.1}, "burst must be >= 0.5 s"),
        ({"occluded": 0.9, "burst": 2.0}, "burst must be >= 4.5 s with occluded=0.9"),
        ({"range": 0.0}, "range must be a number > 0"),
        ({"noise": -1.0}, "must be numbers >= 0"),
    ],
)
def test_a_sensor_that_cannot_be(settings: dict[str, float], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        Sensor(**settings)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"lanes": 1}, "lanes=1"),
        ({"density": (1.6, 0.8)}, "two rising numbers"),
        ({"density": (1.0,)}, "two rising numbers"),
        ({"test": 0}, "test=0"),
    ],
)
def test_a_road_that_cannot_be(settings: dict[str, object], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        Highway(**settings)  # type: ignore[arg-type]
