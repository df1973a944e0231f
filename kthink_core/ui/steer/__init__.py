"""The page Steer: what a model writes by itself, and what it writes while features are made to be something else."""
