"""What the tiny size of the study on image restoration leaves out, and what its masks are of."""

from __future__ import annotations

import pytest

from dnal.studies.claims.tickets_restoration import TicketsRestoreImages
from dnal.studies.study import sized


@pytest.mark.slow
def test_channels_are_learnt_under_a_budget_of_as_many_parameters() -> None:
    study = sized(TicketsRestoreImages, "tiny", {"channels": True}).study
    first = study.shares()[0]
    assert study.settings()[-1] == {"kind": "learnt channels", "keep": first}
    ticket, learnt = (dict(study.row(0, kind, first)) for kind in ("ticket", "learnt channels"))
    assert ticket["kept"] == pytest.approx(first, abs=0.01)
    assert first < ticket["params"] < first + 0.15, "prompts, norms and biases stay"
    assert 0 < learnt["params"] <= ticket["params"]
    assert learnt["degraded"] == ticket["degraded"]
    assert learnt["psnr"] != ticket["psnr"]
