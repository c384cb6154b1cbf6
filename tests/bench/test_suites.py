"""The suites as data: equal samples, an order in which they can be done, names that exist."""

from __future__ import annotations

import re

import pytest
import torch

from dnal import models
from dnal.base.errors import UserError
from dnal.bench.choosing import teaching, trains
from dnal.bench.ground import DataFolders, check_given
from dnal.bench.jobs import Penalty, Run, jobs, leader, needs, phases, runs
from dnal.bench.suite import (
    BASELINES,
    HELD_OUT,
    OURS,
    SUITES,
    TUNED,
    Entry,
    Network,
    Suite,
    check_data,
    only,
    suite_of,
)
from dnal.data.kinds import KINDS
from dnal.methods import METHODS
from dnal.selection.select import select
from dnal.selection.widths import WidthRule
from dnal.space.space import Space

EACH = pytest.mark.parametrize("suite", SUITES.values(), ids=list(SUITES))


@EACH
def test_every_entry_sees_equally_many_samples(suite: Suite) -> None:
    for network in suite.networks:
        for entry in suite.entries:
            base, choosing, retraining = phases(network, entry, trains(entry))
            assert base + (1 + entry.held_out) * choosing + retraining + entry.looks == sum(network.epochs), entry
            assert min(base, choosing) >= 0
            assert retraining >= 1
            assert choosing >= trains(entry)


def test_an_entry_may_choose_in_fewer_epochs_and_retrains_the_longer() -> None:
    network = SUITES["cpu"].network("vgg16-quarter")
    assert phases(network, Entry("x", "dnal", choosing=0.25), True) == (12, 3, 15)
    assert phases(network, Entry("x", "dnal", choosing=0.01), True) == (12, 1, 17)
    assert phases(network, Entry("x", "dnal"), True) == network.epochs


@EACH
def test_names_exist(suite: Suite) -> None:
    assert suite.entry(OURS).method == "dnal"
    for network in suite.networks:
        models.create(network.model, classes=10, input_shape=network.input_shape)
        assert list(network.shares) == sorted(network.shares, reverse=True)
    for entry in suite.entries:
        assert entry.method in BASELINES or METHODS.read(entry.method), entry
    for names in ([n.name for n in suite.networks], [e.name for e in suite.entries]):
        assert len(set(names)) == len(names)


@EACH
def test_jobs_come_after_what_they_need_and_each_once(suite: Suite) -> None:
    everything = jobs(suite)
    assert len(set(everything)) == len(everything)
    assert len({job.name for job in everything}) == len(everything)
    assert all(re.fullmatch(r"[a-zA-Z0-9_.-]+", job.name) for job in everything)
    place = {job: number for number, job in enumerate(everything)}
    for job in everything:
        assert all(place[need] < place[job] for need in needs(suite, job))
    rows = [job for job in everything if isinstance(job, Run)]
    assert set(rows) == set(runs(suite))
    assert len(rows) == len(suite.taught) * len(suite.seeds) * len(suite.entries) * sum(
        len(n.shares) for n in suite.networks
    )
    assert all(leader(suite, leader(suite, run)) == leader(suite, run) for run in rows)
    of_paper = [job for job in everything if isinstance(job, Penalty)]
    assert bool(of_paper) == any(entry.method.startswith("paper") for entry in suite.entries)


def test_a_part_has_the_same_leaders_as_the_whole() -> None:
    suite = suite_of("cpu")
    part = only(suite, ("magnitude", "resnet20"))
    assert {(run.network, run.entry) for run in runs(part)} == {("resnet20", "magnitude")}
    assert all(leader(part, run) == leader(suite, run) for run in runs(part))
    assert only(suite, ()) == suite


@pytest.mark.parametrize("network", HELD_OUT, ids=lambda network: network.name)
def test_every_share_of_the_held_out_networks_can_be_kept(network: Network) -> None:
    """Without their branches too, and with something left to choose."""
    kind = KINDS[models.kind_of(network.model)]
    created = models.create(network.model, classes=2, input_shape=network.input_shape)
    space = Space.of(created, kind.drawn(network.input_shape, 2))
    for share in network.shares:
        limit = space.full_cost["macs"] * share / 100
        stays = select(space, torch.arange(space.num_gates, dtype=torch.float64), {"macs": limit}, WidthRule())
        assert 0.9 * limit < float(space.costs["macs"](stays.double())) <= limit
        assert int(stays.sum()) > 2 * len(space.groups)


def test_nothing_is_tuned_on_held_out_networks() -> None:
    tuned = {(network.model, network.data) for network in TUNED}
    assert not tuned & {(network.model, network.data) for network in HELD_OUT}
    for name, like in (("held-out", "trained"), ("held-out-one-cycle", "one-cycle")):
        ours, theirs = SUITES[name], SUITES[like]
        assert (ours.entries, ours.rates, ours.seeds) == (theirs.entries, theirs.rates, theirs.seeds)
        assert {(n.epochs, n.batch, n.schedule_over) for n in ours.networks} == {
            (n.epochs, n.batch, n.schedule_over) for n in theirs.networks
        }


def test_data_that_have_no_name_must_be_given() -> None:
    suite = suite_of("held-out")
    with pytest.raises(UserError, match=r"needs the data 'sst2' for its network 'transformer-sst2'.* --data sst2=FILE"):
        check_given(suite, DataFolders(None, (("kin8nm", "a.npz"),)))
    check_given(suite, DataFolders(None, (("kin8nm", "a.npz"), ("sst2", "folder"))))
    check_given(only(suite, ("vit",)), DataFolders())


def test_what_is_not_there_is_told() -> None:
    with pytest.raises(UserError, match=r"unknown suite 'smok'; did you mean 'smoke'\?"):
        suite_of("smok")
    with pytest.raises(UserError, match=r"has no 'magnitud'; did you mean 'magnitude'\?"):
        only(suite_of("smoke"), ("magnitud",))
    with pytest.raises(UserError, match="does not use the data 'cifar', but cifar10"):
        check_data(suite_of("cpu"), ["cifar"])


def test_the_teacher_acts_in_the_phases_in_which_it_does_in_a_job() -> None:
    acts = {
        name: [bool(teaching(SUITES[name], True, phase)) for phase in ("architecture", "retrain")]
        for name in ("cpu", "guided")
    }
    assert acts == {"cpu": [True, True], "guided": [False, True]}
    assert not teaching(SUITES["cpu"], False, "retrain")
