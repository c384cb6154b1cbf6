"""Ways to train better, a file each and a line below; they act in any phase of any method."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from dnal.base.registry import Registry
from dnal.train.technique import Technique

if TYPE_CHECKING:
    from dnal.techniques.co_teaching import co_teach as co_teach
    from dnal.techniques.nested_dropout.truncation import truncated as truncated
    from dnal.techniques.rich.features import rich_features as rich_features
    from dnal.techniques.stn.training import self_tuning as self_tuning

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
        "nested-dropout": "dnal.techniques.nested_dropout:NestedDropout",
        "nio": "dnal.techniques.nio:NIO",
        "scaling": "dnal.techniques.scaling:ArchitectureAwareScaling",
        "repair": "dnal.techniques.repair:Repair",
        "self-tuning": "dnal.techniques.stn:SelfTuningNetworks",
        "sgld": "dnal.techniques.sgld:SGLD",
        "swa": "dnal.techniques.swa:SWA",
        "weight-compander": "dnal.techniques.weight_compander:WeightCompander",
    },
)

_FUNCTIONS = {
    "co_teach": "dnal.techniques.co_teaching",
    "rich_features": "dnal.techniques.rich.features",
    "self_tuning": "dnal.techniques.stn.training",
    "truncated": "dnal.techniques.nested_dropout.truncation",
}
"""For a loop of the user's own: what needs several networks, or none that is trained."""

__all__ = ["TECHNIQUES", "Technique", *_FUNCTIONS]


def __getattr__(name: str) -> Any:
    if name in _FUNCTIONS:
        return getattr(importlib.import_module(_FUNCTIONS[name]), name)
    return TECHNIQUES.class_called(name)
