"""A function for each command: a study, then its report. `btjax.train` and the like are these."""
