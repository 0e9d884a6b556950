"""`python -m trainer.nightly`: what the login service runs, as `understudy learn watch`."""

from __future__ import annotations

from trainer.nightly.learn_commands import watch

if __name__ == "__main__":
    watch(prog_name="understudy learn watch")
