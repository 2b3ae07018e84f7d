"""The scripts: each a stage, a table or a search, run by `python -m experiments.NAME`."""

from experiments.allocator import keep_freed_memory

keep_freed_memory()  # here, since imports that follow start threads
