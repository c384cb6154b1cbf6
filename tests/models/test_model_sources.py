"""Networks by name from torchvision, timm and a user's function, and the sentences for wrong names."""

import sys
import warnings
from pathlib import Path

import pytest
import torch
from torch import nn

from dnal import models
from dnal.base.errors import UserError


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("torchvision/resnet18", (3, 64, 64)),
        ("torchvision/squeezenet1_1", (3, 64, 64)),
        ("torchvision/mobilenet_v3_small", (1, 64, 64)),
        ("torchvision/vit_b_32", (3, 64, 64)),
        ("timm/resnet10t", (3, 64, 64)),
        ("timm/mobilenetv3_small_050", (1, 64, 64)),
        ("timm/deit_tiny_patch16_224", (3, 64, 64)),
        ("timm/resnet10t.c3_in1k", (2, 64, 64)),
    ],
)
def test_classes_and_channels_reach_the_network(name: str, shape: tuple[int, int, int]) -> None:
    network = models.create(name, classes=5, input_shape=shape).eval()
    with torch.no_grad():
        assert network(torch.randn(2, *shape)).shape == (2, 5)


def test_googlenet_returns_a_tensor_in_training_and_warns_of_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        network = models.create("torchvision/googlenet", classes=4)
    assert network.train()(torch.randn(2, 3, 64, 64)).shape == (2, 4)


def test_inputs_when_nobody_says() -> None:
    assert models.default_input("torchvision/resnet50") == (3, 224, 224)
    assert models.default_input("torchvision/inception_v3") == (3, 299, 299)
    assert models.default_input("timm/mixnet_s") == (3, 224, 224)
    assert models.default_input("timm/resnet10t") == (3, 176, 176)
    assert models.default_input("cifar/resnet56") == (3, 32, 32)


def test_classes_when_nobody_says() -> None:
    network = models.create("timm/resnet10t").eval()
    with torch.no_grad():
        assert network(torch.randn(1, 3, 64, 64)).shape == (1, 1000)


