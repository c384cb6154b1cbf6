"""Every rule on a network of one idea: how many channels may leave, and that their removal is exact."""

import warnings

import pytest
import torch
from torch import Tensor, nn

import dnal
from dnal.space.rules import RULES
from independent import assert_exact, coin_flips, randomise, run
from networks import EXAMPLES, Net, between, conv, function, image


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.filterwarnings("ignore:compact removed nothing")
def test_rule(name: str) -> None:
    build, variables, inputs = EXAMPLES[name]
    torch.manual_seed(0)
    network, example = randomise(build()).eval(), inputs()
    space = dnal.Space.of(network, example)
    assert space.num_variables == variables
    assert_exact(network, example, space, dnal.Architecture.random(space, 0.5, seed=1))
    assert_exact(network, example, space, dnal.Architecture.random(space, 0.0, seed=2))
    for seed in range(3):
        assert_exact(network, example, space, coin_flips(space, seed, keep=0.3 + 0.2 * seed))


def widths(space: dnal.Space) -> list[int]:
    return sorted(group.width for group in space.groups)


def test_concatenated_parts_are_groups_of_their_own() -> None:
    build, _, inputs = EXAMPLES["concatenation keeps parts apart"]
    space = dnal.Space.of(build(), inputs())
    assert widths(space) == [5, 7]
    assert torch.equal(space.sources["last.weight"][1].unique(), torch.arange(12))


def test_a_stream_is_one_group_and_its_branch_another() -> None:
    build, _, inputs = EXAMPLES["residual sums tie"]
    space = dnal.Space.of(build(), inputs())
    assert widths(space) == [5, 8]
    stream = space.sources["stem.weight"][0]
    assert torch.equal(space.sources["up.weight"][0], stream)
    assert torch.equal(space.sources["down.weight"][1], stream)
    assert torch.equal(space.sources["last.weight"][1], stream)


def test_flattening_repeats_the_channel_for_every_position() -> None:
    build, _, inputs = EXAMPLES["flatten into linear"]
    space = dnal.Space.of(build(), inputs())
    assert torch.equal(space.sources["3.weight"][1], space.sources["0.weight"][0].repeat_interleave(4))


def test_wide_groups_keep_the_number_of_groups_and_narrow_ones_their_width() -> None:
    for name, groups in (("wide groups lose positions", {2}), ("narrow groups leave whole", set(range(1, 8)))):
        build, _, inputs = EXAMPLES[name]
        network = build()
        space = dnal.Space.of(network, inputs())
        small = dnal.compact(network, dnal.Architecture.random(space, 0.5))
        assert small[1].groups in groups
        assert small[1].in_channels == small[1].weight.size(1) * small[1].groups == small[0].out_channels
        assert small[1].out_channels == small[1].weight.size(0) == small[-1].in_channels


@pytest.mark.parametrize(
    ("name", "operation"),
    [("Fourier transform", "_fft"), ("cumulated over channels", "cummax"), ("written into a canvas", "copy_")],
)
def test_an_unknown_operation_is_listed(name: str, operation: str) -> None:
    build, _, inputs = EXAMPLES[name]
    space = dnal.Space.of(build(), inputs())
    assert any(operation in unknown for unknown in space.unknown)
    assert any(fixed.name == "first.weight" and operation in fixed.reason for fixed in space.fixed)


def test_a_rule_that_fails_counts_as_no_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise KeyError("a case nobody foresaw")

    monkeypatch.setitem(RULES, "max_pool2d_with_indices", broken)
    space = dnal.Space.of(between(8, nn.MaxPool2d(2), conv(8, 6), nn.ReLU(), out=6), image())
    assert space.num_variables == 6
    assert any("max_pool2d" in reason for _, reason in space.fixed)


def test_what_the_probe_froze_is_listed() -> None:
    build, _, inputs = EXAMPLES["code that asks for the width"]
    assert any("probe" in reason and name == "first.weight" for name, reason in dnal.Space.of(build(), inputs()).fixed)


def test_unused_parameters_are_fixed_and_say_so() -> None:
    network = function(8, lambda n, x: x.relu(), idle=conv(8, 8))
    space = dnal.Space.of(network, image())
    assert space.num_variables == 8
    reasons = [reason for name, reason in space.fixed if name == "idle.weight"]
    assert reasons == [f"dimension {dim}: the forward pass does not use it" for dim in range(4)]


class Holder:
    """An output class that nobody registered anywhere."""

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits


class Slotted:
    __slots__ = ("logits",)

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits


@pytest.mark.parametrize("wrap", [Holder, Slotted, lambda x: {"deep": [Holder(x)]}, lambda x: Holder([{"y": x}])])
def test_outputs_in_the_users_own_objects_stay(wrap: type) -> None:
    network = Net(lambda n, x: wrap(n.body(x)), body=between(8, nn.ReLU()))
    space = dnal.Space.of(network, image())
    assert space.num_variables == 8
    assert space.sources["body.2.weight"][0] is None


def test_an_output_without_tensors_fixes_everything() -> None:
    network = Net(lambda n, x: "text" if n.body(x).sum() else "", body=between(8, nn.ReLU()))
    space = dnal.Space.of(network, image())
    assert space.num_variables == 0
    assert any("nothing that holds a tensor" in reason for _, reason in space.fixed)


