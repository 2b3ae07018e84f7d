"""Zoo and run folders on disk; the only place that knows their paths and Orbax."""

from genvec.store.checkpoints import load_tree, record_path, save_tree
from genvec.store.files import (
    StoreError,
    read_arrays,
    read_json,
    read_jsonl,
    read_table,
    write_arrays,
    write_atomically,
    write_json,
    write_jsonl,
    write_table,
)
from genvec.store.runs import RunFolder, claim_run
from genvec.store.zoos import (
    complete_zoo,
    create_zoo,
    load_zoo,
    missing_segments,
    read_manifest,
    segment_rows,
    write_segment,
)

__all__ = [
    "RunFolder",
    "StoreError",
    "claim_run",
    "complete_zoo",
    "create_zoo",
    "load_tree",
    "load_zoo",
    "missing_segments",
    "read_arrays",
    "read_json",
    "read_jsonl",
    "read_manifest",
    "read_table",
    "record_path",
    "save_tree",
    "segment_rows",
    "write_arrays",
    "write_atomically",
    "write_json",
    "write_jsonl",
    "write_segment",
    "write_table",
]
