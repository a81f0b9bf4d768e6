"""Starts the command line; without its extra, says how to get it.

What it does not know: the commands. They and what they need (click, rich) are imported here, when first used.
"""

import sys

NEEDED = {"click", "rich"}
BAD_USAGE = 2


def main() -> None:
    """Run the command that `sys.argv` asks for."""
    try:
        from pointsman.cli import commands
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in NEEDED:
            raise
        sys.stderr.write(
            f"pointsman: the command line needs {error.name}, which is not installed.\n"
            "Install it with: pip install 'pointsman[cli]'\n"
        )
        sys.exit(BAD_USAGE)
    commands(prog_name="pointsman")


if __name__ == "__main__":
    main()
