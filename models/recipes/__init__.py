"""One file per model we ship: its data, its pipeline, its target. Imported by training only, never to serve."""
