"""Other servers beside ours: the same pickle, the same rows, the same load, in one run on one machine."""
