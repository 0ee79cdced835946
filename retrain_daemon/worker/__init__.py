"""Worker processes (law 4): the only place that may import a framework. Imported as a whole by nobody."""
