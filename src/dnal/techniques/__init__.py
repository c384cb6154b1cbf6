"""Ways to train better, a file each and a line below; they act in any phase of any method."""

from dnal.base.registry import Registry
from dnal.train.technique import Technique

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

__all__ = ["TECHNIQUES", "Technique"]


def __getattr__(name: str) -> type[Technique]:
    return TECHNIQUES.class_called(name)
