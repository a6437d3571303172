"""Micro-benchmarks of the Sans-I/O core: in time (pytest-benchmark) and in instructions (callgrind).

python -m pytest benchmarks/micro           times, for a look at one change on one machine
python -m benchmarks.micro.guard            instruction counts against the recorded ones
python -m benchmarks.micro.guard --record   record them, after a change that is meant
"""
