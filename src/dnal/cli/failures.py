"""What can go wrong in the middle of a job and is nobody's wrong input, as a sentence."""

from __future__ import annotations


def sentence_of(error: BaseException) -> str | None:
    """The sentence for a failure of memory, of a process that prepares images or of one that trains along; None for
    any other error."""
    text = str(error)
    if isinstance(error, MemoryError) or "can't allocate memory" in text or "out of memory" in text:
        return "there is not enough memory for a batch; lower --batch-size, or choose a smaller --input."
    # Where the process died while it handed over a batch, the pipe is what is noticed.
    if "DataLoader worker" in text or isinstance(error, ConnectionError | EOFError):
        return "a process that prepares images died, perhaps for want of memory; try fewer --workers."
    if lost_peer(error):
        return "another process of the job is gone."
    return None


def lost_peer(error: BaseException) -> bool:
    """Whether an error says that another process of the job is gone."""
    text = str(error)
    words = ("Connection closed by peer", "Connection reset by peer", "gloo", "NCCL", "ProcessGroup", "Broken pipe")
    return type(error).__name__.startswith("Dist") or (
        isinstance(error, RuntimeError) and any(word in text for word in words)
    )
