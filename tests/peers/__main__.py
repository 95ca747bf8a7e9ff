"""Run the tests that the peers have of their clipping, with ours in its place.

    python -m tests.peers [--checkouts FOLDER]

Those of Optax and Keras come with their packages. Those of PyTorch and Lightning are in their
repositories: FOLDER holds clones named pytorch and pytorch-lightning; without them they are left
out, and it is said. Exits with 1 where a test fails or where none was found.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Peer:
    """Where a peer's tests are, the folder that they run in, and which of them are of clipping."""

    name: str
    tests: Path
    folder: Path
    chosen: str


def peers(checkouts: Path) -> list[Peer]:
    """Every peer, without the tests that ours cannot pass.

    PyTorch's of `error_if_nonfinite` asks that the norm of 2e200 overflows, which ours does not;
    and Optax clips the gradients of samples as arrays, ours as the network makes them.
    """
    torch, lightning = checkouts / "pytorch", checkouts / "pytorch-lightning/tests"
    return [
        Peer("torch", torch / "test/test_nn.py", torch, "clip_grad and not error_if_nonfinite"),
        Peer(
            "lightning",
            lightning / "tests_pytorch/trainer/test_trainer.py",
            lightning,
            "gradient_clipping_by",
        ),
        Peer(
            "optax", _of_package("optax", "transforms/_clipping_test.py"), ROOT, "not per_example"
        ),
        Peer("keras", _of_package("keras", "src/optimizers/optimizer_test.py"), ROOT, "clip"),
    ]


def _of_package(name: str, path: str) -> Path:
    """A file in a package that is installed, or would be."""
    found = find_spec(name)
    folder = Path(found.origin).parent if found is not None and found.origin else Path(name)
    return folder / path


def run(peer: Peer) -> bool:
    """Run the tests of one peer, and whether all passed."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.peers.ours_in_place"]
    command += ["--peer", peer.name, "-k", peer.chosen, "-c", os.devnull, str(peer.tests)]
    paths = [str(ROOT), str(peer.folder), os.environ.get("PYTHONPATH", "")]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "KERAS_BACKEND": "torch"}
    print(f"{peer.name}: {peer.tests.name}", flush=True)
    return subprocess.run(command, cwd=peer.folder, env=env, check=False).returncode == 0


def main() -> None:
    """Run the tests of every peer that is there."""
    parser = argparse.ArgumentParser(prog="python -m tests.peers", description=__doc__)
    parser.add_argument("--checkouts", type=Path, default=ROOT.parent)
    failed = []
    for peer in peers(parser.parse_args().checkouts.resolve()):
        if not peer.tests.is_file():
            print(f"{peer.name}: left out, as there is no {peer.tests}")
        elif not run(peer):
            failed.append(peer.name)
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
