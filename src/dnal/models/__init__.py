"""Networks by name: dnal's own, torchvision's, timm's, and the user's own functions."""

# Importing a file of own models registers them: a new file needs one line here.
from dnal.models import cifar_mobilenet_v2, cifar_resnet, mlp, small, supernets, transformer, vgg
from dnal.models.create import brought_names, create, default_input, kind_of, names, names_code, own_names
from dnal.models.graphs import dagnn, gcn
from dnal.models.registry import register
from dnal.models.skeleton import memory_of, outline, skeleton
from dnal.models.weights import load_weights, tensor_shapes
from dnal.models.widenet import images, text

__all__ = [
    "brought_names",
    "cifar_mobilenet_v2",
    "cifar_resnet",
    "create",
    "dagnn",
    "default_input",
    "gcn",
    "images",
    "kind_of",
    "load_weights",
    "memory_of",
    "mlp",
    "names",
    "names_code",
    "outline",
    "own_names",
    "register",
    "skeleton",
    "small",
    "supernets",
    "tensor_shapes",
    "text",
    "transformer",
    "vgg",
]
