"""One training alone, under DDP, FSDP2 and tensor parallelism, as a function of each process."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.tensor import DTensor
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
from torch.nn.parallel import DistributedDataParallel

from gradclip_core import (
    ACClip,
    ByName,
    Chain,
    ClipNorm,
    Clipper,
    Clippy,
    ClipUpdate,
    ClipValue,
    Ema,
    LogZScore,
    Median,
    NoiseAware,
    Percentile,
    QuantileTracker,
    RandomClip,
    Relative,
    Scheduled,
    SkipOnSpike,
    Spam,
    Spectra,
    StableSpam,
    StableUpdate,
    TrailingNorm,
    UClip,
    WindowZScore,
    ZScore,
)
from gradclip_core.parts.per_parameter import PerParameter
from gradclip_core.parts.sharding import joint_mean

STEPS = 60
Make = Callable[[], Clipper]
FAMILIES: dict[str, Make] = {
    "fixed": lambda: ClipNorm(0.5),
    "percentile": lambda: ClipNorm(Percentile(60, window=20)),
    "median by module": lambda: ClipNorm(Median(1.2, window=10), by="module"),
    "quantile tracker": lambda: ClipNorm(QuantileTracker(0.5)),
    "ema by parameter": lambda: ClipNorm(Ema(1.1, decay=0.9), by="parameter"),
    "z-score": lambda: ClipNorm(ZScore(1.0, warmup_steps=5)),
    "log z-score": lambda: ClipNorm(LogZScore(1.0, warmup_steps=5)),
    "window": lambda: ClipNorm(WindowZScore(1.0, window=10, warmup_steps=4)),
    "adagc": lambda: ClipNorm(TrailingNorm(warmup_steps=5), by="parameter", eps=0),
    "scheduled": lambda: ClipNorm(Scheduled(1.0, warmup_steps=10, decay_steps=20, end=0.2)),
    "agc": lambda: ClipNorm(Relative(0.05), by="row", eps=0, exclude=r"^last"),
    "update": lambda: ClipUpdate(Median(0.98, window=10)),
    "update of the weights": lambda: ClipUpdate(Relative(0.02), by="row", per_lr=True),
    "spectra": lambda: Spectra(0.5, warmup_steps=10),
    "stable update": lambda: StableUpdate(0.5),
    "clippy": lambda: Clippy(0.05, 0.002),
    "spam": lambda: Spam(2.0, warmup_steps=5, reset_every=20, lr_warmup_steps=5),
    "stable spam": lambda: StableSpam(reset_every=20),
    "noise": lambda: ClipNorm(NoiseAware(1.1, warmup_steps=5), by="module"),
    "carry": lambda: UClip(ClipNorm(0.5)),
    "random": lambda: RandomClip(0.5),
    "spikes": lambda: SkipOnSpike(WindowZScore(1.0, 10, 4)),
    "chain": lambda: Chain([ClipValue(0.3), ClipNorm(Median(1.1, window=10))]),
    "by name": lambda: ByName({"^first": ClipNorm(0.3), "norm": ClipValue(0.1)}, ClipNorm(0.2)),
    "spectral": lambda: ClipNorm(
        Ema(1.1, decay=0.9), by="parameter", measure="spectral", response="clamp"
    ),
    "percentile by row": lambda: ClipNorm(Percentile(60, window=8), by="row"),
}


class Net(nn.Module):
    """Widths that two and four processes do not divide evenly, but where they must."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 8)
        self.second = nn.Linear(8, 5)
        self.norm = nn.LayerNorm(5)
        self.last = nn.Linear(5, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        out: Tensor = self.last(self.norm(self.second(self.first(inputs).tanh()).tanh()))
        return out


def batch(step: int) -> tuple[Tensor, Tensor]:
    """Inputs (8, 6) and targets (8, 3); every seventh batch is a spike."""
    generator = torch.Generator().manual_seed(step)
    inputs = torch.randn(8, 6, generator=generator, dtype=torch.float64)
    return inputs, inputs[:, :3].cumsum(1) * (20.0 if step % 7 == 6 else 1.0)


def train(way: str, family: str, steps: int = STEPS) -> dict[str, Any]:
    """Train with a clipper; norms and losses of all steps, the state, the weights."""
    torch.manual_seed(0)
    net = Net().double()
    model, (rank, world) = _parallel(net, way)
    optimizer = torch.optim.AdamW(net.parameters(), 0.02)
    clipper, records, acted = FAMILIES[family]().attach(model=net, optimizer=optimizer), [], 0
    for step in range(steps):
        inputs, targets = batch(step)
        inputs, targets = inputs[rank::world], targets[rank::world]
        optimizer.zero_grad()
        loss = _backward(model, inputs, targets, halves=way.endswith("accumulated"))
        clipper(net.named_parameters(), loss=loss.detach())
        optimizer.step()
        report = clipper.last_report
        acted += bool(report.skipped) or not report.clipped_norm.isclose(report.norm)
        records.append([joint_mean(loss.detach()), report.norm, report.clipped_norm])
    weights = {name: _whole(weight.detach()) for name, weight in net.state_dict().items()}
    return {
        "records": torch.tensor(records),
        "state": _state(clipper),
        "acted": acted,
        "clip_rate": report.clip_rate,
        "weights": weights,
    }


def _backward(model: Any, inputs: Tensor, targets: Tensor, *, halves: bool) -> Tensor:
    """The gradients of the mean loss, of two halves without talking in between; that loss."""
    number, total = 2 if halves else 1, torch.zeros((), dtype=inputs.dtype)
    parts = zip(inputs.chunk(number), targets.chunk(number), strict=True)
    for left, (x, y) in zip(reversed(range(number)), parts, strict=True):
        with _quiet(model) if left else contextlib.nullcontext():
            loss = (model(x) - y).square().mean() / number
            loss.backward()
        total = total + loss.detach()
    return total


@contextlib.contextmanager
def _quiet(model: Any) -> Iterator[None]:
    """Gradients are summed up on each process alone."""
    if isinstance(model, DistributedDataParallel):
        with model.no_sync():
            yield
        return
    model.set_requires_gradient_sync(False)
    yield
    model.set_requires_gradient_sync(True)


def _state(clipper: Clipper) -> dict[str, Any]:
    """The clipper's state, but of the size of the parameters: every process has its shard there."""
    kinds = clipper.named_modules()
    own = tuple(f"{name}." for name, module in kinds if isinstance(module, PerParameter))
    state = clipper.state_dict()
    return copy.deepcopy({k: v for k, v in state.items() if not k.startswith(own or ("/",))})


def train_all(cases: list[tuple[str, str]], steps: int = STEPS) -> dict[str, dict[str, Any]]:
    """Every (way, family), in this process's part."""
    return {f"{way}/{family}": train(way, family, steps) for way, family in cases}


def _parallel(net: Net, way: str) -> tuple[nn.Module, tuple[int, int]]:
    """The network spread over all processes, and which share of the batch this one takes."""
    if way == "alone":
        return net, (0, 1)
    world, plan = dist.get_world_size(), {"first": ColwiseParallel(), "second": RowwiseParallel()}
    share = dist.get_rank(), world
    if way.startswith("ddp"):
        return DistributedDataParallel(net), share
    if way == "hsdp":
        mesh = init_device_mesh("cpu", (2, world // 2), mesh_dim_names=("replicas", "shards"))
        return fully_shard(net, mesh=mesh), share
    if way == "tp":
        return parallelize_module(net, init_device_mesh("cpu", (world,)), plan), (0, 1)
    sizes, names = ((2, world // 2), ("data", "tensor")) if way == "fsdp+tp" else ((world,), None)
    mesh = init_device_mesh("cpu", sizes, mesh_dim_names=names)
    if way == "fsdp+tp":
        parallelize_module(net, mesh["tensor"], plan)
        mesh = mesh["data"]
        share = mesh.get_local_rank(), mesh.size()
    for module in (net.first, net.second):
        fully_shard(module, mesh=mesh)
    return fully_shard(net, mesh=mesh), share


def refusals() -> list[str]:
    """What clippers say to a model of FSDP1, and a rule with a state of every element to shards."""
    flat = FullyShardedDataParallel(Net(), device_id=torch.device("cpu"), use_orig_params=True)
    sharded = fully_shard(Net())
    return [_refusal(ClipNorm(1.0), flat), _refusal(ACClip(), sharded)]


def _refusal(clipper: Clipper, model: nn.Module) -> str:
    model(torch.randn(2, 6)).sum().backward()
    try:
        clipper(model)
    except TypeError as error:
        return str(error)
    return ""


def _whole(tensor: Tensor) -> Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor.clone()
