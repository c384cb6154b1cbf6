"""Lightning Fabric leaves itself in a LightningModule; what dnal trains and hands out is free of it."""

import copy
import gc
import weakref

import lightning
import torch
from lightning.fabric import Fabric
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import dnal
from dnal.train.setup.fabric import set_up
from independent import coin_flips


class Lit(lightning.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


def loader() -> DataLoader[tuple[Tensor, ...]]:
    return DataLoader(TensorDataset(torch.randn(16, 1, 8, 8), torch.randint(0, 4, (16,))), 8)


def test_a_lightning_module_learns_and_is_what_it_was() -> None:
    network = Lit()
    learned = dnal.learn(network, loader(), loader(), budget="macs<=50%", epochs=(1, 1, 1))
    assert all(row["holds"] for row in learned.constraints)
    for module in (network, learned.network):
        assert isinstance(module, Lit)
        assert module._fabric is None
        assert module._fabric_optimizers == []
        assert "forward" not in vars(module)
        twin = copy.deepcopy(module).eval()
        images = torch.randn(2, 1, 8, 8)
        assert torch.equal(twin(images), module.eval()(images))
    trainer = lightning.Trainer(
        max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False, accelerator="cpu"
    )
    before = [parameter.clone() for parameter in learned.network.parameters()]
    trainer.fit(learned.network.train(), loader())  # retrained as Lightning does it
    assert not all(torch.equal(a, b) for a, b in zip(before, learned.network.parameters(), strict=True))


def test_one_that_a_fabric_holds_is_analysed_and_compacted() -> None:
    network = Lit()
    fabric = Fabric(accelerator="cpu", devices=1)
    fabric.setup(network, torch.optim.SGD(network.parameters(), 0.1))
    held = fabric.setup(network, torch.optim.SGD(network.parameters(), 0.1))
    assert network._fabric is fabric
    images = torch.randn(2, 1, 8, 8)
    network.eval()
    space = dnal.Space.of(network, images)
    small = dnal.compact(network, coin_flips(space, 0))
    assert small._fabric is None
    learned = dnal.learn(network, loader(), loader(), budget="macs<=50%", epochs=(1, 1, 1))
    assert learned.network._fabric is None
    assert network._fabric is fabric  # it is the user's
    assert len(network._fabric_optimizers) == 1
    assert held is not None


def test_a_fabric_forgets_what_was_set_up() -> None:
    fabric = Fabric(accelerator="cpu", devices=1)
    network = Lit()
    held = weakref.ref(network)
    made = set_up(fabric, network, torch.optim.SGD(network.parameters(), 0.1))
    assert fabric._callbacks == []
    del made, network
    gc.collect()
    assert held() is None
