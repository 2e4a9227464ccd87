"""`python -m bakemem`: the same as the command `bakemem`."""

from bakemem.cli import main

if __name__ == "__main__":
    main(prog_name="bakemem")
