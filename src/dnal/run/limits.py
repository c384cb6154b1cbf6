"""How large the files of a run may be: what a job may write, and what is read of a folder that may be anybody's.

One table for both sides. ``dnal.run.foreseen`` holds what a job is going to write against it before the first step.
"""

from __future__ import annotations

from dnal.architecture.architecture import LARGEST_FILE
from dnal.run.files import ARCHITECTURE, CONFIG, DETAILS, LOG, MANIFEST, RESULT, SHAPE

LARGEST = {
    CONFIG: 2**23,  # 22,000 classes (ImageNet-21k) whose names are as long as a folder's may be
    ARCHITECTURE: LARGEST_FILE,
    MANIFEST: 2**24,  # a hundred thousand tensors
    SHAPE: 2**22,
    DETAILS: 2**26,  # two matrices of a thousand classes
    LOG: 2**25,
    RESULT: 2**20,
}
"""Bytes of each file of text."""
SPARE_TEXT = 2**22
"""Bytes of architecture.json that are read beside any tensors, and ..."""
TIMES_TEXT = 1
"""... for each byte of model.safetensors: what is kept of a tensor takes less than the tensor."""
SPARE_CHANGE = 2**28
"""Bytes of a change's file of tensors that are read in any case: one for each weight that is masked or not, and ..."""
TIMES_CHANGE = 64
"""... for each byte of model.safetensors: what was removed has a byte too."""
MOST_CLASSES = 2**16
MOST_ENTRIES = 2**17
"""Tensors and changes in a shape.txt."""
LARGEST_DEPLOYMENT = 2**26
"""Numbers in the examples of --deploy-batch-size: 256 images of 3x224x224 are half of it."""
MOST_DEPLOYED = 2**12
"""Examples of --deploy-batch-size."""
LARGEST_BATCH = 2**27
"""Numbers in the examples of a step, of a job that a folder asks for: 891 images of 3x224x224."""
MOST_EPOCHS = 2**15
"""Of all phases: lines of log.jsonl, which every checkpoint holds too."""
MOST_PHASES = 16
MOST_NUMBERS = 64
"""In a line of log.jsonl; and bins of its gates."""
MOST_VALUES = 2**22
"""In details.json: matrices of a thousand classes in which one entry of three is not 0."""
MOST_OBJECTS = 2**16
"""In details.json: layers, their weights, and these weights' sides; and groups."""
