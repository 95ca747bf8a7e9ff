"""A module and a quiet Trainer of either of Lightning's packages."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer


def make_module(pl: Any, optimizer: Any = None) -> Any:
    """A small regression; optimizer: what makes it of the module, AdamW by default."""

    class Regression(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.lr, self.batch_size = 0.05, 2
            self.net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
            self.norms: list[float] = []  # of the gradients that each step has used
            self.begins: list[Tensor] = []  # the weights with which each step began

        def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
            loss: Tensor = (self.net(batch[0]) * 10).pow(2).mean()
            return loss

        def train_dataloader(self) -> Any:
            inputs = torch.randn(16, 3, generator=torch.Generator().manual_seed(1))
            dataset = torch.utils.data.TensorDataset(inputs)
            return torch.utils.data.DataLoader(dataset, batch_size=self.batch_size)

        def configure_optimizers(self) -> Optimizer:
            made: Optimizer = (optimizer or _adamw)(self)
            made.register_step_pre_hook(self.note_begin)
            made.register_step_post_hook(self.note_norm)
            return made

        def note_begin(self, *_: Any) -> None:
            self.begins.append(nn.utils.parameters_to_vector(self.parameters()).detach())

        def note_norm(self, *_: Any) -> None:
            grads = [param.grad.flatten() for param in self.parameters()]
            self.norms.append(torch.cat(grads).norm().item())

    return Regression()


def _adamw(module: Any) -> Optimizer:
    return AdamW(module.parameters(), module.lr)


def make_trainer(pl: Any, **settings: Any) -> Any:
    quiet = {
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "max_epochs": 1,
    }
    return pl.Trainer(**(quiet | settings))
