"""Random faults against a small run, and what becomes of each: the count of results/faults.json.

python -m benchmarks.faults --num=2000 --seed=0,1 --out=results/faults.json
python -m benchmarks.faults --seed=0 --only=17        one trial again, with all that it said

A trial draws one fault from its own key (seed, number), does what a user would do, and is judged
by an oracle that shares no code with what it judges:

clear       it ended in a message meant for users, and nothing was lost
right       it ended in the right result
traceback   it ended in an exception that is not meant for users
silent      it ended without a word in another result than without the fault
lost        a file that was good is nowhere under the run folder any more, or the same command
            without the fault does not end right
hang        it took longer than the time limit

Kinds of fault, a module each: flags, files, calls (of the operating system), checkpoints (Orbax),
images, datasets, arrays, members (arguments of `load_zoo`).
"""
