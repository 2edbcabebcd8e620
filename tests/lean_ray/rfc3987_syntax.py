"""Stands in for a package of this name in the processes of Ray's that tests start, by their PYTHONPATH.

jsonschema imports it in each of them where it is installed, which a tool of ours causes, and it compiles a grammar for
a second or more: on a busy machine, Ray then gives up before its processes are up. jsonschema does without it.
"""

raise ImportError("left out")
