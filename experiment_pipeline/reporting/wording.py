"""How counts read in messages. Nothing else."""


def counted(number: int, what: str) -> str:
    """`1 column`, `12 columns`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"
