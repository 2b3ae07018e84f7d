"""Zoo and run folders on disk; the only place that knows their paths and Orbax."""

from genvec.store.atomic import set_aside, write_atomically
from genvec.store.cells import (
    complete_cell,
    create_cell,
    missing_segments,
    read_manifest,
    read_members,
    segment_rows,
    write_segment,
)
from genvec.store.checkpoints import (
    checkpoint_parts,
    discard_tree,
    is_saved,
    load_tree,
    record_path,
    save_tree,
)
from genvec.store.damage import retire, verify_cell
from genvec.store.errors import DamageError, StoreError, is_missing
from genvec.store.files import (
    check_output,
    read_arrays,
    read_json,
    read_jsonl,
    read_table,
    write_arrays,
    write_json,
    write_jsonl,
    write_table,
)
from genvec.store.locks import lock_folder
from genvec.store.runs import RunFolder, claim_run, differences
from genvec.store.sums import sums_path
from genvec.store.zoos import cell_paths, create_zoo, load_cells, load_zoo

__all__ = [
    "DamageError",
    "RunFolder",
    "StoreError",
    "cell_paths",
    "check_output",
    "checkpoint_parts",
    "claim_run",
    "complete_cell",
    "create_cell",
    "create_zoo",
    "differences",
    "discard_tree",
    "is_missing",
    "is_saved",
    "load_cells",
    "load_tree",
    "load_zoo",
    "lock_folder",
    "missing_segments",
    "read_arrays",
    "read_json",
    "read_jsonl",
    "read_manifest",
    "read_members",
    "read_table",
    "record_path",
    "retire",
    "save_tree",
    "segment_rows",
    "set_aside",
    "sums_path",
    "verify_cell",
    "write_arrays",
    "write_atomically",
    "write_json",
    "write_jsonl",
    "write_segment",
    "write_table",
]
