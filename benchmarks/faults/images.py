"""Kind "images": a folder of pictures as people have them, read as a query."""

import os
import socket
from pathlib import Path

import numpy as np

from benchmarks.faults.actions import pick
from benchmarks.faults.oracle import Ended, Verdict, attempt, error_outcome, snapshot, where
from benchmarks.faults.pictures import PICTURES, SIZE, Picture, plain
from benchmarks.faults.subject import Subject
from genvec.images import read_images


def trial(rng: np.random.Generator, subject: Subject, folder: Path) -> Verdict:
    """Good images and one or two odd ones; every file is read, skipped by name, or refused."""
    channels = pick(rng, (1, 1, 3))
    pictures = [plain(rng, channels)._replace(name=f"{n}.png") for n in "am"[: pick(rng, (1, 2))]]
    odd = [pick(rng, PICTURES) for _ in range(pick(rng, (1, 1, 2)))]
    pictures += [make(rng, channels) for make in dict.fromkeys(odd)]
    query = folder / "query"
    query.mkdir()
    for picture in pictures:
        (query / picture.name).write_bytes(picture.content)
    extra = _add_no_file(rng, query) if rng.random() < 0.25 else ""
    told = ", ".join(repr(p.name) for p in pictures[1:])
    done = f"a folder of {told}{' and ' * bool(extra)}{extra}, {channels} channels"
    subject.note(done)
    before = snapshot(query)
    ended = attempt(lambda: read_images(query, (*SIZE, channels)))
    if snapshot(query) != before:
        return Verdict("lost", done, "the folder has changed")
    return _judge(pictures, extra, ended, done)


def _add_no_file(rng: np.random.Generator, query: Path) -> str:
    """What lies in a folder and is no file; such a thing must be listed, and not waited for."""
    name = pick(rng, ("pipe.png", "link.png", "folder.png", "socket.png"))
    path = query / name
    if name == "pipe.png":
        os.mkfifo(path)
    elif name == "link.png":
        path.symlink_to("nowhere")
    elif name == "socket.png":
        if len(os.fsencode(path)) > 100:  # the system allows no longer ones
            return ""
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(str(path))
    else:
        path.mkdir()
    return name


def _judge(pictures: list[Picture], extra: str, ended: Ended, done: str) -> Verdict:
    if ended.error is not None:
        outcome = error_outcome(ended.error)
        happened = ended.told() + where(ended.error)
        named = [p for p in pictures if _as_told(p.name) in str(ended.error)]
        if outcome == "clear" and not any(p.may_refuse for p in named):
            return Verdict("silent", done, f"the whole folder is refused: {happened}")
        return Verdict(outcome, done, _printable(happened))
    skipped, images = _names(ended.value.skipped), list(ended.value.images)
    if extra and extra not in skipped:
        return Verdict("silent", done, f"{extra} is not mentioned")
    for picture in sorted(pictures, key=lambda p: p.name):
        told = {picture.name, _as_told(picture.name)} & skipped
        if picture.pixels is None or told:
            if not told:
                return Verdict("silent", done, f"{picture.name!r} is not mentioned as skipped")
            if picture.pixels is not None and not picture.may_refuse:
                return Verdict("silent", done, f"{picture.name!r} is skipped, though it is fine")
            continue
        image = images.pop(0).astype(int) if images else None
        if image is None or np.abs(image - picture.pixels).max() > picture.tolerance:
            got = "is left out" if image is None else f"is read as {image.ravel()[:6].tolist()}…"
            wanted = picture.pixels.ravel()[:6].tolist()
            return Verdict("silent", done, f"{picture.name!r} {got}, not {wanted}…")
    if images:
        return Verdict("silent", done, f"{len(images)} images more than files")
    return Verdict(
        "clear" if ended.value.skipped else "right", done, f"skipped: {ended.value.skipped}"[:200]
    )


def _names(skipped) -> set[str]:
    """Of the skipped files, each listed alone or with its reason."""
    return {entry if isinstance(entry, str) else entry[0] for entry in skipped}


def _as_told(name: str) -> str:
    """A name that can be printed: what is no text in it is escaped."""
    return ascii(name)[1:-1]


def _printable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
