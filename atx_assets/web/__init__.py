"""The pages of `atx up`: its processes, its guard, the served report."""
