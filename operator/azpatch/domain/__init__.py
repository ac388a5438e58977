"""Pure decisions: facts and the time in, what to do and why out. No I/O."""
