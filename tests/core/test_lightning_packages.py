"""The callback in Trainers of both packages, beside twins, while tuning, and as a copy."""

from __future__ import annotations

import copy
import importlib
import itertools
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("lightning.pytorch", reason="lightning is not installed")

import torch
from torch import Tensor
from torch.optim import SGD

from gradclip_core import ClipNorm, ClipUpdate, Percentile, clip_in_step
from gradclip_core.lightning import GradientClipping
from gradclip_core.lightning.refusals import refuse_strategy
from gradclip_core.optimizers import clipped
from tests.core.lightning_loops import make_module, make_trainer

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*does not have a `val_dataloader`"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*is deprecated"),
]

FABRIC = {"lightning.pytorch": "lightning.fabric", "pytorch_lightning": "lightning_fabric"}


@pytest.fixture(params=["lightning.pytorch", "pytorch_lightning"])
def pl(request: pytest.FixtureRequest) -> Any:
    """A package of Lightning's."""
    return pytest.importorskip(request.param, reason=f"{request.param} is not installed")


def misconfiguration(pl: Any) -> Any:
    fabric = importlib.import_module(f"{FABRIC[pl.__name__]}.utilities.exceptions")
    return fabric.MisconfigurationException


def weights(module: Any) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def test_weights_are_those_of_the_trainers_own_clipping(pl: Any) -> None:
    ours, theirs, free = (make_module(pl) for _ in range(3))
    callback = GradientClipping(ClipNorm(1.0))
    make_trainer(pl, callbacks=[callback]).fit(ours)
    make_trainer(pl, gradient_clip_val=1.0).fit(theirs)
    make_trainer(pl).fit(free)
    torch.testing.assert_close(weights(ours), weights(theirs), rtol=1e-6, atol=1e-7)
    assert not torch.allclose(weights(ours)["net.0.weight"], weights(free)["net.0.weight"])
    assert callback.clippers[0].steps.item() == 8


@pytest.mark.parametrize("value", [0, 0.0, None])
def test_clipping_that_the_trainer_has_turned_off_is_no_second_one(pl: Any, value: Any) -> None:
    callback = GradientClipping(ClipNorm(1e-3))
    make_trainer(pl, callbacks=[callback], gradient_clip_val=value).fit(module := make_module(pl))
    assert max(module.norms) == pytest.approx(1e-3, rel=1e-3)


def test_clipping_of_the_trainer_or_the_module_is_refused(pl: Any) -> None:
    run = make_trainer(pl, callbacks=[GradientClipping(ClipNorm(1.0))], gradient_clip_val=0.5)
    with pytest.raises(misconfiguration(pl), match=r"gradient_clip_val=0\.5 of the Trainer"):
        run.fit(make_module(pl))
    module = make_module(pl)
    module.configure_gradient_clipping = lambda *args, **settings: None
    with pytest.raises(misconfiguration(pl), match="would both clip: remove one of them"):
        make_trainer(pl, callbacks=[GradientClipping(ClipNorm(1.0))]).fit(module)


@pytest.mark.parametrize("name", ["FSDPStrategy", "DeepSpeedStrategy"])
def test_strategies_of_either_package_are_known(pl: Any, name: str) -> None:
    strategies = importlib.import_module(f"{pl.__name__}.strategies")
    # Never begun: making one takes devices, or DeepSpeed; a subclass counts as well.
    kind = type("Mine", (getattr(strategies, name),), {"__init__": lambda self: None})
    trainer = make_trainer(pl)
    trainer._accelerator_connector.strategy = kind()
    with pytest.raises(misconfiguration(pl), match=r"^Mine hides how it shards gradients"):
        refuse_strategy(trainer, ClipNorm(1.0))


def twin(module: Any) -> Any:
    return clipped(SGD)(module.parameters(), 0.01, clipper=ClipNorm(1.0))


def hooked(module: Any) -> Any:
    optimizer = SGD(module.parameters(), 0.01)
    clip_in_step(optimizer, ClipNorm(1.0))
    return optimizer


