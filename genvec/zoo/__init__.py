"""Training a zoo: inputs → one member → plans → the population."""

from genvec.zoo.engine import step_flops, train_zoo
from genvec.zoo.inputs import MemberInputs, check_hparams, member_inputs
from genvec.zoo.member import Task, Trained, train_member
from genvec.zoo.plans import PLANS, PRECISIONS, ChunkRunner, Plan, chunk_runner
from genvec.zoo.tuning import Trial, Tuned, tune

__all__ = [
    "PLANS",
    "PRECISIONS",
    "ChunkRunner",
    "MemberInputs",
    "Plan",
    "Task",
    "Trained",
    "Trial",
    "Tuned",
    "check_hparams",
    "chunk_runner",
    "member_inputs",
    "step_flops",
    "train_member",
    "train_zoo",
    "tune",
]
