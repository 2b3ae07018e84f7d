"""Collections of data: groups of objects, the vectors of both, and proven bounds on them."""

from genvec.collections.aggregate import AGGREGATIONS, Aggregation, aggregate
from genvec.collections.bounds import BOUNDS, Bound, Groups, all_bounds
from genvec.collections.data import (
    COLLECTIONS,
    Collections,
    Members,
    check_sizes,
    load_collections,
    members_of,
    select_classes,
    turned,
)
from genvec.collections.evaluate import (
    BoundTable,
    Halves,
    group_metrics,
    group_vectors,
    measure_bounds,
    one_shot,
    pixel_vectors,
    principal_components,
    split_halves,
)
from genvec.collections.pooling import train_pooling
from genvec.collections.training import (
    OBJECT_NETWORKS,
    ObjectEncoder,
    Training,
    object_embedder,
    train_objects,
)

__all__ = [
    "AGGREGATIONS",
    "BOUNDS",
    "COLLECTIONS",
    "OBJECT_NETWORKS",
    "Aggregation",
    "Bound",
    "BoundTable",
    "Collections",
    "Groups",
    "Halves",
    "Members",
    "ObjectEncoder",
    "Training",
    "aggregate",
    "all_bounds",
    "check_sizes",
    "group_metrics",
    "group_vectors",
    "load_collections",
    "measure_bounds",
    "members_of",
    "object_embedder",
    "one_shot",
    "pixel_vectors",
    "principal_components",
    "select_classes",
    "split_halves",
    "train_objects",
    "train_pooling",
    "turned",
]
