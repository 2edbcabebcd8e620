"""`python -m segvoc` is the command line."""

from segvoc.cli import main

if __name__ == "__main__":
    main()
