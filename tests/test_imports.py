"""Who may import whom: the table of the design, held against the import lines in the files."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOUNDATION = {"types", "registry", "trees", "geometry", "arguments"}
BASE = {"data", "prepared", "images", "networks", "symmetry", "objectives", "quality"}
MAY_IMPORT = {
    "types": set(),
    "registry": set(),
    "arguments": set(),
    "trees": set(),
    "geometry": set(),
    **{name: FOUNDATION for name in BASE},
    "data": FOUNDATION | {"prepared"},
    "families": FOUNDATION | {"networks", "quality"},
    "classes": FOUNDATION | {"data", "images", "networks"},
    "collections": FOUNDATION | BASE | {"train"},
    "mixtures": FOUNDATION | {"data"},
    "represent": FOUNDATION | {"symmetry"},
    "encoders": FOUNDATION | {"networks"},
    "evaluate": FOUNDATION | BASE,
    "controls": FOUNDATION | BASE,
    "zoo": FOUNDATION | {"families", "mixtures"},
    "train": FOUNDATION | {"encoders", "networks", "objectives", "represent"},
    "matching": FOUNDATION | {"encoders", "evaluate", "networks", "objectives", "quality"},
    "store": FOUNDATION,
    "report": FOUNDATION | {"store"},
    "__init__": {"store"},
}
PURE = {
    "types": {"jax", "numpy"},
    "registry": set(),
    "arguments": {"inspect", "math", "numbers"},
    "trees": {"jax", "numpy"},
    "geometry": {"jax", "numpy"},
}
STANDARD = {"collections", "itertools", "typing", "types"}


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT / "genvec").with_suffix("").parts
    return parts[0]


def imported(path: Path) -> set[str]:
    """Full names of what a file imports when it runs; what is for annotations does not count."""
    names = set()
    tree = ast.parse(path.read_text())
    skipped = {
        id(child)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for child in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def own_modules(path: Path) -> set[str]:
    names = {name.split(".")[1] for name in imported(path) if name.startswith("genvec.")}
    return names - {module_of(path)}


FILES = sorted((ROOT / "genvec").rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_arrows_point_down(path):
    assert own_modules(path) <= MAY_IMPORT[module_of(path)]


@pytest.mark.parametrize("name", sorted(PURE))
def test_the_foundation_needs_nothing_but_jax_and_numpy(name):
    outside = {full.split(".")[0] for full in imported(ROOT / "genvec" / f"{name}.py")}
    assert outside - {"genvec"} <= PURE[name] | STANDARD


def test_the_library_knows_no_configs_experiments_or_flags():
    for path in FILES:
        roots = {name.split(".")[0] for name in imported(path)}
        assert not roots & {"configs", "experiments", "absl", "ml_collections"}, path


def test_configs_import_ml_collections_and_each_other_only():
    for path in (ROOT / "configs").glob("*.py"):
        roots = {name.split(".")[0] for name in imported(path)}
        assert roots <= {"ml_collections", "configs", *STANDARD}, path


def test_orbax_is_known_to_the_store_alone():
    users = {module_of(p) for p in FILES if any(n.startswith("orbax") for n in imported(p))}
    assert users == {"store"}


def test_the_reader_of_imports_sees_them(tmp_path):
    file = tmp_path / "x.py"
    file.write_text("from genvec import zoo\nimport genvec.store.files\n")
    assert {n.split(".")[1] for n in imported(file)} == {"zoo", "store"}
