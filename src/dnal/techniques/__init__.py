"""Ways to train better, a file each and a line below; they act in any phase of any method."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dnal.base.registry import Registry
from dnal.train.technique import Technique

if TYPE_CHECKING:
    from dnal.techniques.rich.features import rich_features as rich_features

TECHNIQUES = Registry(
    "technique",
    Technique,
    {
        "clipping": "dnal.techniques.clipping:GradientClipping",
        "data-diet": "dnal.techniques.data_diet:DataDiet",
        "distillation": "dnal.techniques.distillation:Distillation",
        "ema": "dnal.techniques.ema:EMA",
        "guidance": "dnal.techniques.guidance:Guidance",
        "label-smoothing": "dnal.techniques.label_smoothing:LabelSmoothing",
        "mixup": "dnal.techniques.mixup:Mixup",
        "nio": "dnal.techniques.nio:NIO",
        "scaling": "dnal.techniques.scaling:ArchitectureAwareScaling",
        "repair": "dnal.techniques.repair:Repair",
        "swa": "dnal.techniques.swa:SWA",
        "weight-compander": "dnal.techniques.weight_compander:WeightCompander",
    },
)

__all__ = ["TECHNIQUES", "Technique", "rich_features"]


def __getattr__(name: str) -> Any:
    if name == "rich_features":  # a training of its own, of several networks
        from dnal.techniques.rich.features import rich_features

        return rich_features
    return TECHNIQUES.class_called(name)
