"""Questions asked of data and runs: arrays and runs in, frozen dataclasses out."""
