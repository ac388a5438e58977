"""From what is declared and what is so, to what is done: gather, decide, act, write status."""
