"""Figures as people read them. Those of calls and bytes are worded by the native planner, as in every plan."""

from pointsman._native import human_bytes as human_bytes
from pointsman._native import human_seconds as human_seconds

AGES = (("day", 86_400), ("hour", 3_600), ("minute", 60))


def ago(seconds: float) -> str:
    """Say how long ago something was, in its largest unit."""
    for unit, size in AGES:
        count = int(seconds // size)
        if count:
            return f"{count} {unit}{'' if count == 1 else 's'} ago"
    return "less than a minute ago"
