"""genvec turns generative models into vectors that tell what data they learned."""

from genvec.store import load_cells, load_zoo

__all__ = ["load_cells", "load_zoo"]
