"""Networks by name: dnal's own, torchvision's, timm's, and the user's own functions."""

# Importing a file of own models registers them: a new file needs one line here, or in its folder's.
from dnal.models import (
    cifar_mobilenet_v2,
    cifar_resnet,
    decoder,
    graphs,
    mlp,
    restoration,
    small,
    supernets,
    transformer,
    vgg,
    widenet,
)
from dnal.models.create import brought_names, create, default_input, kind_of, names, names_code, own_names
from dnal.models.genomes.families import is_genome
from dnal.models.huggingface.configuration import configuration_of, reads_values
from dnal.models.huggingface.names import called, is_huggingface, is_written_out, name_of
from dnal.models.huggingface.network import with_weights
from dnal.models.registry import register
from dnal.models.resized import base_of, is_resized
from dnal.models.sized_name import sized_name
from dnal.models.skeleton import memory_of, outline, skeleton
from dnal.models.weights import load_weights, tensor_shapes

__all__ = [
    "base_of",
    "brought_names",
    "called",
    "cifar_mobilenet_v2",
    "cifar_resnet",
    "configuration_of",
    "create",
    "decoder",
    "default_input",
    "graphs",
    "is_genome",
    "is_huggingface",
    "is_resized",
    "is_written_out",
    "kind_of",
    "load_weights",
    "memory_of",
    "mlp",
    "name_of",
    "names",
    "names_code",
    "outline",
    "own_names",
    "reads_values",
    "register",
    "restoration",
    "sized_name",
    "skeleton",
    "small",
    "supernets",
    "tensor_shapes",
    "transformer",
    "vgg",
    "widenet",
    "with_weights",
]
