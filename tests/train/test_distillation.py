import pytest
import torch
import torch.nn.functional as F

from dnal.base.errors import UserError
from dnal.techniques.distillation import check_logits, distillation_loss


def test_formula_of_tas_written_out() -> None:
    torch.manual_seed(0)
    logits, teacher = torch.randn(5, 7), torch.randn(5, 7)
    task = F.cross_entropy(logits, torch.randint(0, 7, (5,)))
    p, q = (teacher / 4).softmax(1), (logits / 4).softmax(1)
    divergence = (p * (p / q).log()).sum() / 5
    assert torch.allclose(distillation_loss(logits, teacher, task), 0.1 * task + 0.9 * 16 * divergence, atol=1e-6)


def test_a_perfect_pupil_pays_the_task_only() -> None:
    logits = torch.randn(3, 4)
    assert torch.allclose(distillation_loss(logits, logits, torch.tensor(2.0), weight=0.5), torch.tensor(1.0))


@pytest.mark.parametrize("positions", [(6,), (3, 4)])
def test_dense_logits_are_as_many_images_of_one_position(positions: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    logits, teacher, task = torch.randn(2, 5, *positions), torch.randn(2, 5, *positions), torch.tensor(0.3)
    flat = [dense.movedim(1, -1).reshape(-1, 5) for dense in (logits, teacher)]
    assert torch.allclose(distillation_loss(logits, teacher, task), distillation_loss(*flat, task), atol=1e-6)


@pytest.mark.parametrize(
    "outputs", [{"scores": torch.randn(2, 3)}, {"logits": torch.randn(2, 1)}, (torch.randn(2, 3),), torch.randn(2, 1)]
)
def test_what_is_no_logits_cannot_be_imitated(outputs: object) -> None:
    check_logits(torch.randn(2, 3))
    check_logits({"logits": torch.randn(2, 3)})
    with pytest.raises(UserError, match="leave distillation out"):
        check_logits(outputs)
