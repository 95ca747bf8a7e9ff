"""The peers' own tests of clipping pass with ours in its place."""

from __future__ import annotations

import pytest

from tests.peers.__main__ import ROOT, Peer, peers, run


@pytest.mark.slow
@pytest.mark.parametrize("peer", peers(ROOT.parent), ids=lambda peer: peer.name)
def test_they_pass_with_ours(peer: Peer) -> None:
    if not peer.tests.is_file():
        pytest.skip(f"there is no {peer.tests.name} of {peer.name}")
    assert run(peer)
