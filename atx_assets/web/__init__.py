"""The pages of `atx up`: its processes, its guard, the report under an address."""
