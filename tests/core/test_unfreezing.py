"""Optimizers and Trainers whose parameters change on the way: histories go on."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gradclip_core import ClipNorm, Median, clip_in_step


def one(param: nn.Parameter, size: float) -> nn.Parameter:
    param.grad = torch.full_like(param, size)
    return param


def test_names_that_are_learnt_later_take_the_history_over() -> None:
    model = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    clipper = ClipNorm(Median(2.0), by="parameter", eps=0)
    hook = clip_in_step(optimizer, clipper)
    for _ in range(3):
        one(model.weight, 1.0), one(model.bias, 100.0)
        optimizer.step()
    hook.attach(model=model)
    one(model.weight, 1.0), one(model.bias, 100.0)
    optimizer.step()
    assert clipper.last_report is not None
    assert clipper.last_report.thresholds.tolist() == [2.0, 200.0]


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("by", ["parameter", "group", "row"])
def test_a_group_may_come_at_any_time(by: str, named: bool) -> None:
    first, second = nn.Linear(1, 1), nn.Linear(1, 1)
    given = first.named_parameters() if named else first.parameters()
    optimizer = torch.optim.SGD(given, lr=0.0)
    clipper = ClipNorm(Median(2.0), by=by, eps=0)  # type: ignore[arg-type]
    clip_in_step(optimizer, clipper)
    for i in range(4):
        if i == 3:
            more = [(f"later.{n}", p) for n, p in second.named_parameters()]
            optimizer.add_param_group({"params": more if named else second.parameters()})
        one(first.weight, 3.0), one(first.bias, 4.0)
        one(second.weight, 30.0), one(second.bias, 40.0)
        optimizer.step()
    assert clipper.last_report is not None
    wanted = [10.0, torch.inf] if by == "group" else [6.0, 8.0, torch.inf, torch.inf]
    assert clipper.last_report.thresholds.tolist() == wanted


def test_finetuning_in_lightning_unfreezes_without_a_hitch(trainer: Any) -> None:
    import lightning.pytorch as pl
    from lightning.pytorch.callbacks import BaseFinetuning

    from gradclip_core.lightning import GradientClipping

    class Task(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.backbone, self.head = nn.Linear(2, 2), nn.Linear(2, 1)

        def training_step(self, batch: Any, _: int) -> Tensor:
            loss: Tensor = self.head(self.backbone(batch[0])).square().mean()
            return loss

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(filter(lambda p: p.requires_grad, self.parameters()), lr=0.01)

    class Unfreeze(BaseFinetuning):
        def freeze_before_training(self, pl_module: Any) -> None:
            self.freeze(pl_module.backbone)

        def finetune_function(self, pl_module: Any, epoch: int, optimizer: Any) -> None:
            if epoch == 1:
                self.unfreeze_and_add_param_group(pl_module.backbone, optimizer)

    reports = []
    clipping = GradientClipping(
        ClipNorm(Median(2.0), by="parameter"), on_report=lambda *r: reports.append(r[2])
    )
    data = torch.utils.data.TensorDataset(torch.ones(8, 2))
    loader = torch.utils.data.DataLoader(data, batch_size=2)
    trainer(max_epochs=2, callbacks=[Unfreeze(), clipping]).fit(Task(), loader)
    assert [len(report.norms) for report in reports] == [2] * 4 + [4] * 4
    assert reports[4].thresholds.isfinite().tolist() == [True, True, False, False]
    assert list(reports[4].names)[2:] == ["backbone.weight", "backbone.bias"]
