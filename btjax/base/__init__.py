"""What every room stands on: errors, options, files, checkpoints, batches, random keys, progress, numbers."""
