"""`bakemem demo`: talk, bake, ask without a prompt, follow the forgetting curve, roll back."""

from bakemem.demo.run import run

__all__ = ["run"]
