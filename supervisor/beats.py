"""When what is done again and again is done: everywhere at the same moments.

A machine that idles wakes up for each of them; the more happens at once, the longer it sleeps.
"""


def next_moment(now: float, seconds: float) -> float:
    """The next whole multiple of `seconds` on the monotonic clock, which all processes share."""
    return (now // seconds + 1) * seconds