class Counting(nn.Module):
    """Remembers how often it ran, draws a number, and caches."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("steps", torch.zeros(()))
        self.calls = 0
        self.body = between(8, nn.BatchNorm2d(8), nn.ReLU(inplace=True))

    def forward(self, x: Tensor) -> Tensor:
        self.steps += 1
        self.calls += 1
        torch.rand(3)
        return self.body(x)


def test_everything_is_left_as_it_was() -> None:
    network = Counting().train()
    network.body[1].eval()  # a frozen batch norm
    example, modes = image(), [m.training for m in network.modules()]
    pixels, state = example.clone(), {k: v.clone() for k, v in network.state_dict().items()}
    numbers = torch.get_rng_state()

    assert dnal.Space.of(network, example).num_variables == 8
    dnal.macs(network, example)

    assert torch.equal(numbers, torch.get_rng_state())
    assert torch.equal(pixels, example)
    assert network.calls == 0
    assert [m.training for m in network.modules()] == modes
    assert all(torch.equal(state[k], v) for k, v in network.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in network.parameters())


@pytest.mark.parametrize(
    "surrounding",
    [torch.no_grad, torch.enable_grad, torch.inference_mode, lambda: torch.autocast("cpu", torch.bfloat16)],
    ids=["no_grad", "enable_grad", "inference_mode", "autocast"],
)
def test_the_callers_modes_do_not_matter(surrounding: type) -> None:
    network = between(8, nn.BatchNorm2d(8), nn.ReLU())
    with surrounding():
        assert dnal.Space.of(network, image()).num_variables == 8
        assert torch.is_inference_mode_enabled() == (surrounding is torch.inference_mode)


def test_a_forward_function_that_a_copy_would_share_is_never_wrong() -> None:
    network = between(8, nn.ReLU()).train()
    inner = network.forward
    network.forward = lambda x: 2 * inner(x)  # a deep copy still calls into the original
    space = dnal.Space.of(network, image())
    assert space.num_variables == 0
    assert network.training


@pytest.mark.parametrize("batch", [1, 2])
def test_auxiliary_heads_are_seen_and_still_train(batch: int) -> None:
    class Auxiliary(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.trunk, self.last = conv(3, 8), conv(8, 4)
            self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), conv(8, 6, 1), nn.BatchNorm2d(6), nn.Flatten())
            self.classifier = nn.Linear(6, 4)

        def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
            x = self.trunk(x).relu()
            out = self.last(x)
            return (out, self.classifier(self.head(x))) if self.training else out

    network, example = randomise(Auxiliary()).eval(), image(batch=batch)
    space = dnal.Space.of(network, example)
    assert space.num_variables == 8 + 6
    small = assert_exact(network, example, space, dnal.Architecture.random(space, 0.5)).train()
    main, head = small(image())
    (main.sum() + head.sum()).backward()
    assert all(p.grad is not None for p in small.parameters())


def test_heads_that_do_not_run_are_said_and_what_they_read_stays() -> None:
    class Head(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.trunk, self.last = conv(3, 8), conv(8, 4)
            self.head, self.large = conv(8, 6), nn.Conv2d(6, 4, 9)  # wants more than the 8 pixels of the example

        def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
            x = self.trunk(x).relu()
            return (self.last(x), self.large(self.head(x))) if self.training else self.last(x)

    network = Head()
    with pytest.warns(UserWarning, match="as large as those of training"):
        space = dnal.Space.of(network, image())
    assert space.num_variables == 0
    assert dnal.Space.of(network, torch.randn(2, 3, 12, 12)).num_variables == 8 + 6


def test_googlenets_auxiliary_heads_train_after_compaction() -> None:
    import torchvision

    torch.manual_seed(0)
    network = torchvision.models.googlenet(weights=None, aux_logits=True, init_weights=False).eval()
    images = torch.randn(2, 3, 64, 64)
    space = dnal.Space.of(network, images)
    assert space.num_variables == 7280 + 2 * (128 + 1024)  # the trunk's, and a convolution and a layer in each head
    small = dnal.compact(network, dnal.Architecture.random(space, 0.5)).train()
    sum(out.sum() for out in small(images)).backward()
    assert all(p.grad is not None for p in small.parameters())


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (lambda: nn.DataParallel(between(8)), "unwrap"),
        (lambda: nn.Sequential(nn.LazyConv2d(8, 3)), "run the network once"),
        (lambda: torch.compile(between(8)), "from before it"),
        (lambda: nn.Sequential(conv(3, 8), torch.compile(conv(8, 8))), "from before it"),
        (lambda: nn.Sequential(conv(3, 8), Uncopyable()), "cannot be copied"),
    ],
)
def test_what_cannot_be_copied_is_refused_in_a_sentence(build: type, sentence: str) -> None:
    with pytest.raises(dnal.UserError, match=sentence):
        dnal.Space.of(build(), image())


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_torchscript_is_refused_in_a_sentence() -> None:
    scripted = torch.jit.trace(between(8).eval(), image())
    with pytest.raises(dnal.UserError, match="TorchScript"):
        dnal.Space.of(scripted, image())


class Uncopyable(nn.Identity):
    def __deepcopy__(self, memo: object) -> nn.Module:
        raise RuntimeError("one of a kind")


def test_macs_of_products_without_parameters_are_counted() -> None:
    def attend(n: Net, x: Tensor) -> Tensor:
        tokens = n.first(x).flatten(2)
        return tokens.transpose(1, 2) @ tokens

    network, batch = Net(attend, first=conv(3, 8)), 3
    positions = 8 * 8
    expected = 9 * 3 * 8 * positions + positions * 8 * positions
    assert dnal.macs(network, image(batch=batch)) == expected


def test_the_compact_network_keeps_its_memory_format() -> None:
    network = between(8, nn.BatchNorm2d(8), nn.ReLU()).to(memory_format=torch.channels_last)
    example = image().to(memory_format=torch.channels_last)
    space = dnal.Space.of(network, example)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        small = dnal.compact(network, dnal.Architecture.random(space, 0.5))
    assert small[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert run(small, example)[0].is_contiguous(memory_format=torch.channels_last)
