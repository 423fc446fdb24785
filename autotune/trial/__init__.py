"""One candidate, one process: load, apply levers, warm up, measure, write the outcome."""
