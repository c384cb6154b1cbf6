"""The name of a network that has the layers of another one, with other sizes."""

from __future__ import annotations

from torch import nn

from dnal.base.errors import UserError
from dnal.data.kind import Sizes
from dnal.models.create import names_code
from dnal.models.resized import LONGEST, MARK, base_of, same_layers, text_of
from dnal.models.skeleton import outline


def sized_name(network: nn.Module, name: str, *, classes: int, input_shape: Sizes, kind: str | None = None) -> str:
    """A name by which :func:`dnal.models.create` builds a network like this one, with new weights.

    Args:
        network: what became of a network that has a name: it grew, or lost channels. name: that one, which may say
            sizes itself. classes, input_shape, kind: with which it was created.

    Returns:
        ``NAME@SIZES``; the name itself where no size changed.

    Raises:
        UserError: more changed than sizes, the name is code, or the sizes are too many for a name.

    Examples:
        >>> from torch import nn
        >>> network = dnal.models.create("layers/conv_4_3", classes=3, input_shape=(1, 8, 8))
        >>> network.head = nn.Linear(256, 5)
        >>> sized_name(network, "layers/conv_4_3", classes=3, input_shape=(1, 8, 8))
        'layers/conv_4_3@,,5+5'
        >>> dnal.models.create("layers/conv_4_3@,,5+5", classes=3, input_shape=(1, 8, 8)).head
        Linear(in_features=256, out_features=5, bias=True)
    """
    base = base_of(name)
    if names_code(name):
        raise UserError(
            f"'{name}' is code of its own, and no name tells what became of its network; in Python `dnal.load` gives "
            "it, for `dnal.learn`."
        )
    whole = outline(base, classes=classes, input_shape=input_shape, kind=kind)
    text = text_of(whole, network)
    found = base if not text else f"{base}{MARK}{text}"
    if text is None or not same_layers(outline(found, classes=classes, input_shape=input_shape, kind=kind), network):
        raise UserError(
            f"more changed in this '{base}' than the sizes of its layers, such as whole blocks that it lost, and no "
            "name tells that; in Python `dnal.load` gives its network, for `dnal.learn`."
        )
    if len(found) > LONGEST:
        raise UserError(
            f"this '{base}' has too many layers of other sizes for a name; in Python `dnal.load` gives its network."
        )
    return found
