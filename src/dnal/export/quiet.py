"""Silence: exporters and quantizers report on stdout, stderr, in warnings and in logs; their errors say it all."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Nothing that Python code prints, warns of or logs gets out."""
    disabled, handlers = logging.root.manager.disable, list(logging.root.handlers)
    silence = io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(silence), contextlib.redirect_stderr(silence):
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(disabled)
            logging.root.handlers[:] = handlers  # a first message to the root logger gives it one of its own
