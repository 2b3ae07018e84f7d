"""Orbax for one of several JAX processes: it saves and loads with all of them together, or hangs.

So a process that has others beside it hands the work to a child, which knows of no others. Each way
goes one message: a line of JSON, and arrays as `.npz`. The child ends with its parent, however that
ends.
"""

import functools
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from genvec.store.errors import DamageError, StoreError
from genvec.trees import flatten_names, unflatten_names

ERRORS = {"StoreError": StoreError, "DamageError": DamageError}


def save_alone(path: Path, tree: Mapping[str, Any]) -> dict[str, Any]:
    """`save_tree(path, tree)` in the child of this process."""
    return _ask({"path": str(path)}, tree)[0]["record"]


def load_alone(path: Path, record: Mapping[str, Any]) -> dict[str, Any]:
    """`load_tree(path, record)` in the child of this process."""
    return _ask({"path": str(path), "record": record}, {})[1]


def _ask(request: Mapping[str, Any], tree: Mapping[str, Any]) -> tuple[dict[str, Any], Any]:
    child = _child()
    try:
        _send(child.stdin, request, tree)
        answer = _receive(child.stdout)
    except (OSError, ValueError) as error:
        raise StoreError(
            f"{request['path']}: the process that saves and loads has ended"
        ) from error
    if "error" in answer[0]:
        raise ERRORS[answer[0]["kind"]](answer[0]["error"])
    return answer


@functools.cache
def _child() -> Any:
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}  # it must not ask for the accelerator
    command = [sys.executable, "-m", "genvec.store.alone"]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, env=environment)


def _send(file: IO[bytes], header: Mapping[str, Any], tree: Mapping[str, Any]) -> None:
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, **flatten_names(tree))
    size = len(content.getvalue())
    file.write(json.dumps({**header, "size": size}).encode() + b"\n" + content.getvalue())
    file.flush()


def _receive(file: IO[bytes]) -> tuple[dict[str, Any], dict[str, Any]]:
    header = json.loads(file.readline())
    with np.load(io.BytesIO(file.read(header["size"]))) as arrays:
        return header, unflatten_names(dict(arrays))


def serve() -> None:
    """Does what is asked until nothing is asked any more."""
    from genvec.store.checkpoints import load_tree, save_tree

    for number in (signal.SIGINT, signal.SIGTERM):  # they are meant for the parent
        signal.signal(number, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what others print is no answer
    questions = os.fdopen(0, "rb")
    while questions.peek(1):
        request, tree = _receive(questions)
        path = Path(request["path"])
        try:
            if "record" in request:
                _send(answers, {}, load_tree(path, request["record"]))
            else:
                _send(answers, {"record": save_tree(path, tree)}, {})
        except StoreError as error:
            _send(answers, {"error": str(error), "kind": type(error).__name__}, {})


if __name__ == "__main__":
    serve()
