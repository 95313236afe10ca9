"""The generator: from the table of the driver API to the code of both sides. Runs at build time only."""
