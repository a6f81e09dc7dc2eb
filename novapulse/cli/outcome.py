"""How errors leave the program: three lines on stderr."""

from novapulse.core.errors import Error


def explain(error: Error) -> str:
    """Up to three lines: what, where it comes from, what to try."""
    lines = [f"error: {error.detail}"]
    if where := getattr(error, "where", ""):
        lines.append(f"  from: {where}")
    if hint := getattr(error, "hint", ""):
        lines.append(f"  try: {hint}")
    return "\n".join(lines)
