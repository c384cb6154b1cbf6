"""The Run: a folder that holds everything of one job, and needs no pickle.

    lock                     held by the process that works here, as long as it does
    latency.json             the latency model, if the latency is bounded; written before the first step
    config.yaml              what was asked for and what was decided automatically; it makes a run of the folder
    log.jsonl                one line per epoch
    checkpoint.safetensors   the last good state, until the run is finished, and the one before it
    base.safetensors         the tensors of the network before removal, as the first phase left it
    architecture.json        which channels stay; or masks.safetensors, which weights are held at zero, or
                             growth.safetensors, which channels are copies: what the method did to the network;
                             found.json where a search found it, and nothing was changed
    model.safetensors        the compact network's tensors
    shape.txt                the compact network as a list of shapes for people, and for building it with new weights;
                             not of one that grew
    details.json             what its report says of layers and classes
    manifest.json            size and SHA-256 of what loading reads: config.yaml, the change, model.safetensors
    result.json              base and compact network in figures; written last, so a run that has it is finished
    report.html              all of it for people to look at
    analysis/                what `dnal analyse` found out about it, as tables and a page
    loggers.json             which loggers it has, and the ids of its logs there; tensorboard/ is the one of
                             TensorBoard

The change, model.safetensors and manifest.json hold no time, path or host: equal jobs write equal bytes. Loading
needs these three and config.yaml, wherever they are.
"""

from dnal.run.config import Config, read_config
from dnal.run.evaluation import evaluate
from dnal.run.loading import load, load_base, load_initial, read_result
from dnal.run.writer import RunWriter, check_free

__all__ = [
    "Config",
    "RunWriter",
    "check_free",
    "evaluate",
    "load",
    "load_base",
    "load_initial",
    "read_config",
    "read_result",
]
