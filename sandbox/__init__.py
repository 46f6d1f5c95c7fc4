"""A Calltouch to run on your own machine: the SMS-statistics method, as Calltouch documents it.

Start it with ``python -m sandbox --port 8077 --sms 25000`` (``--help`` lists the options); tests
and the demo start it with ``sandbox.process.running``.

Besides the method there are control calls. They need no token, and neither the rate limit nor the
numbers below count them:

``GET /_sandbox/stats``
    ``{"served", "limited", "refused", "faulted", "points", "bodies", "calls"}``: how many calls
    were answered with a page, with 429, with a documented error, and by a fault or because the
    range was too long; points spent; the bodies of the last 200 calls that the rate limit let in;
    the last 5,000 calls that were answered, each as its arrival in seconds since the start or the
    last reset, and its HTTP status, or 0 if it got none.
``POST /_sandbox/reset-stats``
    Set all numbers back to 0, the day's spent points too.
``POST /_sandbox/clock`` ``{"forward_seconds": n}``
    Move the account's clock n seconds ahead: statuses settle, and the current day, after which no
    date may be asked for, moves too.
``POST /_sandbox/faults`` ``[{"kind": "503", "at": 1}, ...]``
    Replace the plan of faults; ``[]`` ends them. See ``faults.py`` for the kinds.
``GET /_sandbox/sms``
    Every SMS as it is now, by time: what a synced table must equal.
``POST /_sandbox/sms`` ``[{"phoneNumber": ..., "dateSent": ..., ...}, ...]``
    Add rows, however late or odd. They are served exactly as given, and their status stays. A row
    whose ``dateSent`` is not a date is found where the made SMS end, some two minutes before the
    start.
"""
