"""One file per promise. The tests start their own servers on free ports under `tmp_path`; nothing is shared."""
