"""The autotuner: what it may try, when it stops, and that it takes the fastest."""

import jax
import jax.numpy as jnp
import pytest

from genvec.zoo import Plan, Task, Trial, member_inputs, tune
from genvec.zoo.tuning import CANDIDATES, SHARE, SHORT_RUN, member_bytes

MANY = 10**9  # members: a run that is worth tuning
PLANS = (Plan("scan", 1), Plan("scan", 2), Plan("stepped", 2), Plan("unrolled", 2))


@pytest.fixture
def problem(vae, data):
    inputs = member_inputs(
        jax.random.key(0), jnp.full((5, 3), 1 / 3), vae, init="independent", hparams={}
    )
    return inputs, data, Task(vae, 50, 8)


@pytest.fixture
def seconds(monkeypatch):
    """Plan → (seconds a step and member, cost) that a trial is to tell; and what was tried."""
    table, tried = {}, []

    def fake_trial(runner, inputs, data):
        tried.append(runner.plan)
        return Trial(runner.plan, *table[runner.plan])

    monkeypatch.setattr("genvec.zoo.tuning._try", fake_trial)
    return table, tried


def test_the_fastest_is_taken(problem, seconds):
    table, tried = seconds
    table.update(
        zip(PLANS, [(3e-3, 1.0), (1e-3, 1.0), (float("inf"), 1.0), (2e-3, 1.0)], strict=True)
    )
    tuned = tune(*problem, num_members=MANY, candidates=PLANS)
    assert tuned.runner.plan == PLANS[1]
    assert tried == list(PLANS) and [t.plan for t in tuned.trials] == list(PLANS)


def test_trials_end_before_they_cost_more_than_their_share(problem, seconds, monkeypatch):
    table, tried = seconds
    table.update({plan: (1e-3, 10.0) for plan in PLANS})
    run = 1e-3 * problem[2].steps * 10_000  # seconds: 500, of which trials may take 25
    monkeypatch.setitem(SHORT_RUN, "cpu", 0)
    tuned = tune(*problem, num_members=10_000, candidates=PLANS)
    assert sum(t.cost for t in tuned.trials) <= SHARE * run
    assert len(tried) == 2
    table.update({plan: (1e-3, 5.0) for plan in PLANS})  # cheaper trials: more of them
    assert len(tune(*problem, num_members=10_000, candidates=PLANS).trials) == 4


def test_short_runs_are_not_tuned(problem, seconds):
    tuned = tune(*problem, num_members=100)
    assert tuned.trials == () and seconds[1] == []
    assert tuned.runner.plan == CANDIDATES["cpu"][0]


def test_wider_than_the_memory_or_the_run_is_not_tried(problem, seconds):
    table, tried = seconds
    table.update({plan: (1e-3, 0.1) for plan in PLANS})
    limit = 1.5 * member_bytes(*problem)
    tune(*problem, num_members=MANY, candidates=PLANS, memory_limit=limit)
    assert tried == []  # one candidate is left, and needs no trial
    tuned = tune(*problem, num_members=MANY, candidates=PLANS, memory_limit=limit)
    assert tuned.runner.plan == PLANS[0]
    tuned = tune(*problem, num_members=3, candidates=(Plan("scan", 64),))
    assert tuned.runner.plan == Plan("scan", 3)


def test_a_real_trial_tells_a_time(problem, monkeypatch):
    monkeypatch.setattr("genvec.zoo.tuning.TRIAL_SECONDS", 0.02)
    tuned = tune(*problem, num_members=MANY, candidates=PLANS[:2])
    assert len(tuned.trials) == 2
    assert all(0 < trial.seconds < trial.cost for trial in tuned.trials)
    assert tuned.runner.plan == min(tuned.trials, key=lambda t: t.seconds).plan
