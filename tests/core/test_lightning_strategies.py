"""What the callback says to strategies under which a clipper would go wrong."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("lightning.pytorch", reason="lightning is not installed")

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.strategies import (
    DDPStrategy,
    DeepSpeedStrategy,
    FSDPStrategy,
    ModelParallelStrategy,
    SingleDeviceStrategy,
)

from gradclip_core import Chain, ClipNorm, Clipper, NoiseAware, Percentile, UClip
from gradclip_core.lightning import refuse_strategy


def using(strategy: Any) -> Any:
    """A Trainer would ask for the devices that a strategy needs."""
    return SimpleNamespace(strategy=strategy)


def test_shards_that_are_hidden_are_refused() -> None:
    with pytest.raises(MisconfigurationException, match="FSDPStrategy hides") as caught:
        refuse_strategy(using(FSDPStrategy()), ClipNorm(1.0))
    assert "ModelParallelStrategy (FSDP2)" in str(caught.value)


def test_deepspeed_is_refused() -> None:
    strategy = DeepSpeedStrategy.__new__(DeepSpeedStrategy)  # its __init__ asks for DeepSpeed
    with pytest.raises(MisconfigurationException, match="DeepSpeedStrategy hides") as caught:
        refuse_strategy(using(strategy), ClipNorm(1.0))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("clipper", "name"),
    [
        (ClipNorm(NoiseAware()), "NoiseAware"),
        (Chain([ClipNorm(1.0), UClip(ClipNorm(1.0))]), "UClip"),
    ],
)
def test_state_of_which_a_checkpoint_would_hold_a_shard_is_refused(
    clipper: Clipper, name: str
) -> None:
    with pytest.raises(MisconfigurationException, match=f"{name} keeps a tensor for each"):
        refuse_strategy(using(ModelParallelStrategy()), clipper)
    refuse_strategy(using(DDPStrategy()), clipper)


@pytest.mark.parametrize(
    "strategy", [ModelParallelStrategy(), DDPStrategy(), SingleDeviceStrategy("cpu")]
)
def test_the_others_work(strategy: Any) -> None:
    refuse_strategy(using(strategy), ClipNorm(Percentile(10)))
