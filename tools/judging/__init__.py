"""The checkers of the operator's invariants, which every kind of test uses."""
