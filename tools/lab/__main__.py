"""``python -m lab``: what the Makefile needs of the lab."""

import argparse
import sys

from lab import background
from lab.binaries import BinariesMissing, binaries


def main() -> int:
    parser = argparse.ArgumentParser(prog="lab", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("binaries", help="find or build the control plane's programs")
    commands.add_parser("start", help="leave a control plane running and print its KUBECONFIG")
    commands.add_parser("stop", help="end the one that start left")
    commands.add_parser("hold", help="run one until told to end (what start runs)")
    command = parser.parse_args().command
    try:
        match command:
            case "binaries":
                binaries()
            case "start":
                background.start()
            case "stop":
                background.stop()
            case "hold":
                background.hold()
    except BinariesMissing as problem:
        print(problem, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
