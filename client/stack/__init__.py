"""`iconotext up`: the whole service as processes of one machine, with nothing to install beside it.

`up` is the supervisor; `guardian` outlives it for as long as it takes to end the rest. None of this
imports the service: it starts it.
"""
