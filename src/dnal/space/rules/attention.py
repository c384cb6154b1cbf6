"""Products of two computed values: attention, as batched products or fused.

Heads are the batch of these products. A head leaves as a whole: the queries, keys and values of all its channels,
with what reads its result. The channels inside a head are variables of their own only where there is a single head.
"""

from __future__ import annotations

from torch import Tensor

from dnal.space.labels import SHARED, along, carried, compressed, core, signature
from dnal.space.rules.registry import rule
from dnal.space.surgery.tensors import tensors_of
from dnal.space.trace import Call, Trace


@rule("bmm", "baddbmm")
def batched_product(t: Trace, c: Call) -> None:
    """(b, n, k) times (b, k, m): both sides' k leave together, and both sides' b."""
    left, right = c.args[-2:]
    batch = t.axis(left, 0), t.axis(right, 0)  # a joint layer is tied along its other dimensions: whole heads
    batch = t.follow(left, 0, batch[1]), t.follow(right, 0, batch[0])  # keys that all heads share
    t.tie_or_freeze(*batch, f"{c.func} multiplies it with a value of fixed size")
    across = [core(x, [0, 2]) for x in t.value(left).layers if 2 in signature(x)]
    down = [core(x, [0, 1]) for x in t.value(right).layers if 1 in signature(x)]
    for one in across:
        for other in down:
            t.ledger.pair(one, other)
    for labels in (across if not down else []) + (down if not across else []):
        t.ledger.freeze(labels, f"{c.func} multiplies it with a value of fixed size")
    names = [t.value(x).parameter for x in (left, right)]
    if across and down:
        if (names[0] is None) == (names[1] is None):
            t.contract(across[0])
        else:
            t.read(t.axis(left, 2) if names[0] else t.axis(right, 1))
    layers = [core(x, [0, 1]).unsqueeze(2).expand(c.out.shape) for x in t.value(left).layers if 1 in signature(x)]
    layers += [core(y, [0, 2]).unsqueeze(1).expand(c.out.shape) for y in t.value(right).layers if 2 in signature(y)]
    heads = batch[0] if batch[0] is not None else batch[1]
    if heads is not None:  # of the values that all heads share no channel leaves
        for layer in [x for x in layers if 0 not in signature(x)]:
            t.ledger.freeze(layer, SHARED)
        layers = [x for x in layers if 0 in signature(x)]
    if heads is not None and not any(0 in signature(x) for x in layers):
        layers.append(heads.view(-1, 1, 1).expand(c.out.shape))
    t.put(c.out, layers)
    if c.name == "baddbmm":
        t.put(c.out, t.meet(c.out.shape, [c.out, c.args[0]]))
    name = names[0] or names[1] if (names[0] is None) != (names[1] is None) else None
    if heads is not None:
        t.multiply(name, 1 / t.batch, (left, 0, heads), t.side(left, 1), t.side(right, 2), t.side(right, 1))
    else:
        sides = (left, 1, t.axis(left, 1)), (right, 2, t.axis(right, 2)), (right, 1, t.axis(right, 1))
        t.multiply(name, left.size(0) / t.batch, *sides)


@rule(
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_cudnn_attention",
    "_scaled_dot_product_fused_attention_overrideable",
)
def attention(t: Trace, c: Call) -> None:
    """Fused attention over (N, heads, L, width): whole heads leave; queries and keys keep their width, of which the
    default scale is computed."""
    query, key, value = c.args[:3]
    operands = [query, key, value, *tensors_of((c.args[3:], c.kwargs))]
    reason = f"{c.func} computes with its size"
    for tensor in (query, key):
        t.settled(tensor, (-2, -1), reason)
    t.settled(value, (-2,), reason)
    heads = [t.axis(x, 1) for x in (query, key, value)]
    batches = [t.axis(x, 0) for x in (query, key, value)]
    if any(x is not None for x in batches):
        same = all(x is not None and x.numel() == query.size(0) for x in batches)
        for labels in batches:
            if same and labels is not None:
                t.ledger.tie(labels, batches[0])  # type: ignore[arg-type]
            else:
                t.ledger.freeze(labels, reason)
    single = heads[0] is not None and heads[1] is None and heads[2] is None
    single = single and all(_serves(t, x, heads[0]) for x in (key, value))
    for tensor, labels in zip((key, value), heads[1:], strict=True):
        if single:  # one head of keys and values stays for all queries that are left
            t.settled(value, (-1,), SHARED)
            break
        # Grouped queries: those that share a head of the keys and values leave with it.
        shared = query.size(1) // tensor.size(1)
        t.tie_or_freeze(heads[0], None if labels is None else labels.repeat_interleave(shared), reason)
    for mask in operands[3:]:
        t.settled_except(mask, (mask.dim() - 3,), reason)
        if mask.dim() >= 3 and mask.size(-3) > 1:
            of_mask = t.follow(mask, mask.dim() - 3, heads[0])
            t.tie_or_freeze(of_mask, heads[0], f"it is a mask of {t.value(query).origin}")
    out = c.out[0]
    layers = [carried(x, (*x.shape[:2], *out.shape[2:]), [2]) for x in t.value(value).layers if 2 not in signature(x)]
    shared = out.size(1) // value.size(1)
    if single:
        t.put(out, [along(heads[0], 1, out.shape)])  # type: ignore[arg-type]
    else:
        t.put(out, layers if shared == 1 else [compressed(x.repeat_interleave(shared, 1)) for x in layers])
    for wide in (query, value):
        sides = [t.side(query, 0), t.side(query, 1), t.side(query, 2), t.side(key, 2), t.side(wide, 3)]
        t.multiply(None, 1 / t.batch, *sides)


def _serves(t: Trace, tensor: Tensor, heads: Tensor | None) -> bool:
    """Whether one head of keys or values (N, heads, L, width) serves any number of queries: it is the only one, or the
    same one repeated for each of them."""
    return tensor.size(1) == 1 or t.follow(tensor, 1, heads) is not None