@pytest.mark.parametrize("make", [twin, hooked])
def test_an_optimizer_that_clips_is_refused_beside_another_clip(pl: Any, make: Any) -> None:
    run = make_trainer(pl, callbacks=[GradientClipping(ClipNorm(1.0))])
    with pytest.raises(misconfiguration(pl), match=r"the clipper in the step of .* both clip"):
        run.fit(make_module(pl, make))
    with pytest.raises(ValueError, match=r"^gradient_clip_val=0\.5 of the Trainer and"):
        make_trainer(pl, gradient_clip_val=0.5).fit(make_module(pl, make))
    for off in (None, 0):
        make_trainer(pl, gradient_clip_val=off).fit(make_module(pl, make))


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("clipper", [ClipNorm(1e-3), ClipNorm(Percentile(0)), ClipUpdate(1e-4)])
def test_the_search_for_a_learning_rate_clips_and_leaves_no_trace(
    pl: Any, clipper: Any, first: bool, tmp_path: Path
) -> None:
    callback = GradientClipping(clipper)
    finder = importlib.import_module(f"{pl.__name__}.callbacks").LearningRateFinder(
        num_training_steps=12, early_stop_threshold=None
    )
    callbacks = [callback, finder] if first else [finder, callback]
    module = make_module(pl)
    run = make_trainer(pl, callbacks=callbacks, default_root_dir=tmp_path, max_epochs=1)
    run.fit(module)
    searched = len(module.norms) - 8
    assert searched == 8  # an epoch
    if isinstance(clipper, ClipUpdate):
        pairs = list(itertools.pairwise(module.begins))
        moves = [(after - before).norm().item() for before, after in pairs]
        moves.pop(searched - 1)  # back to the weights before the search
        assert max(moves) == pytest.approx(1e-4, rel=1e-2)
    else:
        assert max(module.norms[1:]) <= 1.001 * module.norms[0]
    assert callback.clippers[0].steps.item() == 8
    assert "on_train_start" not in vars(module)


def test_the_search_for_a_batch_size_clips(pl: Any, tmp_path: Path) -> None:
    module = make_module(pl)
    run = make_trainer(
        pl, callbacks=[GradientClipping(ClipNorm(1e-3))], default_root_dir=tmp_path, max_epochs=2
    )
    tuner = importlib.import_module(f"{pl.__name__}.tuner").Tuner(run)
    tuner.scale_batch_size(module, max_trials=2, steps_per_trial=2, mode="power")
    assert len(module.norms) >= 4
    assert max(module.norms) == pytest.approx(1e-3, rel=1e-3)
    run.fit(module)
    assert max(module.norms) == pytest.approx(1e-3, rel=1e-3)


def test_a_module_that_is_copied_while_it_trains_leaves_the_trainer_behind(pl: Any) -> None:
    class Copies(pl.Callback):
        def __init__(self) -> None:
            self.lock = threading.Lock()  # what Trainers of several processes hold, and no copy may
            self.copied: list[Any] = []

        def setup(self, trainer: Any, module: Any, stage: str) -> None:
            self.copied.append(copy.deepcopy(module))

    starts: list[Any] = []
    module = make_module(pl)
    type(module).on_train_start = lambda self: starts.append(self)
    callback, copies = GradientClipping(ClipNorm(1e-3)), Copies()
    make_trainer(pl, callbacks=[callback, copies]).fit(module)
    assert starts == [module]
    (copied,) = copies.copied
    copied.on_train_start()
    assert starts == [module, copied]
    assert copied._trainer is None
    assert max(module.norms) == pytest.approx(1e-3, rel=1e-3)


def test_averaged_weights_are_those_of_the_trainers_own_clipping(pl: Any) -> None:
    averaging = pytest.importorskip(f"{pl.__name__}.callbacks")
    if not hasattr(averaging, "WeightAveraging"):
        pytest.skip(f"{pl.__name__} {pl.__version__} does not average weights")
    found = []
    for callbacks in ([GradientClipping(ClipNorm(1.0))], []):
        module = make_module(pl)
        bound = None if callbacks else 1.0
        run = make_trainer(
            pl, callbacks=[*callbacks, averaging.WeightAveraging()], gradient_clip_val=bound
        )
        run.fit(module)
        found.append(weights(module))
    torch.testing.assert_close(*found, rtol=1e-6, atol=1e-7)


def test_the_callers_object_shows_the_report_of_a_copy(pl: Any) -> None:
    given = GradientClipping(ClipNorm(1.0))
    copied = copy.deepcopy(SimpleNamespace(callbacks=[given])).callbacks
    assert copied[0] is not given
    make_trainer(pl, callbacks=copied).fit(make_module(pl))
    assert given.last_report is copied[0].last_report is not None
    assert given.state_dict()["clippers"] == {}


def test_a_checkpoint_of_another_strategy_is_one_line_and_loads_nothing(pl: Any) -> None:
    saved = GradientClipping(ClipNorm(Percentile(50)))
    make_trainer(pl, callbacks=[saved]).fit(make_module(pl))
    other = GradientClipping(ClipNorm(1.0))
    before = copy.deepcopy(other.state_dict())
    with pytest.raises(ValueError, match=r"^this state is of another clipper than ClipNorm"):
        other.load_state_dict(saved.state_dict())
    assert other.state_dict()["steps"] == before["steps"] == 0
    assert all(clipper.steps.item() == 0 for clipper in other.clippers)