def test_names() -> None:
    names = models.names()
    assert len(names) == len(set(names))
    assert {"cifar/resnet56", "torchvision/resnet50", "timm/resnet50"} <= set(names)
    assert {"cifar/vgg16_bn", "cifar/vgg16_bn_quarter", "cifar/resnet20", "vgg_small"} <= set(models.own_names())
    assert not any("fasterrcnn" in name or "raft" in name for name in names)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        (
            "torchvision/resnt50",
            "unknown model 'torchvision/resnt50'; did you mean 'torchvision/resnet50'? `dnal models` lists all.",
        ),
        ("timm/resnt50", "unknown model 'timm/resnt50'; did you mean 'timm/resnet50'? `dnal models` lists all."),
        ("cifar/resnet65", "unknown model 'cifar/resnet65'; did you mean 'cifar/resnet56'? `dnal models` lists all."),
        ("resnet56", "unknown model 'resnet56'; did you mean 'cifar/resnet56'? `dnal models` lists all."),
        (
            "resnet50",
            "unknown model 'resnet50'; did you mean 'torchvision/resnet50' or 'timm/resnet50'? "
            "`dnal models` lists all.",
        ),
        ("zzzzzzzzzzzzzzz", "unknown model 'zzzzzzzzzzzzzzz'. `dnal models` lists all."),
    ],
)
def test_unknown_names(name: str, sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        models.create(name)
    assert str(caught.value) == sentence
    with pytest.raises(UserError) as caught:
        models.default_input(name)
    assert str(caught.value) == sentence


def test_timm_without_such_a_tag() -> None:
    with pytest.raises(UserError, match="tag"):
        models.create("timm/resnet50.nonsense", pretrained=True, input_shape=(3, 64, 64))


def test_pretrained_weights_of_another_input_are_refused() -> None:
    with pytest.raises(UserError, match="3 colour channels"):
        models.create("torchvision/resnet18", input_shape=(1, 64, 64), pretrained=True)
    with pytest.raises(UserError, match="3x224x224 images only"):
        models.create("torchvision/vit_b_32", input_shape=(3, 64, 64), pretrained=True)


@pytest.mark.parametrize("side", [65, 40])
def test_a_size_that_a_transformer_cannot_take(side: int) -> None:
    with pytest.raises(UserError, match="multiple of 32"):
        models.create("torchvision/vit_b_32", input_shape=(3, side, side))


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1", "mobilenet_v3_small", "densenet121"])
def test_the_head_alone_is_replaced(name: str) -> None:
    from torchvision.models import get_model

    from dnal.models.torchvision_source import replace_head

    network = get_model(name, weights=None).eval()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    replace_head(network, 6)
    changed = {key for key, value in network.state_dict().items() if not torch.equal(value, before[key])}
    assert len(changed) == 2
    with torch.no_grad():
        assert network(torch.randn(1, 3, 64, 64)).shape == (1, 6)


def test_no_head_to_replace() -> None:
    from dnal.models.torchvision_source import replace_head

    with pytest.raises(UserError, match="no layer with 1000 outputs"):
        replace_head(nn.Sequential(nn.Linear(4, 7)), 6)


USER_MODULE = """
from torch import nn
def plain():
    return nn.Linear(3, 2)
def sized(num_classes=4, in_channels=3):
    return nn.Conv2d(in_channels, num_classes, 1)
def shaped(classes, input_shape):
    return nn.Linear(input_shape[0] * input_shape[1], classes)
def needy(depth):
    return nn.Linear(depth, depth)
def wrong():
    return [1, 2]
constant = 3
instance = nn.Linear(3, 2)
class Net(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.fc = nn.Linear(1, num_classes)
"""


@pytest.fixture
def user_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "users_networks.py").write_text(USER_MODULE)
    (tmp_path / "users_broken.py").write_text("import a_package_that_is_not_there\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
    monkeypatch.delitem(sys.modules, "users_networks", raising=False)
    return "users_networks"


def test_a_users_function_gets_only_what_it_names(user_module: str) -> None:
    plain = models.create(f"{user_module}:plain", classes=9, input_shape=(1, 8, 8))
    sized = models.create(f"{user_module}:sized", classes=9, input_shape=(1, 8, 8))
    shaped = models.create(f"{user_module}:shaped", classes=9, input_shape=(1, 8, 8))
    default = models.create(f"{user_module}:sized")
    net = models.create(f"{user_module}:Net", classes=9)
    assert isinstance(plain, nn.Linear)
    assert plain.weight.shape == (2, 3)
    assert isinstance(sized, nn.Conv2d)
    assert sized.weight.shape == (9, 1, 1, 1)
    assert isinstance(shaped, nn.Linear)
    assert shaped.weight.shape == (9, 8)
    assert isinstance(default, nn.Conv2d)
    assert default.weight.shape == (4, 3, 1, 1)
    assert net.get_parameter("fc.weight").shape == (9, 1)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("users_networks:wrong", "returned a list, not a torch.nn.Module"),
        ("users_networks:needy", "cannot be called with what is known here"),
        ("users_networks:constant", "is a int, not a function"),
        ("users_networks:absent", "has no 'absent'"),
        ("users_networks:instance", "is a network, and not a function that makes one.* give users_networks:build"),
        ("builtins:dict", "does not tell which arguments it takes"),
        (":plain", "is no name of a function"),
        ("users_networks:", "is no name of a function"),
        (".users_networks:plain", "is no name of a function"),
        ("users_networks:Net.__init__", "has no 'Net.__init__'"),
        ("users\0networks:plain", "is no name of a function"),
        ("x" * 5000 + ":plain", "no module"),
        ("users_nowhere:plain", "no module 'users_nowhere'"),
        ("users_broken:plain", "needs 'a_package_that_is_not_there'"),
    ],
)
def test_a_users_mistakes(user_module: str, name: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        models.create(name)


def test_a_users_function_without_pretrained(user_module: str) -> None:
    with pytest.raises(UserError, match="no keyword 'pretrained'"):
        models.create(f"{user_module}:plain", pretrained=True)


def test_a_users_function_does_not_tell_its_input(user_module: str) -> None:
    with pytest.raises(UserError, match="does not tell its input"):
        models.default_input(f"{user_module}:plain")
