"""The callback in a Trainer of Transformers: the weights of its own clip, names, logs, resume."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, SequentialSampler

from apps.base.torchaudio_import import import_torchaudio
from gradclip_core import ClipNorm, Clipper, ClipPerSample, ClipUpdate, Percentile

import_torchaudio()  # which transformers imports, and could not where it is built for CUDA alone

from transformers import Trainer, TrainerCallback, TrainingArguments  # noqa: E402

from gradclip_core.transformers import GradientClipping  # noqa: E402

ROWS = 24


class Rows(Dataset[dict[str, Tensor]]):
    def __len__(self) -> int:
        return ROWS

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"x": torch.randn(3, generator=torch.Generator().manual_seed(index))}


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body, self.head = nn.Linear(3, 4), nn.Linear(4, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"loss": (self.head(self.body(x).tanh()) * 10).square().mean()}


class InOrder(Trainer):
    def _get_train_sampler(self, *_: Any) -> SequentialSampler:
        return SequentialSampler(self.train_dataset)


def make(folder: Path, clipper: Clipper | None, max_norm: float = 0.0, **settings: Any) -> Any:
    quiet = {
        "use_cpu": True,
        "per_device_train_batch_size": 2,
        "num_train_epochs": 1,
        "learning_rate": 0.02,
        "lr_scheduler_type": "constant",
        "max_grad_norm": max_norm,
        "save_strategy": "no",
        "logging_steps": 1,
        "report_to": [],
        "disable_tqdm": True,
    }
    arguments = TrainingArguments(output_dir=str(folder), **(quiet | settings))
    callbacks = [] if clipper is None else [GradientClipping(clipper)]
    return InOrder(Net(), arguments, train_dataset=Rows(), callbacks=callbacks)


def weights(trainer: Any) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in trainer.model.state_dict().items()}


@pytest.mark.parametrize(
    ("optimizer", "accumulate"),
    [
        ("adamw_torch", 1),
        ("adamw_torch_fused", 3),
        pytest.param("adamw_torch", 3, marks=pytest.mark.slow),
        pytest.param("adamw_torch_fused", 1, marks=pytest.mark.slow),
        pytest.param("sgd", 3, marks=pytest.mark.slow),
    ],
)
def test_weights_are_those_of_the_trainers_own_clipping(
    optimizer: str, accumulate: int, tmp_path: Path
) -> None:
    same = {"optim": optimizer, "gradient_accumulation_steps": accumulate}
    ours, theirs = make(tmp_path, ClipNorm(0.5), **same), make(tmp_path, None, 0.5, **same)
    free = make(tmp_path, None, **same)
    for trainer in (ours, theirs, free):
        trainer.train()
    # A dozen float32 steps, in which the norms differ in their last digit.
    torch.testing.assert_close(weights(ours), weights(theirs), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(weights(ours)["head.weight"], weights(free)["head.weight"], atol=1e-3)


def test_the_report_is_in_the_logs_with_names_of_the_model(tmp_path: Path) -> None:
    trainer = make(tmp_path, ClipNorm(0.1, exclude=r"^head"))
    seen: list[dict[str, Any]] = []

    class Reporter(TrainerCallback):
        def on_log(self, *args: Any, logs: Any = None, **given: Any) -> None:
            seen.append(dict(logs))

    trainer.callback_handler.callbacks.insert(0, Reporter())  # as integrations are
    callback = next(
        c for c in trainer.callback_handler.callbacks if isinstance(c, GradientClipping)
    )
    callback.add_to(trainer)
    trainer.train()
    steps = [row for row in trainer.state.log_history if "loss" in row]
    assert len(steps) == ROWS // 2
    for row, told in zip(steps, seen, strict=False):
        assert row["grad/clipped_norm"] <= 0.1 * (1 + 1e-5)
        assert row["grad/norm"] >= row["grad/clipped_norm"] == told["grad/clipped_norm"]
        assert {type(value) for key, value in row.items() if key.startswith("grad/")} == {float}
    assert "grad/norm" not in trainer.state.log_history[-1]  # the summary of the training
    assert callback.last_report is not None
    assert callback.last_report.names == ["body.weight", "body.bias"]
    assert "_clipped_step" not in vars(trainer.optimizer.optimizer)


@pytest.mark.parametrize("rule", [ClipNorm(Percentile(40)), ClipUpdate(Percentile(40))])
def test_a_training_resumes_from_its_checkpoint(rule: Clipper, tmp_path: Path) -> None:
    def trained(folder: Path, clipper: Any, **resume: Any) -> Any:
        saving = {"save_strategy": "steps", "save_steps": 6, "num_train_epochs": 1}
        trainer = make(tmp_path / folder, clipper, **saving)
        trainer.train(**resume)
        return trainer

    clippers = [copy.deepcopy(rule) for _ in range(2)]
    whole = trained(Path("whole"), clippers[0])
    rest = trained(
        Path("rest"), clippers[1], resume_from_checkpoint=str(tmp_path / "whole/checkpoint-6")
    )
    torch.testing.assert_close(weights(whole), weights(rest), rtol=0, atol=0)
    torch.testing.assert_close(clippers[0].state_dict(), clippers[1].state_dict(), rtol=0, atol=0)
    assert clippers[1].steps.item() == ROWS // 2


@pytest.mark.parametrize("given", [1.0, 0.3])
def test_the_trainers_own_clipping_is_refused(given: float, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"^max_grad_norm={given} of TrainingArguments and"):
        make(tmp_path, ClipNorm(1.0), given).train()


@pytest.mark.parametrize("bad", [None, 1.0, ClipNorm, ClipPerSample(1.0)])
def test_the_clipper_is_checked(bad: Any) -> None:
    with pytest.raises(TypeError, match=r"^clipper must be a Clipper of whole gradients, got "):
        GradientClipping(bad)
