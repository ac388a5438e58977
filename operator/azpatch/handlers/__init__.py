"""kopf: the watch, and nothing else. Events fill the store and the queue; no kopf state is used."""
